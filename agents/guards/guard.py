"""Base class of the guards. A guard looks at written rows and says which of them must not be trained on, and why."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import JsonValue

from pada_agent.core.config import RunConfig
from pada_agent.core.ports import Embedder
from pada_agent.core.records import Example, Overlap, Record, Rejection
from pada_agent.evaluation.task import Task

NOT_NEEDED = "not needed"
"""Stage of rows that passed the checks so far and are not used, because there were enough without them."""


@dataclass(frozen=True)
class GuardContext:
    """What a guard may use to check rows."""

    settings: RunConfig
    task: Task
    known: Sequence[Example] = ()
    """Rows that must not be repeated: the training data so far, and the rows already accepted in this batch."""
    protected: Sequence[Example] = ()
    """Validation and test rows."""
    training: Sequence[Example] = ()
    """The user's own training rows."""
    embedder: Embedder | None = None
    contamination_similarity: float | None = None
    """The value of `guard.contamination_similarity` after it was fitted to the real rows. None uses the setting unchanged."""
    explain_unlearnable: Callable[[Example], str | None] = lambda _: None
    """Explains why the student cannot be trained on a row. Returns None if it can."""


class Refusal(Record):
    """Why a row is rejected."""

    reason: str
    """In words, for the writer who gets the row back and for a person."""
    overlap: Overlap | None = None
    """The row that it is too similar to, as evidence."""


class Guard(ABC):
    """One check on written rows. Other packages add guards through the entry point group `pada_agent.guards`."""

    name: ClassVar[str]
    stage: ClassVar[str]
    """The word under which the report counts its rejections. Guards may share a stage."""
    may_be_overruled: ClassVar[bool] = False
    """Whether a person may accept a rejected row after all. True only for guards that judge by a model or a similarity, not for exact checks."""

    def __init__(self, context: GuardContext) -> None:
        self.context = context

    @property
    def options(self) -> Mapping[str, JsonValue]:
        """The settings under `guard.plugins.NAME`, for a guard of another package."""
        return self.context.settings.guard.plugins.get(self.name, {})

    @abstractmethod
    def check(self, candidates: Sequence[Example]) -> Mapping[str, Refusal]:
        """The rejected rows, by id. Empty if the settings switch this guard off."""


def name_rejected(rejection: Rejection) -> str | None:
    """The id of the rejected row. None for a draft that never became one."""
    if rejection.example:
        return rejection.example.id
    return rejection.overlap.example_id if rejection.overlap else None


def reject(
    example: Example, stage: str, reason: str, *, may_be_overruled: bool, overlap: Overlap | None = None
) -> Rejection:
    """A rejection with the example's text and provenance. The example itself is kept only if a person may overrule the rejection."""
    if example.provenance is None:
        raise ValueError(f"{example.id} is not a synthetic example")
    return Rejection(
        stage=stage,
        reason=reason,
        text=f"{example.prompt}\n→ {example.answer}",
        provenance=example.provenance,
        overlap=overlap,
        example=example if may_be_overruled else None,
    )
