"""The models of a run, and which of them is the best so far."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from pada_agent.core.records import Metrics, Record, Ref

UNTOUCHED = "untouched"

FINE_TUNED = "fine-tuned"


class TrainedModel(Record):
    """One model: the untouched student, or one that was fine-tuned, with what it was trained on and how it fared."""

    name: str
    iteration: int | None
    """None for the untouched student, 0 for the first fine-tuning."""
    adapter: Ref | None = None
    synthetic: tuple[Ref, ...] = ()
    n_train_rows: int = 0
    n_synthetic: int = 0
    n_steps: int | None = None
    """Optimizer steps trained; None where the compute backend noted none."""
    validation: Metrics | None = None
    diagnosis: Metrics | None = None
    selection: Metrics | None = None
    measured: Ref | None = None
    """Every validation row with the answer and its verdict."""
    validation_failures: Ref | None = None
    """Wrong answers on the diagnosis part."""


class Measured(Protocol):
    """What the choice between models looks at."""

    @property
    def iteration(self) -> int | None: ...
    @property
    def selection(self) -> Metrics | None: ...
    @property
    def n_synthetic(self) -> int: ...


MeasuredT = TypeVar("MeasuredT", bound=Measured)


def choose_best(models: Sequence[MeasuredT]) -> MeasuredT:
    """The fine-tuned model with the best selection accuracy; ties go to less synthetic data, then to the earlier model."""
    measured = [m for m in models if m.iteration is not None and m.selection is not None]
    return max(
        measured, key=lambda m: (m.selection.accuracy if m.selection else 0.0, -m.n_synthetic, -(m.iteration or 0))
    )
