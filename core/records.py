"""The frozen values that travel between rooms, named as in the paper.

All are pydantic models: they validate on the way in, and are JSON in the checkpoint, in Studio and on disk.
"""

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Branch = Literal["pattern", "training_error", "held_back"]
"""Where a row that joins the training data comes from; `held_back` rows are real ones, not synthetic."""


class Record(BaseModel):
    """An immutable value; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Provenance(Record):
    """Where a synthetic example comes from."""

    branch: Branch
    iteration: int
    batch_id: str
    attempt: int
    """1 for the first draft, 2 for the first regeneration, and so on."""
    source_id: str
    """The training example it was written from."""
    row: int = 0
    """0-based place in its batch."""
    strategy_id: str | None = None
    call_key: str = ""
    """Key of the LLM call in `llm_calls.sqlite`."""


class Turn(Record):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: str


class Example(Record):
    """One row: what the student is asked and what it should answer."""

    id: str
    prompt: str
    """The user turn, exactly as the student sees it in training and in evaluation; the last one, where there are several."""
    answer: str
    """The assistant turn the student is trained to write."""
    options: tuple[str, ...] = ()
    """Assistant turns to choose from by likelihood; empty when the student generates."""
    reference: dict[str, Any] = Field(default_factory=dict)
    """What the verifier and the writers need beyond the prompt (accepted answers, passage, tests, choices, gold label)."""
    system: str | None = None
    """System turn of this row; None takes `student.system`."""
    history: tuple[Turn, ...] = ()
    """Turns before `prompt`, in order. The student sees them, and is trained on `answer` alone."""
    provenance: Provenance | None = None
    """None for the user's own rows."""

    @property
    def conversation(self) -> str:
        """What the student is asked, for a reader: the prompt, under the system turn and earlier turns if there are any."""
        if self.system is None and not self.history:
            return self.prompt
        system = [f"System: {self.system}"] if self.system is not None else []
        turns = [*self.history, Turn(role="user", content=self.prompt)]
        return "\n".join(system + [f"{turn.role.capitalize()}: {turn.content}" for turn in turns])


class RowTokens(Record):
    """How long a row is for the student."""

    prompt: int
    """With the chat template around it, up to where the assistant starts."""
    answer: int
    """What is learned or written: the answer and the end of turn."""

    @property
    def total(self) -> int:
        """What `lora.max_length` limits."""
        return self.prompt + self.answer


class Prediction(Record):
    """What the student answered."""

    example_id: str
    response: str
    """Generated text, or the chosen option."""
    option_scores: tuple[float, ...] = ()
    """Length-normalized log-likelihood by option, in the order of `Example.options`."""
    n_new_tokens: int = 0
    truncated: bool = False
    """Generation stopped at max_new_tokens."""


class Verdict(Record):
    """Whether a prediction is right. `unscored` is not `wrong`: something hindered the scoring."""

    example_id: str
    value: Literal["correct", "wrong", "unscored"]
    extracted: str | None = None
    """The answer found in the response."""
    reason: str = ""
    f1: float | None = None
    """Token F1 in [0, 1], for extraction tasks."""


class Metrics(Record):
    """Accuracy with its 95 % Wilson interval."""

    n: int
    n_correct: int
    n_unscored: int = 0
    accuracy: float
    low: float
    high: float
    f1: float | None = None


class ScoredRow(Record):
    """A row with the student's answer and the verdict on it, right or wrong."""

    example: Example
    prediction: Prediction
    verdict: Verdict


class FailureTraits(Record):
    """What can be told of a failure without asking anybody: what failures are grouped by beside the analyst's words."""

    question: str
    gold: str | None = None
    """The right label, where labels form a closed set."""
    predicted: str | None = None
    """The label given in its place; None where no label was found."""
    reason: str = ""
    """The verifier's reason, such as `no such column: capitol`."""


class ErrorAnalysis(Record):
    """Why the student failed on one validation example (error analysis subagent)."""

    example_id: str
    error_cause: str
    scenario_category: str
    first_wrong_step: str = ""
    """Where the response goes wrong first; empty in runs made before this was asked."""
    traits: FailureTraits | None = None
    """None in runs made before failures were grouped by more than the analysis."""


class Confusion(Record):
    """A closed-set mix-up: how often `gold` was taken for `predicted` among the analysed errors."""

    gold: str
    predicted: str
    count: int


class ErrorPattern(Record):
    """What one cluster of failures has in common (pattern categorization subagent)."""

    id: str
    category_name: str
    error_pattern: str
    example_ids: tuple[str, ...]
    """Validation examples in the cluster, analysed ones first, nearest to its centre first. Their text stays with the analyst."""
    n_analysed: int | None = None
    """How many of them the analyst read; the others are failures of the diagnosed part that are nearest to this cluster.
    None in runs made before they were counted."""
    representative_ids: tuple[str, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    """Counted over all of `example_ids`, not guessed; empty for tasks without a closed label set."""
    cluster: int | None = None
    """0-based place of its cluster in the clustering; None in runs made before this was noted."""
    continues: str | None = None
    """Id of the pattern of the iteration before that this one is again; None when it is new."""


class Strategy(Record):
    """How to write data against one pattern (strategy drafting subagent)."""

    id: str
    pattern_id: str
    category_name: str
    strategy_name: str
    generation_approach: str
    key_elements: tuple[str, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    """The mix-ups it was drafted for: rows of other labels are not written with it."""
    source_ids: tuple[str, ...] = ()
    """Training rows it is applied to; empty: any."""
    weight: float = Field(default=1, gt=0, le=1000, allow_inf_nan=False)
    """Share of the branch's rows, relative to the other strategies'. Equal weights are the paper's even split."""


class NearText(Record):
    """A sentence that says what a held-out row says."""

    text: str
    row_id: str
    similarity: float
    """Cosine of the vectors of the row and of the sentence, or of the part of it that is nearest."""


class GuardedStrategy(Record):
    """A strategy whose text the leak guard has cleared. Only the leak guard makes one; generators take nothing else."""

    strategy: Strategy
    redactions: tuple[str, ...] = ()
    """Validation or test snippets that were cut out, as evidence."""
    near: tuple[NearText, ...] = ()
    """Those of them that quote nothing, and were cut for their meaning."""
    says_nothing: bool = False
    """Whether so much was cut that nothing is left to write by: no rows are asked for with it."""


class Rating(Record):
    """The judge's reason and three scores, 1 to 10, for one synthetic example."""

    example_id: str
    reason: str
    adherence: int | None = Field(default=None, ge=1, le=10)
    """None in the training-error branch, which follows no strategy."""
    utility: int = Field(ge=1, le=10)
    relevance: int = Field(ge=1, le=10)
    feedback: str = ""

    @property
    def scores(self) -> dict[str, int]:
        """Those that apply, by dimension."""
        scores = {"adherence": self.adherence, "utility": self.utility, "relevance": self.relevance}
        return {name: score for name, score in scores.items() if score is not None}

    @property
    def mean(self) -> float:
        """Mean of the scores that apply."""
        return sum(self.scores.values()) / len(self.scores)


class Overlap(Record):
    """A row that repeats another."""

    example_id: str
    protected_id: str
    kind: Literal["exact", "normalized", "ngram", "near", "embedding"]
    evidence: str
    """The shared words, or the similarity."""
    similarity: float | None = None
    """Cosine of the sentence vectors, of kind `embedding`."""


class Rejection(Record):
    """A synthetic example, or a draft that never became one, that will not be trained on."""

    stage: str = Field(pattern="^[a-z][a-z ]*$")
    """`format`, `label`, `duplicate`, `contamination`, `unlikely`, `verification`, `quality`, or what a guard of another package says."""
    reason: str
    text: str
    """The draft as the generator wrote it."""
    provenance: Provenance
    rating: Rating | None = None
    overlap: Overlap | None = None
    """The row it is too close to, and how close."""
    example: Example | None = None
    """What a person may still accept: a row that no exact check refused, but the judge or the embedder did."""


class Draft(Record):
    """What the generator wrote for one row of a batch, before anything was checked."""

    row: int
    """0-based position in the batch."""
    fields: dict[str, str]
    provenance: Provenance


class Feedback(Record):
    """What a row was sent back for, to its writer."""

    row: int
    """0-based place in its batch."""
    draft: str = ""
    """The refused version, field by field; empty where it must not be shown again."""
    advice: str
    """What is wrong with it, and what to do."""


class Batch(Record):
    """Rows to be written together: one strategy or none, one training example per row."""

    id: str
    branch: Branch
    iteration: int
    top_up: int = 0
    """Round that makes up for rows that were refused; 0 for the first."""
    strategy: GuardedStrategy | None = None
    source_ids: tuple[str, ...]
    """Training example each row is written from."""
    contrast_ids: tuple[tuple[str, ...], ...] = ()
    """By row, the training examples that are shown beside its source; empty when none are."""


class Ref(Record):
    """A pointer to an object in the run's store."""

    key: str
    rows: int = 0


ProbeKind = Literal["good", "swapped key", "copy", "off format"]


class JudgeProbe(Record):
    """A row of known quality, made from training rows, and what the judge made of it."""

    kind: ProbeKind
    passed: bool | None
    """Whether a row with these answers would be accepted; None when the judge left it out."""
    rated_well: bool | None = None
    """Whether its rating alone would let it pass."""
    answered: bool | None = None
    """Whether the judge, asked without the answer, gave the one it shows; None when it was not asked, or gave none."""


class Unusable(Record):
    """Calls whose answers could not be used."""

    n: int
    first: str
    """What was wrong with the first, and how it began."""


class BatchReport(Record):
    """How one batch fared through generation, label verification and quality control."""

    batch_id: str
    iteration: int = 0
    top_up: int = 0
    """Round that makes up for rows that were refused; 0 for the first."""
    branch: Branch
    strategy_id: str | None = None
    attempts: int
    n_requested: int
    n_asked: int = 0
    """Rows that the generator was asked for, over all attempts; 0 in runs made before this was counted."""
    n_written: int
    n_accepted: int
    n_rejected: dict[str, int] = Field(default_factory=dict)
    """Count by rejection stage."""
    unusable: dict[str, Unusable] = Field(default_factory=dict)
    """Calls whose answers could not be used, by kind of call."""
    score: float | None = None
    """Mean rating of the last attempt; None when nothing reached the judge."""
    n_solved: int = 0
    """Rows that the judge answered by itself."""
    probes: tuple[JudgeProbe, ...] = ()
    """Rows of known quality that were mixed into what the judge rated."""
    decision: str
    accepted: Ref
    rejected: Ref
    ratings: Ref | None = None
    """The judge's ratings of the accepted rows, apart from the rows: nothing trains on them. None where nothing was rated."""
    samples: tuple[str, ...] = ()
    """Up to two accepted drafts, for a reader in Studio."""

    @model_validator(mode="before")
    @classmethod
    def _read_old(cls, values: Any) -> Any:
        """Of earlier versions: the iteration is in the batch's id, and where no ratings are, the reason is behind `accepted: `."""
        if not isinstance(values, dict):
            return values
        if values.get("ratings") is None and isinstance(decision := values.get("decision"), str):
            values = {**values, "decision": decision.removeprefix("accepted: ")}
        if "iteration" in values:
            return values
        found = re.match(r"i(\d+)-", str(values.get("batch_id", "")))
        return {**values, "iteration": int(found.group(1)) if found else 0}


class Usage(Record):
    """LLM consumption. Cached replies count in `n_cached` only."""

    n_calls: int = 0
    n_cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields})
