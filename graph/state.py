"""The typed shared state (the paper's Central Orchestrator holds the same).

What a person wants to see in Studio stands here whole; what is big is a `Ref` into the store.
All reducers are idempotent merges, so a channel that a subgraph shares with its parent never counts twice.
"""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from langgraph.channels import EphemeralValue, LastValue
from pydantic import ConfigDict, Field

# Not `typing`'s: pydantic refuses that before Python 3.12, and the server then shows no schema.
from typing_extensions import TypedDict

from pada_agent.agents.data_generation.quota import Quota
from pada_agent.core.config import RunConfig
from pada_agent.core.records import (
    Batch,
    BatchReport,
    Draft,
    ErrorPattern,
    Example,
    Feedback,
    GuardedStrategy,
    JudgeProbe,
    Rating,
    Record,
    Ref,
    Rejection,
    Strategy,
)
from pada_agent.graph.models import TrainedModel
from pada_agent.graph.reviewing import Review
from pada_agent.graph.summary import RunSummary

ValueT = TypeVar("ValueT")
Span = tuple[float, float]
"""Start and end, seconds since the epoch."""


def merge(old: dict[str, ValueT], new: dict[str, ValueT]) -> dict[str, ValueT]:
    """Union by key; the newer value wins."""
    return {**old, **new}


def unite(old: list[str], new: Sequence[str]) -> list[str]:
    """Union in order of appearance."""
    return list(dict.fromkeys([*old, *new]))


class Same(LastValue[ValueT]):
    """A value that parts running side by side may all hand back: they do, when their events are streamed."""

    def update(self, values: Sequence[ValueT]) -> bool:
        return super().update(values[-1:])


class DataSplits(Record):
    """The user's rows. Validation is one object; `n_diagnosis` of its rows, the first, are diagnosed, the rest select."""

    train: Ref
    validation: Ref
    n_diagnosis: int
    test: Ref | None = None
    held_back: Ref | None = None
    """Real rows that may join the training data in place of synthetic ones."""
    max_new_tokens: int | None = None
    """Tokens that the student may write, fitted to the right answers; None in runs of versions that did not look."""
    contamination_similarity: float | None = None
    """As `guard.contamination_similarity`, fitted to the real rows; None in runs of versions that did not fit it."""


class IterationPlan(Record):
    """What the two branches of an iteration have to do."""

    diagnosed_model: str
    n_pattern_rows: int
    n_training_error_rows: int
    validation_failures: Ref
    training_failures: Ref
    repaired: dict[str, float] = Field(default_factory=dict)
    """Share of its rows that each pattern of the iteration before got repaired; empty where rows are allocated evenly."""
    training_successes: Ref | None = None
    """Training rows answered rightly, where they are shown beside errors."""
    error_capacity: int | None = None
    """Most rows that the training errors may feed; None where there is no limit."""


Rows = str | list[dict[str, Any]]


class RunInput(TypedDict, total=False):
    """What a run needs at the least; everything may stand in the context instead."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)  # type: ignore[misc]

    train: Rows
    """Training rows: a location as in `data.train`, or the rows themselves."""
    validation: Rows
    """Validation rows: a location as in `data.validation`, or the rows themselves."""
    test: Rows
    """Test rows: a location as in `data.test`, or the rows themselves."""
    task: str
    """Name of the task, as in `task.name`."""
    model: str
    """The student, as in `student.model`."""


class Given(TypedDict, total=False):
    """What every part of the graph reads and none of them changes on its own."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)  # type: ignore[misc]

    settings: Annotated[RunConfig, Same]
    """As the run was started with; a resume does not change them."""
    data: Annotated[DataSplits, Same]
    """The user's rows, in the store."""
    iteration: Annotated[int, Same]
    """Augmentation round; 0 until the first fine-tuning was measured."""
    plan: Annotated[IterationPlan, Same]
    """What this iteration diagnoses, and how many rows each branch writes."""


class Told(TypedDict, total=False):
    """What every part of the graph has to say."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)  # type: ignore[misc]

    warnings: Annotated[list[str], unite]
    """What a reader of the result should know."""
    spans: Annotated[dict[str, Span], merge]
    """When each node ran: stage/detail to start and end."""


class RunOutput(TypedDict, total=False):
    """What a caller gets back. The server streams these keys alone, so what a person follows stands here too."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)  # type: ignore[misc]

    summary: RunSummary
    """The result, once the run is finished."""
    iteration: Annotated[int, Same]
    """Augmentation round; 0 until the first fine-tuning was measured."""
    models: Annotated[dict[str, TrainedModel], merge]
    """Every model measured so far, by name."""
    best_model: str
    """The fine-tuned model with the best accuracy on the selection part."""
    patterns: Annotated[dict[str, list[ErrorPattern]], merge]
    """By iteration."""
    strategies: Annotated[dict[str, list[GuardedStrategy]], merge]
    """By iteration."""
    batches: Annotated[dict[str, BatchReport], merge]
    """How each batch fared, with a few of its rows, by batch id."""
    quotas: Annotated[dict[str, list[Quota]], merge]
    """What each strategy and the training errors owe, and how far they are, by iteration."""
    reviews: Annotated[dict[str, Review], merge]
    """What people decided, by review and iteration."""
    warnings: Annotated[list[str], unite]
    """What a reader of the result should know."""
    stop_reason: str
    """Why the run ended."""


class RunState(Given, Told, total=False):
    """Shared state of the whole run."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)  # type: ignore[misc]

    train: Annotated[Rows, EphemeralValue]
    validation: Annotated[Rows, EphemeralValue]
    test: Annotated[Rows, EphemeralValue]
    task: Annotated[str, EphemeralValue]
    model: Annotated[str, EphemeralValue]
    models: Annotated[dict[str, TrainedModel], merge]
    """Every model measured so far, by name."""
    best_model: str
    """The fine-tuned model with the best accuracy on the selection part."""
    analyses: Annotated[dict[str, Ref], merge]
    """Error analyses, by iteration."""
    clusterings: Annotated[dict[str, Ref], merge]
    """How they were grouped, and how well, by iteration."""
    patterns: Annotated[dict[str, list[ErrorPattern]], merge]
    """By iteration."""
    strategies: Annotated[dict[str, list[GuardedStrategy]], merge]
    """By iteration."""
    batches: Annotated[dict[str, BatchReport], merge]
    """How each batch fared, with a few of its rows, by batch id."""
    n_wanted: Annotated[dict[str, int], merge]
    """Synthetic rows that were to join the training data, by iteration."""
    n_joined: Annotated[dict[str, int], merge]
    """Synthetic rows that joined the training data, by iteration."""
    quotas: Annotated[dict[str, list[Quota]], merge]
    """What each strategy and the training errors owe, and how far they are, by iteration."""
    top_ups: Annotated[dict[str, int], merge]
    """Rounds that made up for refused rows, by iteration."""
    new_rows: Annotated[Ref, Same]
    """Synthetic rows that joined the training data in this iteration."""
    reviews: Annotated[dict[str, Review], merge]
    """What people decided, by review and iteration."""
    overruled: Annotated[dict[str, dict[str, int]], merge]
    """Rejected rows that a person took in all the same, by iteration and by stage of rejection."""
    stop_reason: str
    """Why the run ended."""
    summary: RunSummary
    """The result."""


class AnalysisOutput(Told, total=False):
    """What pattern analysis hands on."""

    analyses: Annotated[dict[str, Ref], merge]
    clusterings: Annotated[dict[str, Ref], merge]
    patterns: Annotated[dict[str, list[ErrorPattern]], merge]
    drafted: list[Strategy]


class AnalysisState(Given, AnalysisOutput, total=False):
    """Private state of pattern analysis."""


class BatchOutput(Told, total=False):
    """What one batch hands on; and the training-error branch, which has nothing but batches to tell of."""

    batches: Annotated[dict[str, BatchReport], merge]


class BranchOutput(BatchOutput, total=False):
    """What the generalization branch hands on."""

    analyses: Annotated[dict[str, Ref], merge]
    clusterings: Annotated[dict[str, Ref], merge]
    patterns: Annotated[dict[str, list[ErrorPattern]], merge]
    strategies: Annotated[dict[str, list[GuardedStrategy]], merge]
    reviews: Annotated[dict[str, Review], merge]


class TopUpOutput(BatchOutput, total=False):
    """What a round that makes up for refused rows hands on."""

    top_ups: Annotated[dict[str, int], merge]


class BranchInput(Given, total=False):
    """What a branch reads. The rest of the shared state would only fill its checkpoints."""

    models: Annotated[dict[str, TrainedModel], merge]
    clusterings: Annotated[dict[str, Ref], merge]
    patterns: Annotated[dict[str, list[ErrorPattern]], merge]
    """Those of earlier iterations, to recognise."""
    strategies: Annotated[dict[str, list[GuardedStrategy]], merge]
    """This iteration's: when it begins, only if the run was forked with others than drafted."""
    new_rows: Annotated[Ref, Same]
    """What the iteration has gathered so far, for a top-up round."""
    quotas: Annotated[dict[str, list[Quota]], merge]
    top_ups: Annotated[dict[str, int], merge]


class BranchState(Given, BranchOutput, total=False):
    """Private state of one branch of an iteration."""

    models: Annotated[dict[str, TrainedModel], merge]
    drafted: list[Strategy]
    planned: list[Batch]
    new_rows: Annotated[Ref, Same]
    quotas: Annotated[dict[str, list[Quota]], merge]
    top_ups: Annotated[dict[str, int], merge]


class BatchState(Given, BatchOutput, total=False):
    """Private state of the synthesis of one batch."""

    models: dict[str, TrainedModel]
    batch: Batch
    n_rows: int
    """Of all batches that are made at the same time."""
    new_rows: Annotated[Ref, Same]
    """What the iteration has gathered so far; read in top-up rounds alone."""
    attempt: int
    """Attempts made; 0 before the first."""
    drafts: list[Draft]
    candidates: list[Example]
    accepted: list[Example]
    ratings: list[Rating]
    """Of accepted rows."""
    rejected: list[Rejection]
    n_asked: int
    """Rows that the generator was asked for, over all attempts."""
    n_written: int
    score: float | None
    decision: str
    feedback: list[Feedback]
    """To the generator, from verification and from the judge; the newest for each row."""
    answered: dict[str, bool]
    """Whether the judge, asked without the answer, gave the one that a row of known quality shows, by probe."""
    probes: list[JudgeProbe]
    n_solved: int
    unusable: dict[str, list[str]]
    """What was wrong with answers that could not be used, by kind of call."""


def open_rows(state: BatchState) -> list[int]:
    """Rows of the batch that have no accepted example yet."""
    done = {e.provenance.row for e in state.get("accepted", []) if e.provenance}
    return [row for row in range(len(state["batch"].source_ids)) if row not in done]


PartialState = dict[str, Any]
