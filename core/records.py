"""The frozen values that travel between rooms, named as in the paper.

All are pydantic models: they validate on the way in, and are JSON in the checkpoint, in Studio and on disk.
"""

from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Branch = Literal["pattern", "training_error", "held_back"]
"""Where a row that joins the training data comes from. `held_back` rows are real, not synthetic."""


class Record(BaseModel):
    """An immutable value that rejects unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Provenance(Record):
    """Where a synthetic example comes from."""

    branch: Branch
    iteration: int
    batch_id: str
    attempt: int
    """1 for the first draft, 2 for the first regeneration, and so on."""
    source_id: str
    """The training example that the row was based on."""
    row: int = 0
    """0-based position in its batch."""
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
    """The user turn, exactly as the student sees it in training and in evaluation. The last user turn if there are several."""
    answer: str
    """The assistant turn that the student is trained to write."""
    options: tuple[str, ...] = ()
    """Assistant turns to choose from by likelihood. Empty when the student generates its answer."""
    reference: dict[str, Any] = Field(default_factory=dict)
    """What the verifier and the writers need beyond the prompt (accepted answers, passage, tests, choices, gold label)."""
    system: str | None = None
    """System turn of this row. None uses `student.system`."""
    history: tuple[Turn, ...] = ()
    """Turns before `prompt`, in order. The student sees them but is trained only on `answer`."""
    provenance: Provenance | None = None
    """None for the user's own rows."""

    @property
    def conversation(self) -> str:
        """What the student is asked, in readable form: the prompt, preceded by the system turn and earlier turns, if any."""
        if self.system is None and not self.history:
            return self.prompt
        system = [f"System: {self.system}"] if self.system is not None else []
        turns = [*self.history, Turn(role="user", content=self.prompt)]
        return "\n".join(system + [f"{turn.role.capitalize()}: {turn.content}" for turn in turns])


class RowTokens(Record):
    """Length of a row in the student's tokens."""

    prompt: int
    """The prompt with its chat template, up to where the assistant starts."""
    answer: int
    """What is learned or written: the answer and the end-of-turn token."""

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
    """Whether a prediction is right. `unscored` is not the same as `wrong`: it means that scoring was not possible."""

    example_id: str
    value: Literal["correct", "wrong", "unscored"]
    extracted: str | None = None
    """The answer found in the response."""
    reason: str = ""
    f1: float | None = None
    """Token F1 in [0, 1], for extraction tasks."""


class Metrics(Record):
    """Accuracy with its 95% Wilson interval."""

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
    """Facts about a failure that need no LLM call. Failures are grouped by them as well as by the analyst's words."""

    question: str
    gold: str | None = None
    """The right label, for closed label sets."""
    predicted: str | None = None
    """The label that the student gave instead. None if no label was found."""
    reason: str = ""
    """The verifier's reason, such as `no such column: capitol`."""


class ErrorAnalysis(Record):
    """Why the student failed on one validation example (error analysis subagent)."""

    example_id: str
    error_cause: str
    scenario_category: str
    first_wrong_step: str = ""
    """The first step at which the response goes wrong. Empty if the analyst did not say it."""
    traits: FailureTraits


class Confusion(Record):
    """A mix-up within a closed label set: how often `gold` was mistaken for `predicted` among the failures of the cluster."""

    gold: str
    predicted: str
    count: int


class ErrorPattern(Record):
    """What one cluster of failures has in common (pattern categorization subagent)."""

    id: str
    category_name: str
    error_pattern: str
    example_ids: tuple[str, ...]
    """Validation examples in the cluster: the analyzed ones, nearest to its center first, followed by the others. Only the
    analyst sees their text."""
    n_analyzed: int
    """How many of them the analyst read; the others are failures of the diagnosis part that are nearest to this cluster."""
    representative_ids: tuple[str, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    """Counted over all of `example_ids`, not estimated. Empty for tasks without a closed label set."""
    cluster: int
    """0-based position of its cluster in the clustering."""
    continues: str | None = None
    """Id of the previous iteration's pattern that this one continues. None for a new pattern."""


class Strategy(Record):
    """How to write data that targets one pattern (strategy drafting subagent)."""

    id: str
    pattern_id: str
    category_name: str
    strategy_name: str
    generation_approach: str
    key_elements: tuple[str, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    """The mix-ups that it was drafted for: it is used only for rows with their labels (agents/data_generation/strategy_binding.py)."""
    source_ids: tuple[str, ...] = ()
    """Training rows that the strategy is applied to. Empty means any."""
    weight: float = Field(default=1, gt=0, le=1000, allow_inf_nan=False)
    """Share of the branch's rows, relative to the other strategies. Equal weights give the paper's even split."""

    @property
    def texts(self) -> tuple[str, ...]:
        """All the words in it that the analyst or a person wrote."""
        return (self.category_name, self.strategy_name, self.generation_approach, *self.key_elements)

    def rewrite(self, change: Callable[[str], str]) -> "Strategy":
        """The strategy with each of its `texts` changed."""
        names = ("category_name", "strategy_name", "generation_approach")
        changed = {name: change(getattr(self, name)) for name in names}
        return self.model_copy(update={**changed, "key_elements": tuple(map(change, self.key_elements))})


class NearText(Record):
    """A sentence that repeats what a held-out row says."""

    text: str
    row_id: str
    similarity: float
    """Cosine similarity between the row and the sentence, or the part of the sentence that is nearest to it."""


class GuardedStrategy(Record):
    """A strategy whose text the leak guard has cleared. Only the leak guard creates one, and generators accept nothing else."""

    strategy: Strategy
    redactions: tuple[str, ...] = ()
    """Snippets of validation or test rows that were removed, kept as evidence."""
    near: tuple[NearText, ...] = ()
    """The redactions that are not quotes but were removed for their meaning."""
    says_nothing: bool = False
    """Whether so much was removed that there is nothing left to write from; no rows are then requested with it."""


class Rating(Record):
    """The judge's reason and three scores, 1 to 10, for one synthetic example."""

    example_id: str
    reason: str
    adherence: int | None = Field(default=None, ge=1, le=10)
    """None in the training-error branch, because it follows no strategy."""
    utility: int = Field(ge=1, le=10)
    relevance: int = Field(ge=1, le=10)
    feedback: str = ""

    @property
    def scores(self) -> dict[str, int]:
        """The scores that apply, by dimension."""
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
    """Cosine similarity of the sentence vectors, for the kind `embedding`."""


class Rejection(Record):
    """A synthetic example, or a draft that never became one, that is kept out of training."""

    stage: str = Field(pattern="^[a-z][a-z ]*$")
    """`format`, `label`, `duplicate`, `contamination`, `unlikely`, `vote`, `verification`, `quality`, or the name that a guard of another package uses."""
    reason: str
    text: str
    """The draft as the generator wrote it."""
    provenance: Provenance
    rating: Rating | None = None
    overlap: Overlap | None = None
    """The row that it is too similar to, and how similar."""
    example: Example | None = None
    """Set if a person may still accept the row: the judge or the embedder rejected it, but no exact check did."""


class Draft(Record):
    """What the generator wrote for one row of a batch, before any checks."""

    row: int
    """0-based position in the batch."""
    fields: dict[str, str]
    problem: str = ""
    """Why it cannot become a row, if its writer knows that already."""
    provenance: Provenance


class Feedback(Record):
    """Why a row was sent back to its writer."""

    row: int
    """0-based position in its batch."""
    draft: str = ""
    """The rejected version, field by field. Empty if it must not be shown again."""
    advice: str
    """What is wrong with it, and what to do."""


class Batch(Record):
    """Rows that are written together, each from one training example, with one strategy or none."""

    id: str
    branch: Branch
    iteration: int
    top_up: int = 0
    """Number of the round that replaces rejected rows. 0 for the first round."""
    strategy: GuardedStrategy | None = None
    source_ids: tuple[str, ...]
    """The training example that each row is based on."""
    n_spare: int = 0
    """Number of rows, the last of `source_ids`, that are only needed in place of others."""
    given: tuple[dict[str, str], ...] = ()
    """For each row, the draft fields that code fixed, with a rough question in place of the question. Empty if the writer writes all of them."""
    contrast_ids: tuple[tuple[str, ...], ...] = ()
    """For each row, the training examples shown next to its source. Empty if none are shown."""
    is_solved: bool = False
    """Whether its questions are written alone, and then answered by vote (`generation.solved_share`)."""

    @property
    def n_wanted(self) -> int:
        """Number of its rows that may join the training data."""
        return len(self.source_ids) - self.n_spare


class Ref(Record):
    """A pointer to an object in the run's store."""

    key: str
    rows: int = 0


ProbeKind = Literal["good", "swapped key", "copy", "off format"]


class JudgeProbe(Record):
    """A row of known quality, made from training rows, and how the judge handled it."""

    kind: ProbeKind
    passed: bool | None
    """Whether a row with this outcome would be accepted. None if the judge skipped it."""
    rated_well: bool | None = None
    """Whether its rating alone would be enough for acceptance."""
    answered: bool | None = None
    """Whether the judge gave the answer shown in the row when it was asked without seeing it. None if it was not asked or gave no answer."""


class Unusable(Record):
    """Calls whose replies could not be used."""

    n: int
    first: str
    """What was wrong with the first one, and how it began."""


class BatchReport(Record):
    """How one batch went through generation, label verification and quality control."""

    batch_id: str
    iteration: int
    top_up: int = 0
    """Number of the round that replaces rejected rows. 0 for the first round."""
    branch: Branch
    strategy_id: str | None = None
    label: str | None = None
    """The label of all its source rows. None if they have none of a closed set, or several."""
    attempts: int
    n_requested: int
    n_asked: int = 0
    """Rows requested from the generator, over all attempts, without spare ones."""
    n_written: int
    n_accepted: int
    n_rejected: dict[str, int] = Field(default_factory=dict)
    """Number of rejected rows by stage."""
    unusable: dict[str, Unusable] = Field(default_factory=dict)
    """Calls whose replies could not be used, by kind of call."""
    score: float | None = None
    """Mean rating of the last attempt. None if nothing reached the judge."""
    n_solved: int = 0
    """Rows that the judge answered itself."""
    probes: tuple[JudgeProbe, ...] = ()
    """Rows of known quality that were mixed into the rows the judge rated."""
    decision: str
    accepted: Ref
    rejected: Ref
    ratings: Ref | None = None
    """The judge's ratings of the accepted rows, stored separately from the rows so that nothing trains on them. None if nothing was rated."""
    samples: tuple[str, ...] = ()
    """Up to two accepted drafts, for readers in Studio."""


class Usage(Record):
    """LLM usage. Cached replies are counted only in `n_cached`."""

    n_calls: int = 0
    n_cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields})
