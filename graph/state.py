"""The typed shared state, which plays the role of the paper's Central Orchestrator.

What a person may want to see in Studio is part of the state. Anything large is a `Ref` into the store.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from langgraph.channels import BaseChannel, EphemeralValue
from langgraph.managed import RemainingSteps
from pydantic import AfterValidator, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

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
from pada_agent.graph.batch_rounds import BatchRound
from pada_agent.graph.channels import Merged, Same, merge, unite
from pada_agent.graph.models import TrainedModel
from pada_agent.graph.reviewing import Review, find_repeated_ids
from pada_agent.graph.spans import Span
from pada_agent.graph.summary import RunSummary


def _check_iteration(key: str) -> str:
    if not re.fullmatch(r"[1-9]\d*", key):
        raise PydanticCustomError("iteration", "expected the number of an iteration, such as 1")
    return key


def _check_ids(strategies: list[GuardedStrategy]) -> list[GuardedStrategy]:
    if problem := find_repeated_ids([guarded.strategy for guarded in strategies]):
        raise PydanticCustomError("repeated_ids", "{problem}", {"problem": problem})
    return strategies


Strategies = dict[
    Annotated[str, AfterValidator(_check_iteration)], Annotated[list[GuardedStrategy], AfterValidator(_check_ids)]
]
"""Strategies by iteration."""


class DataSplits(Record):
    """The user's rows. Validation is one object: its first `n_diagnosis` rows are diagnosed, the others select the best model."""

    train: Ref
    validation: Ref
    n_diagnosis: int
    test: Ref | None = None
    definitions: Ref | None = None
    """Definitions of labels that every model is trained on as well (`data.train_on_definitions`)."""
    held_back: Ref | None = None
    """Real rows that may join the training data in place of synthetic ones."""
    max_new_tokens: int | None = None
    """Maximum number of tokens that the student may write, fitted to the right answers. None if rows cannot be measured here."""


class IterationPlan(Record):
    """What the two branches of an iteration have to do."""

    diagnosed_model: str
    """Name of the model whose errors are analyzed: the best one so far."""
    n_pattern_rows: int
    """Number of rows that the pattern branch writes. More if training errors turn out to be few."""
    n_training_error_rows: int
    """Number of rows that the training-error branch writes. Fewer if training errors turn out to be few."""
    validation_failures: Ref
    """Rows of the diagnosis part of validation that the model answered wrongly."""
    training_failures: Ref
    """Training rows that the training-error branch writes from. Empty until the student has answered them."""
    repaired: dict[str, float] = Field(default_factory=dict)
    """For each pattern of the previous iteration, the share of its rows that was repaired. Empty if rows are divided evenly."""
    training_successes: Ref | None = None
    """Training rows answered correctly, for recipes that show them next to errors. None for other recipes."""
    error_capacity: int | None = None
    """Maximum number of rows that can be written from training errors. None means no limit."""


Rows = str | list[dict[str, Any]]
"""A location (path or hub id), or the rows themselves."""


class RunInput(Record):
    """The least that a run needs. All of it may be given in the context instead. Blank texts count as not given."""

    # Not a TypedDict: of that, LangChain's `as_tool` makes a form whose fields are all required.
    model_config = ConfigDict(use_attribute_docstrings=True)

    train: Rows = ""
    """Training rows: a location as in `data.train`, or the rows themselves."""
    validation: Rows = ""
    """Validation rows: a location as in `data.validation`, or the rows themselves."""
    test: Rows = ""
    """Test rows: a location as in `data.test`, or the rows themselves."""
    task: str = ""
    """Name of the task, as in `task.name`."""
    model: str = ""
    """The student, as in `student.model`."""

    @field_validator("*", mode="before")
    @classmethod
    def _read_null(cls, value: Any) -> Any:
        """Models that call tools give null for what they leave out."""
        return "" if value is None else value


class Basis(TypedDict, total=False):
    """What every part of the graph works with."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)  # type: ignore[misc]

    settings: Annotated[RunConfig, Same]
    """The settings that the run was started with. Resuming does not change them, but the limits of the budget that the context of the present call names come first."""
    data: Annotated[DataSplits, Same]
    """The user's rows, in the store."""
    plan: Annotated[IterationPlan, Same]
    """What this iteration diagnoses, and how many rows each branch writes."""


class Given(Basis, total=False):
    """What every part of the graph reads and no part changes by itself."""

    iteration: Annotated[int, Same]


class Reported(TypedDict, total=False):
    """What every part of the graph reports."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)  # type: ignore[misc]

    warnings: Annotated[list[str], unite]
    """What readers of the result should know."""
    spans: Annotated[dict[str, Span], merge]
    """When each node ran: `node/detail` mapped to start and end. For nodes of batches, the detail is the round."""


class RunOutput(TypedDict, total=False):
    """What a caller gets back. The server streams only these keys, so everything a person follows is included."""

    # All keys are here, because pydantic describes the keys of a class by the docstrings of that class alone.
    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)  # type: ignore[misc]

    summary: Annotated[RunSummary, Same]
    """The result, once the run is finished."""
    iteration: Annotated[int, Same]
    """Augmentation round. 0 until the first fine-tuning has been measured."""
    models: Annotated[dict[str, TrainedModel], Merged]
    """The models of the run, by name."""
    best_model: Annotated[str, Same]
    """The fine-tuned model with the best accuracy on the selection part."""
    patterns: Annotated[dict[str, list[ErrorPattern]], Merged]
    """Error patterns, by iteration."""
    strategies: Annotated[Strategies, Merged]
    """Strategies after the leak guard, by iteration."""
    batches: Annotated[dict[str, BatchRound], Merged]
    """Totals of the batches of each round, its latest reports, and the file with all reports."""
    quotas: Annotated[dict[str, list[Quota]], Merged]
    """How many rows each strategy and the training errors owe, and how many have joined, by iteration."""
    reviews: Annotated[dict[str, Review], Merged]
    """What people decided, by review and iteration."""
    warnings: Annotated[list[str], unite]
    """What readers of the result should know."""
    stop_reason: Annotated[str, Same]
    """Why the run ended."""


class RunState(Basis, RunOutput, total=False):
    """The shared state of the whole run."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)  # type: ignore[misc]

    train: Annotated[Rows, EphemeralValue]
    validation: Annotated[Rows, EphemeralValue]
    test: Annotated[Rows, EphemeralValue]
    task: Annotated[str, EphemeralValue]
    model: Annotated[str, EphemeralValue]
    spans: Annotated[dict[str, Span], merge]
    """When each node ran: `node/detail` mapped to start and end. For nodes of batches, the detail is the round."""
    analyses: Annotated[dict[str, Ref], Merged]
    """Error analyses, by iteration."""
    clusterings: Annotated[dict[str, Ref], Merged]
    """How the analyses were grouped, and how well, by iteration."""
    n_wanted: Annotated[dict[str, int], Merged]
    """Number of synthetic rows that should join the training data, by iteration."""
    left_out: Annotated[dict[str, Ref], Merged]
    """Accepted rows that did not join the training data, because they repeat another batch's row or were not needed, by iteration."""
    n_left_out: Annotated[dict[str, dict[str, int]], Merged]
    """Number of these, by iteration and by reason."""
    top_ups: Annotated[dict[str, int], Merged]
    """Number of rounds that replaced rejected rows, by iteration."""
    new_rows: Annotated[Ref, Same]
    """Synthetic rows that joined the training data in this iteration."""
    overruled: Annotated[dict[str, dict[str, int]], Merged]
    """Number of rejected rows that a person accepted after all, by iteration and by stage of rejection."""


class PrepareState(RunState, total=False):
    """What the first node reads."""

    remaining_steps: RemainingSteps
    """Number of LangGraph steps that may follow. The node's configuration does not tell: it names 25 if the caller names no limit."""


class AnalysisOutput(Reported, total=False):
    """What pattern analysis returns."""

    analyses: Annotated[dict[str, Ref], Merged]
    clusterings: Annotated[dict[str, Ref], Merged]
    patterns: Annotated[dict[str, list[ErrorPattern]], Merged]
    drafted: Annotated[list[Strategy], Same]


class AnalysisState(Given, AnalysisOutput, total=False):
    """Private state of pattern analysis."""


class RoundOutput(Reported, total=False):
    """What a round of batches returns, and the training-error branch, which consists of nothing else."""

    plan: Annotated[IterationPlan, Same]
    batches: Annotated[dict[str, BatchRound], Merged]


class BranchOutput(RoundOutput, total=False):
    """What the generalization branch returns."""

    analyses: Annotated[dict[str, Ref], Merged]
    clusterings: Annotated[dict[str, Ref], Merged]
    patterns: Annotated[dict[str, list[ErrorPattern]], Merged]
    strategies: Annotated[Strategies, Merged]
    reviews: Annotated[dict[str, Review], Merged]


class TopUpOutput(RoundOutput, total=False):
    """What a top-up round returns. Such a round replaces rejected rows."""

    top_ups: Annotated[dict[str, int], Merged]


class BranchInput(Given, total=False):
    """What a branch reads. The rest of the shared state would only make its checkpoints larger."""

    models: Annotated[dict[str, TrainedModel], Merged]
    clusterings: Annotated[dict[str, Ref], Merged]
    patterns: Annotated[dict[str, list[ErrorPattern]], Merged]
    """Patterns of earlier iterations, so that they can be recognized."""
    strategies: Annotated[Strategies, Merged]
    """Strategies by iteration. Those of the current iteration are there from the start only if the run was forked with other strategies."""
    new_rows: Annotated[Ref, Same]
    """Rows gathered in this iteration so far. Only top-up rounds read them."""
    quotas: Annotated[dict[str, list[Quota]], Merged]
    top_ups: Annotated[dict[str, int], Merged]


class BranchState(Given, BranchOutput, total=False):
    """Private state of one branch of an iteration."""

    models: Annotated[dict[str, TrainedModel], Merged]
    drafted: Annotated[list[Strategy], Same]
    planned: Annotated[Ref, Same]
    """The batches of the round, in the store."""
    new_rows: Annotated[Ref, Same]
    quotas: Annotated[dict[str, list[Quota]], Merged]
    top_ups: Annotated[dict[str, int], Merged]


class RoundState(Given, total=False):
    """Private state of a round of batches. It is never in a checkpoint."""

    models: dict[str, TrainedModel]
    planned: Ref
    new_rows: Annotated[Ref, Same]
    waiting: list[Batch]
    """Batches that still have to run."""
    n_rows: int
    """Number of rows in these batches."""


class BatchOutput(Reported, total=False):
    """What the synthesis of one batch returns."""

    batches: Annotated[dict[str, BatchReport], Merged]


class BatchState(Given, BatchOutput, total=False):
    """Private state of the synthesis of one batch."""

    models: dict[str, TrainedModel]
    batch: Batch
    n_rows: int
    """Total number of rows of all batches that are made at the same time."""
    new_rows: Annotated[Ref, Same]
    """Rows gathered in this iteration so far. Only top-up rounds read them."""
    attempt: int
    """Number of attempts made. 0 before the first one."""
    drafts: list[Draft]
    candidates: list[Example]
    accepted: list[Example]
    """Rows that passed all checks. May be more than are wanted if no check takes a call: the others may fill gaps of other batches."""
    ratings: list[Rating]
    """Ratings of the accepted rows."""
    rejected: list[Rejection]
    n_asked: int
    """Number of rows requested from the generator, over all attempts, without spare ones."""
    n_written: int
    """Number of drafts that the generator returned, over all attempts."""
    score: float | None
    decision: str
    feedback: list[Feedback]
    """Feedback for the generator, from verification and from the judge. Only the newest for each row."""
    answered: dict[str, bool]
    """By probe id, whether the judge gave the answer shown in the probe when it was asked without seeing it."""
    probes: list[JudgeProbe]
    n_solved: int
    unusable: dict[str, list[str]]
    """What was wrong with replies that could not be used, by kind of call."""


@cache
def list_channels() -> Mapping[str, BaseChannel[Any, Any, Any]]:
    """The channels that checkpoints keep, by name: those of the run, and those that only its branches have."""
    from langgraph.graph import StateGraph

    return {**StateGraph(BranchState).channels, **StateGraph(RunState).channels}


def open_rows(state: BatchState) -> list[int]:
    """0-based positions of the batch's rows that have no accepted example yet. Empty once as many are accepted as are wanted."""
    batch, done = state["batch"], {e.provenance.row for e in state.get("accepted", []) if e.provenance}
    return [row for row in range(len(batch.source_ids)) if row not in done] if count_missing(state) else []


def count_missing(state: BatchState) -> int:
    """Number of rows that the batch still owes."""
    return max(0, state["batch"].n_wanted - len(state.get("accepted", [])))


PartialState = dict[str, Any]
