"""The summary so far of a run that is still running, waits for a person, or was interrupted."""

from pathlib import Path

from pada_agent.app.report.tables import NOT_FINISHED
from pada_agent.app.run_folder import layout
from pada_agent.app.run_folder.checkpoints import read_state
from pada_agent.core.errors import ArtifactError
from pada_agent.graph.models import UNTOUCHED
from pada_agent.graph.state import RunState
from pada_agent.graph.summarizing import SummaryInputs, summarize_run
from pada_agent.graph.summary import RunSummary


def summarize_unfinished(folder: Path) -> RunSummary:
    """What the last checkpoint holds: models measured so far, patterns and batches. Nothing about test.

    Raises:
        ArtifactError: this is not a run's folder, or nothing has been measured yet.
    """
    layout.load_run_config(folder)
    state = read_state(folder / layout.CHECKPOINTS)
    measured = {name: model for name, model in state.get("models", {}).items() if model.validation and model.selection}
    if UNTOUCHED not in measured:
        raise ArtifactError(f"{folder}: nothing has been measured yet. Continue with: {layout.word_resume(folder)}")
    best = state.get("best_model", UNTOUCHED)
    inputs = SummaryInputs(
        test={},
        comparisons=(),
        accepted_samples=(),
        rejected_samples=(),
        usage={},
        peak_memory_mb=None,
        stop_reason=NOT_FINISHED,
    )
    so_far: RunState = {**state, "models": measured, "best_model": best if best in measured else UNTOUCHED}
    summary = summarize_run(so_far, inputs)
    return summary.model_copy(update={"verdict": _word_progress(summary, so_far, folder)})


def _word_progress(summary: RunSummary, state: RunState, folder: Path) -> str:
    names = ", ".join(f"'{model.name}'" for model in summary.models)
    return (
        f"This run is not finished: iteration {state.get('iteration', 0)}, measured so far {names}."
        f" Whether it helped is not known yet. Continue with: {layout.word_resume(folder)}"
    )
