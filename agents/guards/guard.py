"""What a guard is: it looks at rows that were written, and says which must not be trained on, and why."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import JsonValue

from pada_agent.core.config import RunConfig
from pada_agent.core.ports import Embedder
from pada_agent.core.records import Example, Overlap, Record, Rejection
from pada_agent.evaluation.task import Task


@dataclass(frozen=True)
class Surroundings:
    """What a guard may compare rows with."""

    settings: RunConfig
    task: Task
    known: Sequence[Example] = ()
    """Rows that must not be repeated: the training data so far, and what the batch has accepted."""
    protected: Sequence[Example] = ()
    """Validation and test rows."""
    training: Sequence[Example] = ()
    """The user's own training rows."""
    embedder: Embedder | None = None
    contamination_similarity: float | None = None
    """As `guard.contamination_similarity`, fitted to the real rows; None takes the setting as it is."""
    explain_unlearnable: Callable[[Example], str | None] = lambda _: None
    """Why the student cannot be trained on a row; None where it can."""


class Refusal(Record):
    """Why a row is refused."""

    reason: str
    """In words for whoever writes it again, and for a person."""
    overlap: Overlap | None = None
    """The row it is too close to, as evidence."""


class Guard(ABC):
    """One check on rows that were written. A guard of another package is an entry point of the group `pada_agent.guards`."""

    name: ClassVar[str]
    stage: ClassVar[str]
    """What its refusals are counted under in the report: a word, which other guards may share."""
    may_be_overruled: ClassVar[bool] = False
    """Whether a person may let a refused row in after all: what a model or a similarity says, not what is certain."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around

    @property
    def options(self) -> Mapping[str, JsonValue]:
        """What `guard.plugins.NAME` says, for a guard of another package."""
        return self.around.settings.guard.plugins.get(self.name, {})

    @abstractmethod
    def check(self, candidates: Sequence[Example]) -> Mapping[str, Refusal]:
        """The refused rows, by id; none where settings switch the guard off."""


def reject(
    example: Example, stage: str, reason: str, *, may_be_overruled: bool, overlap: Overlap | None = None
) -> Rejection:
    """A rejection that keeps the example's text and provenance; and the example itself, where a person may overrule it."""
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
