"""Which models of a run are measured for an experiment."""

from pada_agent.app.experiment.grid import Cell
from pada_agent.core.errors import ArtifactError
from pada_agent.graph.models import FINE_TUNED, UNTOUCHED, choose_best
from pada_agent.graph.summary import ModelResult, RunSummary


def find_model(summary: RunSummary, cell: Cell) -> ModelResult:
    """The run's model that represents the arm. For an augmenting arm, the best round by the selection part.

    Raises:
        ArtifactError: it was not measured on test.
    """
    by_name = {arm.name: arm for arm in summary.models}
    rounds = [model for model in summary.models if model.iteration]
    name = UNTOUCHED if cell.measured == "untouched" else FINE_TUNED
    if cell.measured == "augmented" and rounds:
        name = choose_best(rounds).name
    if by_name[name].test is None and cell.config.data.test:
        raise ArtifactError(f"{cell.folder}: '{name}' was not measured on test. Delete the folder and run it again.")
    return by_name[name]


def find_plain(summary: RunSummary) -> ModelResult:
    """The first fine-tuning of the run."""
    return next(model for model in summary.models if model.name == FINE_TUNED)


def count_steps(model: ModelResult) -> int | None:
    """The model's optimizer steps. None if they were not reported."""
    return 0 if model.iteration is None else model.n_steps
