"""The models of a run, and which of them is the best so far."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from pada_agent.core.records import Metrics, Record, Ref

UNTOUCHED = "untouched"

FINE_TUNED = "fine-tuned"


class TrainedModel(Record):
    """One model of the run, untouched or fine-tuned: what it was trained on, and how well it does."""

    name: str
    iteration: int | None
    """None for the untouched student, 0 for the first fine-tuning."""
    adapter: Ref | None = None
    """The LoRA adapter in the store. None for the untouched student."""
    synthetic: tuple[Ref, ...] = ()
    """Synthetic rows that it was trained on, one object for each iteration that contributed. Like the numbers below, this includes the training of the
    adapters that it continues (`loop.start_from: best`)."""
    n_train_rows: int = 0
    """Number of different rows it was trained on, including synthetic ones."""
    n_synthetic: int = 0
    n_steps: int | None = None
    """Number of optimizer steps. None if the compute backend did not report it."""
    validation: Metrics | None = None
    """Results on all of validation. None before it was measured."""
    diagnosis: Metrics | None = None
    """Results on the diagnosis part of validation, whose errors the agents read."""
    selection: Metrics | None = None
    """Results on the part of validation that the best model is selected by."""
    measured: Ref | None = None
    """All validation rows with the model's answers and the verdicts on them."""
    validation_failures: Ref | None = None
    """Rows of the diagnosis part that it answered wrongly."""


class Measured(Protocol):
    """What `choose_best` needs to know about a model."""

    @property
    def iteration(self) -> int | None: ...
    @property
    def selection(self) -> Metrics | None: ...
    @property
    def n_synthetic(self) -> int: ...


MeasuredT = TypeVar("MeasuredT", bound=Measured)


def choose_best(models: Sequence[MeasuredT]) -> MeasuredT:
    """The fine-tuned model with the best selection accuracy. Ties go to the model with fewer synthetic rows, then to the earlier one."""
    measured = [m for m in models if m.iteration is not None and m.selection is not None]
    return max(
        measured, key=lambda m: (m.selection.accuracy if m.selection else 0.0, -m.n_synthetic, -(m.iteration or 0))
    )
