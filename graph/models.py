"""The models of a run, and which of them is the best so far."""

from collections.abc import Sequence

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


def choose_best(models: Sequence[TrainedModel]) -> TrainedModel:
    """The fine-tuned model with the best selection accuracy; ties go to less synthetic data, then to the earlier model."""
    measured = [a for a in models if a.iteration is not None and a.selection is not None]
    return max(
        measured, key=lambda a: (a.selection.accuracy if a.selection else 0.0, -a.n_synthetic, -(a.iteration or 0))
    )
