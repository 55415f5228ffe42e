"""The settings of a run. Every field says its unit, its meaning and where its default comes from."""

import hashlib
from typing import Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from pada_agent.core.claimed_names import ClaimedNames
from pada_agent.core.compute_config import ComputeConfig, find_idle_processes
from pada_agent.core.generation_config import GenerationConfig
from pada_agent.core.hub_revisions import check_location
from pada_agent.core.jobs import LoraSpec
from pada_agent.core.model_config import ModelConfig as ModelConfig
from pada_agent.core.plugins import GUARDS, find_missing
from pada_agent.core.setting_texts import NewFolder, check_template
from pada_agent.core.settings import FOLDER_NAME, LONGEST_NAME, Seed
from pada_agent.core.settings import Settings as Settings
from pada_agent.core.student_config import StudentConfig as StudentConfig
from pada_agent.core.task_config import TaskConfig as TaskConfig
from pada_agent.core.vllm_limits import find_conflict


def _used_by(*nodes: str, prompt: bool = False) -> dict[str, Any]:
    """Schema hints for LangGraph Studio: the nodes at which a setting is edited, and whether it is a prompt."""
    return {"langgraph_nodes": list(nodes), **({"langgraph_type": "prompt"} if prompt else {})}


class DataConfig(Settings):
    """Where rows come from: a `.jsonl`, `.csv` or `.parquet` path, or `hub:owner/name[:config]/split`. Each may end with a slice: `rows.csv[:60%]`,
    `rows.csv[200:300]`, `rows.csv[-50:]`."""

    train: str = ""
    """Rows the student is fine-tuned on. Required, either here or as the graph's input."""
    validation: str = ""
    """Rows used to diagnose failures and to select the best model. Required, either here or as the graph's input."""
    test: str = ""
    """Rows for the final test, which the student answers once, at the end of the run. If empty, the gain is measured on the validation rows that choose the best
    iteration, and is probably too high."""
    held_back: str = ""
    """Real rows for `generation.sources: held_back`. If empty, the training rows left over by `train_limit` are used."""
    shuffle: Seed | None = None
    """Seed for shuffling every file before slices and limits take rows from it. Set it when files are grouped, for example by label: the top of a
    grouped file is not a representative sample. Slices of one file are taken from the same order. Null keeps the file's order."""
    train_limit: int | None = Field(default=None, ge=1)
    """Maximum number of training rows, taken from the top of the file (after `shuffle` or `train_shuffle`). Null reads all rows."""
    train_shuffle: Seed | None = None
    """Seed for shuffling training rows before `train_limit`. A smaller limit gives a subset of a larger one. Null keeps the file's order."""
    validation_limit: int | None = Field(default=None, ge=2)
    """Maximum number of validation rows, taken from the top of the file. Null reads all rows."""
    test_limit: int | None = Field(default=None, ge=1)
    """Maximum number of test rows, taken from the top of the file. Null reads all rows."""
    train_on_definitions: bool = False
    """Train every model on the definitions in `task.labels` as well, each as a question whose answer is its label. They cost nothing and
    say what a few rows of each label do not show (docs/adr/0019). No synthetic row is based on them. Off by default, because methods are usually
    compared without them."""
    selection_fraction: float = Field(default=0.5, gt=0, lt=1)
    """Fraction of validation used to select the best model; the rest is diagnosed. Our default guards against adaptive overfitting."""
    on_overlap: Literal["error", "drop"] = "error"
    """What to do if training rows also appear in validation or test, or validation rows in test: stop with an error, or drop them. Test always keeps
    its rows. Rows are the same if their questions are, with passage, options and earlier turns, ignoring case, white space, the punctuation
    around words and the order of options."""
    on_duplicate: Literal["drop", "error"] = "drop"
    """What to do if a row repeats an earlier row of the same file, in both question and answer, whatever the order of its options: drop it and
    report the count, or stop with an error."""

    @field_validator("train", "validation", "test", "held_back")
    @classmethod
    def _refuse_odd_revision(cls, location: str) -> str:
        check_location(location)
        return location

    def count_selection(self, n_validation: int) -> int:
        """Number of validation rows that select the best model. Of two or more, at least one is left to be diagnosed."""
        return min(max(1, round(n_validation * self.selection_fraction)), n_validation - 1)


class ModelsConfig(Settings):
    """The LLMs in their three roles. The defaults are the paper's models on Bedrock."""

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
    """Rates the synthetic rows. Choose a model from a different family than the generator (paper: Claude 3.5 Haiku v2)."""
    embedder: str = "all-mpnet-base-v2"
    """Sentence encoder: a name in the model store, a hub id or a folder (default from the paper). `own:NAME`: the application brings it
    (docs/embedding.md)."""
    probe: bool = True
    """Whether `pada run` first asks each role one short question, so that a wrong key or an unsupported parameter shows up before anything is
    computed. The embedded engine is not asked. Our default: on."""


class AnalysisConfig(Settings):
    """How the student's failures are analyzed and grouped into patterns."""

    max_errors: int = Field(default=50, ge=1)
    """Maximum number of validation errors sampled for analysis (paper: 50)."""
    errors_per_call: int = Field(default=5, ge=1)
    """Number of errors shown to the analyst in one call. Our default: 5."""
    min_clusters: int = Field(default=2, ge=1)
    """Smallest number of clusters K that the elbow rule considers (paper: 2)."""
    max_clusters: int = Field(default=10, ge=1)
    """Largest number of clusters K that the elbow rule considers (paper: 10)."""
    analysis_weight: float = Field(default=1.0, ge=0, le=100)
    """Weight of the analyst's explanation (embedded cause and scenario) when failures are grouped. The paper uses nothing else."""
    question_weight: float = Field(default=0.5, ge=0, le=100)
    """Weight of the embedded question when failures are grouped. Our default: 0.5; the paper's is 0."""
    outcome_weight: float = Field(default=2.0, ge=0, le=100)
    """Weight of how the student failed when failures are grouped: the right and the predicted label for closed label sets, otherwise the verifier's
    embedded reason. Our default is higher than `analysis_weight`, because an analyst repeats its own phrasing within a call. The paper's is 0."""


class GuardConfig(Settings):
    """Keeps held-out rows away from the generator and from training by comparing meaning. Exact wording is always checked.

    The defaults were measured with all-mpnet-base-v2 (docs/adr/0008); other embedders have other scales.
    """

    leak_similarity: float | None = Field(default=0.65, gt=0, le=1)
    """Cosine similarity at which a sentence of a strategy, or a run of words in it, counts as repeating a validation or test row and is cut. Null
    compares words only."""
    contamination_similarity: float | None = Field(default=0.85, gt=0, le=1)
    """Cosine similarity at which a synthetic question counts as a reworded validation or test row and is rejected. Null compares words only."""
    contamination_share: float | None = Field(default=0.05, gt=0, lt=1)
    """For tasks whose real rows are alike by nature: if more than this share of training rows is as close to a held-out row as
    `contamination_similarity`, that threshold is raised until only this share is left, up to 0.97. Otherwise rows would be rejected for being as
    similar as real ones (docs/adr/0013). Null never raises it."""
    plugins: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    """Guards from other installed packages (entry point group `pada_agent.guards`) that check synthetic rows after the built-in ones, each with its
    own settings, e.g. `{no_urls: {}}`."""

    @field_validator("plugins")
    @classmethod
    def _find_plugins(cls, plugins: dict[str, dict[str, JsonValue]]) -> dict[str, dict[str, JsonValue]]:
        for name in plugins:
            if missing := find_missing(name, GUARDS, built_in={}):
                raise ValueError(missing)
        return plugins


class VerificationConfig(Settings):
    """Label verification by independent solving: before rating rows, the judge answers them itself without seeing their labels."""

    votes: int | None = Field(default=None, ge=0)
    """Number of times each row is solved; more than half of the answers must match its label. Null: once for tasks with options or a closed label
    set, never for free-form answers (paper: 0; it asks for an opinion instead). For numeric answers, 3 to 5 votes of a strong judge pay off. A judge
    that cannot do the task rejects good rows: see the report's figures on rows of known quality. For closed labels, `quality.max_label_rank` needs
    no calls and works better than a small judge (docs/adr/0011)."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Fraction of rows that is solved. Rows are selected by their ids."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature. Null: 0 for one vote, 0.7 for several, so that they can differ. Options are reshuffled for each vote."""
    rows_per_call: int | None = Field(default=None, ge=1)
    """Number of rows solved in one call. Null uses `quality.rows_per_call`. Closed label sets are listed once per call."""

    def votes_for(self, *, is_choice: bool) -> int:
        """How often a row is solved, with options to choose from or without."""
        return int(is_choice) if self.votes is None else self.votes

    def temperature_for(self, n_votes: int) -> float:
        """The temperature for this number of votes."""
        if self.temperature is not None:
            return self.temperature
        return 0.7 if n_votes > 1 else 0.0


class QualityConfig(Settings):
    """How synthetic rows are rated and accepted."""

    enabled: bool = True
    """Rate synthetic rows with the judge. If off, every row that passes the other checks is accepted."""
    threshold: float = Field(default=7, ge=1, le=10)
    """Minimum mean rating of a row, or of a batch, from 1 to 10 (paper: 7)."""
    floor: int = Field(default=4, ge=1, le=10)
    """Minimum score of a row in every dimension, so that a 10 for adherence cannot make up for a wrong answer. Our default: 4, where the paper's
    scale starts to call a row moderate. 1 switches it off (paper)."""
    accept: Literal["rows", "batch"] = "rows"
    """`rows` keeps every row that passes on its own and has the others rewritten. `batch` decides by the batch's mean rating and has a weak batch
    rewritten as a whole (paper); after the last attempt, its rows are judged one by one."""
    max_regenerations: int = Field(default=3, ge=0)
    """Maximum number of times a weak batch is sent back to be rewritten (paper: 3)."""
    rows_per_call: int | None = Field(default=None, ge=1)
    """Number of rows the judge rates in one call. Null: the whole batch (paper). Use 1 for a small judge, which gives neighboring rows the same
    score."""
    max_label_rank: int | None = Field(default=None, ge=1)
    """Before the judge: accept a row only if its label is among this many likeliest labels, predicted by a regression on sentence vectors of the
    training rows and of the names and definitions in `task.labels`. Closed label sets only; also applies when `enabled` is off. Null is off
    (paper). Use 2 with a weak writer and judge (docs/adr/0011 and 0019)."""
    probe_share: float = Field(default=0.1, ge=0, le=1)
    """Number of rows of known quality (a quarter good, the rest bad) that are mixed in at the first attempt, per row that the judge rates, to measure
    the judge. Never trained on. With `rows_per_call: 1`, each costs one call. 0 adds none."""

    @property
    def max_attempts(self) -> int:
        """Maximum number of times a batch is written."""
        return 1 + self.max_regenerations


class LoopConfig(Settings):
    """When the outer loop stops, and what each iteration starts from."""

    max_iterations: int = Field(default=3, ge=0, le=1000)
    """Maximum number of iterations after the first fine-tuning. 0 only fine-tunes and evaluates. Our default: 3."""
    patience: int = Field(default=1, ge=1)
    """Number of iterations without improvement on the selection part before the run stops."""
    start_from: Literal["base", "best"] = "base"
    """Fine-tune each iteration from the untouched model (`base`), or continue from the best adapter so far (`best`). A continued
    adapter has been trained for more optimizer steps than plain fine-tuning, whatever `lora.n_steps` is."""


class BudgetConfig(Settings):
    """Hard limits on LLM use. Null means no limit."""

    max_calls: int | None = Field(default=None, ge=0)
    """Maximum number of LLM calls in the whole run."""
    max_tokens: int | None = Field(default=None, ge=0)
    """Maximum number of tokens, input and output together."""
    max_usd: float | None = Field(default=None, ge=0)
    """Maximum cost in US dollars, computed from the prices under `models`: `usd_per_million_input_tokens` and `usd_per_million_output_tokens`. A
    missing price counts as 0; a warning names the models concerned, unless they are on this machine."""
    seconds_to_finish_calls: float | None = Field(default=None, ge=0, le=3600)
    """Seconds to wait for running calls after Ctrl-C or SIGTERM, because their answers are paid for. No new calls are started, and a second signal
    quits at once. Null uses the longest `timeout_seconds` of the roles."""


class ReviewConfig(Settings):
    """Where the run pauses for a person."""

    strategies: bool = False
    """Pause after strategy drafting, to approve, edit, drop, add or reweight strategies."""
    data: bool = False
    """Pause after quality control, to look at accepted and rejected rows and overrule decisions."""
    cost_above_hours: float | None = Field(default=None, ge=0)
    """Pause before a fine-tuning that is expected to take more than this many hours. Null never pauses."""


class PromptsConfig(Settings):
    """Jinja templates that replace the built-in prompts, rendered in a sandbox. In a settings file, each can also be the path of one, relative to
    the working directory. Leave empty to keep the built-in one."""

    error_analysis: str = Field(default="", json_schema_extra=_used_by("error_analysis", prompt=True))
    """Asks the analyst why the student failed on each of several validation rows."""
    pattern_categorization: str = Field(default="", json_schema_extra=_used_by("pattern_categorization", prompt=True))
    """Asks the analyst what the failures of one cluster have in common."""
    strategy_drafting: str = Field(default="", json_schema_extra=_used_by("strategy_drafting", prompt=True))
    """Asks the analyst for one generation strategy per pattern."""
    pattern_guided_generation: str = Field(default="", json_schema_extra=_used_by("data_generation", prompt=True))
    """Asks the generator for rows that follow a strategy."""
    real_examples: str = Field(default="", json_schema_extra=_used_by("data_generation", prompt=True))
    """Asks for rows of one label; real rows are the answer (`generation.n_shown_labels`)."""
    more_examples: str = Field(default="", json_schema_extra=_used_by("data_generation", prompt=True))
    """Asks for more rows of the last of these labels, in place of `pattern_guided_generation` or `training_error_generation`."""
    training_error_generation: str = Field(default="", json_schema_extra=_used_by("data_generation", prompt=True))
    """Asks the generator for rows similar to training rows that the student answered wrongly."""
    contrast_generation: str = Field(default="", json_schema_extra=_used_by("data_generation", prompt=True))
    """The same, but also shows similar rows that the student answered correctly (LLMs-as-Instructors, by contrast)."""
    similar_item_generation: str = Field(default="", json_schema_extra=_used_by("data_generation", prompt=True))
    """Asks the generator for one similar row per row that the student answered wrongly (LLM2LLM)."""
    rephrasing: str = Field(default="", json_schema_extra=_used_by("data_generation", prompt=True))
    """Asks the generator to rephrase a training row's question (AugGPT)."""
    question_wording: str = Field(default="", json_schema_extra=_used_by("data_generation", prompt=True))
    """Asks the generator to word the questions for correct answers that code derived from training rows."""
    more_questions: str = Field(default="", json_schema_extra=_used_by("data_generation", prompt=True))
    """Asks the generator for questions alone; real questions are shown as its earlier answers (`generation.solved_share`)."""
    answer_like_examples: str = Field(default="", json_schema_extra=_used_by("data_generation", prompt=True))
    """Asks the generator for the answer to one of these questions, after real rows with theirs."""
    quality_control: str = Field(default="", json_schema_extra=_used_by("quality_control", prompt=True))
    """Asks the judge to rate synthetic rows."""
    answer_solving: str = Field(default="", json_schema_extra=_used_by("answer_verification", prompt=True))
    """Asks the judge to answer synthetic rows itself."""
    answer_judgement: str = Field(default="", json_schema_extra=_used_by("evaluate", prompt=True))
    """Asks the judge whether an open answer is right. Task `judge` only."""

    @field_validator("*")
    @classmethod
    def _refuse_other_text(cls, text: str) -> str:
        return check_template(text)

    def overrides(self) -> dict[str, str]:
        """Template name to the text that replaces ours."""
        return {name: text for name, text in self.model_dump().items() if text}


class RunConfig(Settings):
    """All settings of one run. `pada config show` prints them with every default."""

    name: str = Field(default="run", pattern=FOLDER_NAME, max_length=LONGEST_NAME)
    """Name of the run, and of its folder under `runs_folder`. Runs with the same name share finished work."""
    runs_folder: NewFolder = "runs"
    """Folder for all runs, relative to where the command or the server was started."""
    shared_folder: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$")
    """Folder in `runs_folder`, beside the run's own, for objects and LLM replies that several runs share. Empty shares nothing."""
    seed: Seed = 0
    """Seed for splitting validation, for sampling and for fine-tuning."""
    task: TaskConfig = Field(default=TaskConfig(), json_schema_extra=_used_by("prepare"))
    """What the student is asked, and what counts as right."""
    data: DataConfig = Field(default=DataConfig(), json_schema_extra=_used_by("prepare"))
    """Where rows come from."""
    student: StudentConfig = Field(
        default=StudentConfig(), json_schema_extra=_used_by("evaluate_untouched", "evaluate", "fine_tune")
    )
    """The small language model."""
    lora: LoraSpec = Field(default=LoraSpec(), json_schema_extra=_used_by("fine_tune"))
    """How the student is fine-tuned."""
    models: ModelsConfig = ModelsConfig()
    """The LLM in each role, and the embedder."""
    analysis: AnalysisConfig = Field(
        default=AnalysisConfig(), json_schema_extra=_used_by("error_analysis", "pattern_categorization")
    )
    """How failures are analyzed and grouped into patterns."""
    generation: GenerationConfig = Field(
        default=GenerationConfig(), json_schema_extra=_used_by("collect_errors", "data_generation")
    )
    """How much synthetic data, and how it is written."""
    quality: QualityConfig = Field(default=QualityConfig(), json_schema_extra=_used_by("quality_control"))
    """What synthetic data must achieve to be accepted."""
    guard: GuardConfig = Field(default=GuardConfig(), json_schema_extra=_used_by("leak_guard", "label_verification"))
    """Keeps held-out rows away from the generator and from training."""
    verification: VerificationConfig = Field(
        default=VerificationConfig(), json_schema_extra=_used_by("answer_verification")
    )
    """Label verification by independent solving. By default, only for tasks with options or a closed label set."""
    loop: LoopConfig = Field(default=LoopConfig(), json_schema_extra=_used_by("evaluate"))
    """When to stop, and what each iteration starts from."""
    budget: BudgetConfig = BudgetConfig()
    """Hard limits on LLM use."""
    review: ReviewConfig = Field(
        default=ReviewConfig(), json_schema_extra=_used_by("review_strategies", "review_data", "review_cost")
    )
    """Where the run pauses for a person. By default, nowhere."""
    compute: ComputeConfig = Field(default=ComputeConfig(), json_schema_extra=_used_by("evaluate", "fine_tune"))
    """Where the student trains."""
    prompts: PromptsConfig = PromptsConfig()
    """Replacements for the agents' prompts."""

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        schema = super().model_json_schema(*args, **options)
        return {**schema, "properties": ClaimedNames(schema)}

    @property
    def n_definitions(self) -> int:
        """Number of definitions that every model is trained on."""
        return sum(map(bool, self.task.labels.values())) if self.data.train_on_definitions else 0

    @property
    def solves_rows(self) -> bool:
        """Whether the judge answers rows itself. By default it does so whenever quality control is on; `verification.votes` overrides this."""
        return self.quality.enabled if self.verification.votes is None else self.verification.votes > 0

    @model_validator(mode="after")
    def _check_folds(self) -> "RunConfig":
        if self.generation.error_source == "out_of_fold" and self.generation.error_folds < 2:
            raise ValueError("generation.error_source: out_of_fold needs generation.error_folds of 2 or more")
        return self

    @model_validator(mode="after")
    def _check_compute(self) -> "RunConfig":
        conflict = find_idle_processes(self.compute, self.lora.batch_size)
        if self.student.engine == "vllm":
            conflict = conflict or find_conflict(self.lora, self.compute, load_in=self.student.load_in)
        if conflict:
            raise ValueError(conflict)
        return self

    @model_validator(mode="after")
    def _check_clusters(self) -> "RunConfig":
        if self.analysis.min_clusters > self.analysis.max_clusters:
            raise ValueError("analysis.min_clusters is larger than analysis.max_clusters")
        return self


def hash_config(settings: RunConfig) -> str:
    """Short content hash of the settings."""
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:16]
