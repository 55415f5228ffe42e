"""The settings of a run. Every field says its unit, its meaning and where its default comes from."""

from typing import Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from pada_agent.core.jobs import LoraSpec
from pada_agent.core.model_config import ModelConfig as ModelConfig
from pada_agent.core.plugins import GUARDS, RECIPES, find_missing
from pada_agent.core.recipes import BUILT_IN as BUILT_IN_RECIPES
from pada_agent.core.settings import Settings as Settings
from pada_agent.core.student_config import StudentConfig as StudentConfig
from pada_agent.core.task_config import TaskConfig as TaskConfig


def _used_by(*nodes: str, prompt: bool = False) -> dict[str, Any]:
    """Schema hints for LangGraph Studio: the nodes at which a setting is edited, and whether it is a prompt."""
    return {"langgraph_nodes": list(nodes), **({"langgraph_type": "prompt"} if prompt else {})}


class DataConfig(Settings):
    """Where rows come from: a `.jsonl`, `.csv` or `.parquet` path, or `hub:owner/name[:config]/split`."""

    train: str = ""
    """Rows the student is fine-tuned on. Required, here or as the graph's input."""
    validation: str = ""
    """Rows that are diagnosed and that select the best model. Required, here or as the graph's input."""
    test: str = ""
    """Read once, at the end. Empty: no test figures."""
    held_back: str = ""
    """Real rows for `generation.sources: held_back`. Empty: the training rows that `train_limit` leaves over."""
    shuffle: int | None = None
    """Seed of the order into which every file is put before slices (`train[:1000]`) and limits take rows from its top: files are often
    grouped, and a slice of one is no sample. Slices of one split never share a row. Null: the file's order."""
    train_limit: int | None = Field(default=None, ge=1)
    """Rows, from the top of the file (or of its order by `shuffle`, or `train_shuffle`); null reads all."""
    train_shuffle: int | None = None
    """Seed of the order in which training rows are taken: of two limits, the smaller set is part of the larger. Null: the file's order."""
    validation_limit: int | None = Field(default=None, ge=2)
    """Rows, from the top of the file; null reads all."""
    test_limit: int | None = Field(default=None, ge=1)
    """Rows, from the top of the file; null reads all."""
    selection_fraction: float = Field(default=0.5, gt=0, lt=1)
    """Part of validation that selects the best model; the rest is diagnosed. Ours: guards against adaptive overfitting."""
    on_overlap: Literal["error", "drop"] = "error"
    """Training rows that are also in validation or test, and validation rows that are also in test: stop, or drop them
    (test keeps its rows)."""
    on_duplicate: Literal["drop", "error"] = "drop"
    """Rows of a file that repeat an earlier one in all that is asked and answered: drop them, with a count, or stop."""


class ModelsConfig(Settings):
    """The three LLM roles; defaults are the paper's models on Bedrock."""

    analyst: ModelConfig = Field(
        default=ModelConfig(model="bedrock_converse:us.meta.llama3-3-70b-instruct-v1:0"),
        json_schema_extra=_used_by("error_analysis", "pattern_categorization", "strategy_drafting"),
    )
    """Finds out why the student fails and drafts strategies (paper: Llama 3.3 70B Instruct)."""
    generator: ModelConfig = Field(
        default=ModelConfig(model="bedrock_converse:us.meta.llama3-3-70b-instruct-v1:0"),
        json_schema_extra=_used_by("data_generation"),
    )
    """Writes the synthetic rows (paper: Llama 3.3 70B Instruct)."""
    judge: ModelConfig = Field(
        default=ModelConfig(model="bedrock_converse:us.anthropic.claude-3-5-haiku-20241022-v1:0"),
        json_schema_extra=_used_by("quality_control"),
    )
    """Rates the synthetic rows; best of another family than the generator (paper: Claude 3.5 Haiku v2)."""
    embedder: str = "all-mpnet-base-v2"
    """Sentence encoder: model store name, hub id or folder (the paper's)."""
    probe: bool = True
    """Whether `pada run` asks each role one short question before anything is computed, so that a wrong key or a refused
    parameter is known at once. The embedded engine is not asked. Ours."""


class AnalysisConfig(Settings):
    """Pattern analysis."""

    max_errors: int = Field(default=50, ge=1)
    """Validation errors sampled for analysis (paper: 50)."""
    errors_per_call: int = Field(default=5, ge=1)
    """Errors that the analyst sees at once. Ours: 5."""
    min_clusters: int = Field(default=2, ge=1)
    """Smallest K for the elbow rule (paper: 2)."""
    max_clusters: int = Field(default=10, ge=1)
    """Largest K for the elbow rule (paper: 10)."""
    analysis_weight: float = Field(default=1.0, ge=0, le=100)
    """Weight of the analyst's words (cause and scenario, embedded) in the grouping (paper: these alone)."""
    question_weight: float = Field(default=0.5, ge=0, le=100)
    """Weight of what was asked (the question, embedded) in the grouping. Ours; the paper's is 0."""
    outcome_weight: float = Field(default=2.0, ge=0, le=100)
    """Weight of how it failed in the grouping: the right label and the one given, for closed labels; else the verifier's
    reason, embedded. Ours, more than the words: an analyst repeats its own phrasing within a call. The paper's is 0."""
    max_training_errors: int | None = Field(default=None, ge=1)
    """Training rows are answered in random order until that many are wrong; null answers all of them (paper)."""


class GenerationConfig(Settings):
    """Synthetic data."""

    share: float = Field(default=0.5, gt=0)
    """Synthetic rows per training row (paper: 0.5). What counts are rows that join the training data, not rows that were asked for."""
    pattern_share: float = Field(default=0.5, ge=0, le=1)
    """Part of them from the pattern branch, the rest from training errors. 0 or 1 switches a branch off. Ours: half and half."""
    sources: Literal["training_errors", "training_rows", "held_back"] = "training_errors"
    """What the training-error branch writes from: wrong answers, any training rows, or nothing: real rows are taken as they are."""
    template: str = Field(default="training_error_generation", json_schema_extra={"examples": list(BUILT_IN_RECIPES)})
    """Prompt of the training-error branch: `training_error_generation`, `contrast_generation` (shows rightly answered rows beside each
    error), `similar_item_generation`, `rephrasing` (rewrites the question and copies the rest), or a recipe of another package (entry
    points of the group `pada_agent.recipes`)."""
    n_contrasts: int = Field(default=3, ge=1)
    """Nearest rightly answered training rows beside each error, in `contrast_generation` (LLMs-as-Instructors: 3)."""
    n_demonstrations: int = Field(default=3, ge=0)
    """Training rows of the same label that the pattern-guided writer sees beside the source, where labels form a closed set. Ours: 3 (docs/adr/0010)."""
    vary_answers: bool = True
    """Where a task can make right answers by code (`sql`: a training row's query with other values, another column or the other end, run
    on the database), the writer words only their questions; false: it writes both. Rivals and the paper's own method do (docs/adr/0015)."""
    pattern_sources: Literal["near", "random"] = "near"
    """Training rows that a pattern's rows are written from, where labels form no closed set: those whose questions are nearest to the
    pattern's failures, or any (paper)."""
    match_form: bool = True
    """Written questions take the form that all training questions share: lower case, no mark at the end."""
    error_source: Literal["auto", "train", "margin", "out_of_fold"] = "auto"
    """Which training rows count as errors. `train`: those answered wrongly (paper). A student that has memorised them has few: `margin`
    adds the rows whose right option is least ahead of the next one (answers chosen among options), `out_of_fold` those that students
    fine-tuned without them answer wrongly. `auto`: wrong answers; where they cannot feed the branch's rows, margins; where there are
    none, folds. The same for LE, LEC and LLM2LLM."""
    error_folds: int = Field(default=3, ge=0, le=20)
    """Parts of the training rows for `out_of_fold`: as many fine-tunings, each on the other parts, once a run. 0: `auto` makes none."""
    max_rows_per_error: int | None = Field(default=3, ge=1)
    """Most rows that one training error feeds in an iteration; what the errors cannot feed goes to the patterns. Null: no limit (paper).
    Ours: 3, for a row that the student cannot learn is often mislabelled."""
    max_top_ups: int = Field(default=8, ge=0)
    """Rounds that write again what was refused, from other training rows, until `share` is reached. 0: what is refused is lost (paper)."""
    max_asked_per_row: float = Field(default=5, ge=1)
    """Rows asked for, for every row wanted, over all attempts and rounds: the end of the top-up rounds. Ours: 5, which fills the quota
    where a row in four passes."""
    repeat_sources: bool = True
    """Errors fewer than rows to write are written from again; false: one row for each (LLM2LLM)."""
    rows_per_call: int = Field(default=5, ge=1)
    """B of the paper: rows that the generator writes at once. Ours: 5."""
    temperature: float = Field(default=0.7, ge=0)
    """Sampling temperature of the generator (paper: 0.7)."""
    show_answer: bool = True
    """The training-error writer sees the right answer of its source."""
    accumulate: bool = True
    """Synthetic rows of earlier iterations stay in training."""
    near_duplicate_rouge: float = Field(default=0.85, gt=0, le=1)
    """ROUGE-L F above which two questions count as near duplicates."""
    allocation: Literal["even", "by_repair"] = "even"
    """Rows by strategy: `even` (paper), or more against patterns whose last strategy repaired a larger share of their rows."""

    @field_validator("template")
    @classmethod
    def _find_template(cls, template: str) -> str:
        if missing := find_missing(template, RECIPES, built_in=BUILT_IN_RECIPES):
            raise ValueError(missing)
        return template


class GuardConfig(Settings):
    """Keeps held-out rows away from the generator and from training, by meaning. Word for word is always checked.

    The defaults were measured with all-mpnet-base-v2 (docs/adr/0008); another embedder has another scale.
    """

    leak_similarity: float | None = Field(default=0.65, gt=0, le=1)
    """Cosine at which a sentence of a strategy, or a run of words in it, says what a validation or test row says, and is cut; null compares words only."""
    contamination_similarity: float | None = Field(default=0.85, gt=0, le=1)
    """Cosine at which a synthetic question is a validation or test row in other words, and is rejected; null compares words only."""
    contamination_share: float | None = Field(default=0.05, gt=0, lt=1)
    """Where real rows are alike by nature: if more than this share of the training rows comes as near to a held-out row as
    `contamination_similarity`, the cosine is raised to where this share is left, 0.97 at most. Else rows would be rejected for
    being as real ones are (docs/adr/0013). Null: never raised."""
    plugins: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    """Guards of other installed packages (entry points of the group `pada_agent.guards`) that look at synthetic rows after ours, each
    with its own settings, e.g. `{no_urls: {}}`."""

    @field_validator("plugins")
    @classmethod
    def _find_plugins(cls, plugins: dict[str, dict[str, JsonValue]]) -> dict[str, dict[str, JsonValue]]:
        for name in plugins:
            if missing := find_missing(name, GUARDS, built_in={}):
                raise ValueError(missing)
        return plugins


class VerificationConfig(Settings):
    """Label verification by independent solving: the judge answers rows itself, without seeing their label, before it rates them."""

    votes: int | None = Field(default=None, ge=0)
    """Times each row is solved; more than half must give its label. Null: once where there are options or a closed set of labels,
    not at all where the answer is written freely (paper: 0, it asks for an opinion instead). Numbers are worth 3 to 5 votes of a
    strong judge. A judge that cannot do the task itself refuses good rows: the report's figures on rows of known quality tell;
    for closed labels `quality.max_label_rank` costs no call and does better than a small judge (docs/adr/0011)."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Part of the rows that are solved, drawn by their ids."""
    temperature: float | None = Field(default=None, ge=0)
    """Sampling temperature. Null: 0 for one vote, 0.7 for several, so that they can differ. Options are shuffled for each vote."""
    rows_per_call: int | None = Field(default=None, ge=1)
    """Rows that are solved at once; null: as many as `quality.rows_per_call`. Labels of a closed set are listed once a call."""

    def votes_for(self, *, is_choice: bool) -> int:
        """How often a row is solved, with options to choose from or without."""
        return int(is_choice) if self.votes is None else self.votes

    def temperature_for(self, n_votes: int) -> float:
        """At which so many votes are asked for."""
        if self.temperature is not None:
            return self.temperature
        return 0.7 if n_votes > 1 else 0.0


class QualityConfig(Settings):
    """Quality control."""

    enabled: bool = True
    """Off: every row that passes label verification is accepted."""
    threshold: float = Field(default=7, ge=1, le=10)
    """Mean rating that a row, or a batch, must reach (paper: 7 of 10)."""
    floor: int = Field(default=4, ge=1, le=10)
    """Lowest score a row may have in any dimension: 10 for adherence makes up for no wrong answer. Ours: 4, where the paper's scale
    begins to call a row moderate. 1: none (paper)."""
    accept: Literal["rows", "batch"] = "rows"
    """`rows`: every row that passes by itself is kept, the others are written again. `batch`: all by the mean of the batch, and a
    weak batch is written again whole (paper); without an attempt left, its rows count one by one."""
    max_regenerations: int = Field(default=3, ge=0)
    """Times a weak batch goes back (paper: 3)."""
    rows_per_call: int | None = Field(default=None, ge=1)
    """Rows the judge sees at once; null: the whole batch (paper). A small judge needs 1: it gives neighbours the same score."""
    max_label_rank: int | None = Field(default=None, ge=1)
    """Before the judge: a row's label has to be among the so many likeliest by a regression on the sentence vectors of the training rows. Null: off (paper); only where labels form a closed set. For a weak writer and judge: 2 (docs/adr/0011). Without `enabled` too."""
    probe_share: float = Field(default=0.1, ge=0, le=1)
    """Rows of known quality mixed into what the judge rates at the first attempt, per row: a fourth good, the rest bad. Never trained on. With `rows_per_call: 1` each is a call. 0: none."""


class LoopConfig(Settings):
    """The outer loop."""

    max_iterations: int = Field(default=3, ge=0)
    """Augmentation rounds after the first fine-tuning; 0 only fine-tunes and evaluates. Ours: 3."""
    patience: int = Field(default=1, ge=1)
    """Rounds without improvement on the selection part before stopping."""
    start_from: Literal["base", "best"] = "base"
    """Fine-tune each round from the untouched model (default), or continue the best adapter."""


class BudgetConfig(Settings):
    """Hard limits on LLM use; null is no limit."""

    max_calls: int | None = Field(default=None, ge=0)
    """LLM calls of the whole run."""
    max_tokens: int | None = Field(default=None, ge=0)
    """Input and output tokens together."""
    max_usd: float | None = Field(default=None, ge=0)
    """US dollars, by the prices under `models`."""
    seconds_to_finish_calls: float | None = Field(default=None, ge=0, le=3600)
    """After Ctrl-C or SIGTERM no new call is begun, and those under way are waited for so many seconds: their answers are
    paid for. A second signal leaves at once. Null: the longest `timeout_seconds` of the roles."""


class ReviewConfig(Settings):
    """Where the run waits for a person."""

    strategies: bool = False
    """Interrupt after strategy drafting: approve, edit, drop, add, or change a strategy's weight."""
    data: bool = False
    """Interrupt after quality control: look at accepted and rejected rows, and overrule."""
    cost_above_hours: float | None = Field(default=None, ge=0)
    """Interrupt before a fine-tuning that is expected to take more hours than this; null never asks."""


class ClusterConfig(Settings):
    """The Ray cluster that student jobs run on (`compute.backend: ray`)."""

    address: str | None = "auto"
    """`auto` joins the cluster of this machine or of `RAY_ADDRESS`, or `host:6379`; null starts one on this machine alone."""
    max_workers: int = Field(default=8, ge=1, le=4096)
    """Workers at the same time, for all runs that share their objects. Each keeps one student loaded."""
    num_cpus: int = Field(default=1, ge=1, le=1024)
    """Cores of a worker, and its threads."""
    num_gpus: float = Field(default=0, ge=0, le=64)
    """GPUs of a worker; 0 trains on CPU. Half a GPU lets two workers share one."""
    accelerator: str | None = None
    """Kind of GPU, as Ray names it (`H100`, `A100-80G`): all jobs of an experiment on one kind. Null takes any."""
    retries: int = Field(default=3, ge=0, le=100)
    """How often a job begins again after its node was lost. An error of the job itself is never repeated."""
    autoscaling: bool = False
    """Whether the cluster grows by itself: then a node that is large enough is waited for, where none is there."""
    idle_minutes: float = Field(default=5, gt=0, le=1440)
    """A worker without a job keeps its student and its GPU for so long."""
    orphan_minutes: float = Field(default=30, gt=0, le=10080)
    """A job goes on for so long after the last process that waited for it is gone."""


class ComputeConfig(Settings):
    """Where the student trains."""

    backend: str = "local"
    """`local`, a worker process on this machine; `ray`, workers of a Ray cluster (needs `pada-agent[cluster]`); or a backend of
    another package (entry points of the group `pada_agent.compute`)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA where there is a device. On a cluster `cluster.num_gpus` decides."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of the worker; null takes all cores. On a cluster `cluster.num_cpus` decides."""
    cluster: ClusterConfig = ClusterConfig()
    """For `backend: ray`."""


class PromptsConfig(Settings):
    """Jinja texts that replace ours, rendered in a sandbox; an empty one leaves ours."""

    error_analysis: str = Field(default="", json_schema_extra=_used_by("error_analysis", prompt=True))
    """Asks the analyst why the student failed on each of some validation rows."""
    pattern_categorization: str = Field(default="", json_schema_extra=_used_by("pattern_categorization", prompt=True))
    """Asks the analyst what the failures of one cluster have in common."""
    strategy_drafting: str = Field(default="", json_schema_extra=_used_by("strategy_drafting", prompt=True))
    """Asks the analyst for one generation strategy per pattern."""
    pattern_guided_generation: str = Field(default="", json_schema_extra=_used_by("data_generation", prompt=True))
    """Asks the generator for rows that follow a strategy."""
    training_error_generation: str = Field(default="", json_schema_extra=_used_by("data_generation", prompt=True))
    """Asks the generator for rows like the student's wrong answers on its training rows."""
    contrast_generation: str = Field(default="", json_schema_extra=_used_by("data_generation", prompt=True))
    """The same, with like rows that the student answers rightly (LLMs-as-Instructors, by contrast)."""
    similar_item_generation: str = Field(default="", json_schema_extra=_used_by("data_generation", prompt=True))
    """Asks the generator for one row like each row that the student answered wrongly (LLM2LLM)."""
    rephrasing: str = Field(default="", json_schema_extra=_used_by("data_generation", prompt=True))
    """Asks the generator to say a training row's question in other words (AugGPT)."""
    question_wording: str = Field(default="", json_schema_extra=_used_by("data_generation", prompt=True))
    """Asks the generator to word the questions for right answers that code made from training rows."""
    quality_control: str = Field(default="", json_schema_extra=_used_by("quality_control", prompt=True))
    """Asks the judge to rate synthetic rows."""
    answer_solving: str = Field(default="", json_schema_extra=_used_by("answer_verification", prompt=True))
    """Asks the judge to answer synthetic rows itself."""
    answer_judgement: str = Field(default="", json_schema_extra=_used_by("evaluate", prompt=True))
    """Asks the judge whether an open answer is right; task `judge` only."""

    def overrides(self) -> dict[str, str]:
        """Template name to the text that replaces ours."""
        return {name: text for name, text in self.model_dump().items() if text}


class RunConfig(Settings):
    """One run, whole. `pada config show` prints it with every default."""

    name: str = Field(default="run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Folder under `runs_folder`. Runs of one name share finished work."""
    runs_folder: str = "runs"
    """Folder for runs, seen from where the command or the server was started."""
    shared_folder: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$")
    """Folder beside the run's, in `runs_folder`, for objects and LLM replies that several runs share; empty: nothing is shared."""
    seed: int = 0
    """Of the split of validation, of sampling, and of fine-tuning."""
    task: TaskConfig = Field(default=TaskConfig(), json_schema_extra=_used_by("prepare"))
    """What is asked and what counts as right."""
    data: DataConfig = Field(default=DataConfig(), json_schema_extra=_used_by("prepare"))
    """Where rows come from."""
    student: StudentConfig = Field(
        default=StudentConfig(), json_schema_extra=_used_by("evaluate_untouched", "evaluate", "fine_tune")
    )
    """The small language model."""
    lora: LoraSpec = Field(default=LoraSpec(), json_schema_extra=_used_by("fine_tune"))
    """How it is fine-tuned."""
    models: ModelsConfig = ModelsConfig()
    """The LLM in each role, and the embedder."""
    analysis: AnalysisConfig = Field(
        default=AnalysisConfig(), json_schema_extra=_used_by("error_analysis", "pattern_categorization")
    )
    """Pattern analysis."""
    generation: GenerationConfig = Field(
        default=GenerationConfig(), json_schema_extra=_used_by("collect_errors", "data_generation")
    )
    """How much synthetic data, and how it is written."""
    quality: QualityConfig = Field(default=QualityConfig(), json_schema_extra=_used_by("quality_control"))
    """What synthetic data has to reach."""
    guard: GuardConfig = Field(default=GuardConfig(), json_schema_extra=_used_by("leak_guard", "label_verification"))
    """Keeps held-out rows away from the generator and from training."""
    verification: VerificationConfig = Field(
        default=VerificationConfig(), json_schema_extra=_used_by("answer_verification")
    )
    """Label verification by independent solving. Off by default."""
    loop: LoopConfig = Field(default=LoopConfig(), json_schema_extra=_used_by("evaluate"))
    """When to stop."""
    budget: BudgetConfig = BudgetConfig()
    """Hard limits on LLM use."""
    review: ReviewConfig = Field(
        default=ReviewConfig(), json_schema_extra=_used_by("review_strategies", "review_data", "review_cost")
    )
    """Where the run waits for a person. Off: nowhere."""
    compute: ComputeConfig = Field(default=ComputeConfig(), json_schema_extra=_used_by("evaluate", "fine_tune"))
    """Where the student trains."""
    prompts: PromptsConfig = PromptsConfig()
    """Prompts of the agents."""

    @model_validator(mode="after")
    def _check_folds(self) -> "RunConfig":
        if self.generation.error_source == "out_of_fold" and self.generation.error_folds < 2:
            raise ValueError("generation.error_source: out_of_fold needs generation.error_folds of 2 or more")
        return self

    @model_validator(mode="after")
    def _check_clusters(self) -> "RunConfig":
        if self.analysis.min_clusters > self.analysis.max_clusters:
            raise ValueError("analysis.min_clusters is larger than analysis.max_clusters")
        return self
