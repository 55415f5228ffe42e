"""The summary so far of a run that is still running, waits for a person, or was interrupted."""

from pathlib import Path

from pada_agent.app.adapters.llm.response_cache import read_totals_by_role
from pada_agent.app.report.tables import NOT_FINISHED
from pada_agent.app.run_folder import layout
from pada_agent.app.run_folder.checkpoints import read_state
from pada_agent.core.errors import ArtifactError
from pada_agent.core.records import Usage
from pada_agent.graph.models import UNTOUCHED
from pada_agent.graph.state import RunState
from pada_agent.graph.summarizing import SummaryInputs, summarize_run
from pada_agent.graph.summary import RunSummary


def summarize_unfinished(folder: Path) -> RunSummary:
    """What the last checkpoint holds: models measured so far, patterns and batches. Nothing about test.

    Rows count once their iteration has joined them. LLM use is that of all calls so far.

    Raises:
        ArtifactError: this is not a run's folder, nothing has been measured yet, or it is damaged.
    """
    layout.load_run_config(folder)
    state = read_state(folder / layout.CHECKPOINTS)
    measured = {name: model for name, model in state.get("models", {}).items() if model.validation and model.selection}
    if UNTOUCHED not in measured:
        raise ArtifactError(f"{folder}: nothing has been measured yet. Continue with: {layout.word_resume(folder)}")
    best = state.get("best_model", UNTOUCHED)
    usage, problems = _read_usage(folder / layout.CALLS)
    inputs = SummaryInputs(
        test={},
        comparisons=(),
        accepted_samples=(),
        rejected_samples=(),
        usage=usage,
        peak_memory_mb=None,
        stop_reason=NOT_FINISHED,
    )
    so_far: RunState = {**state, "models": measured, "best_model": best if best in measured else UNTOUCHED}
    summary = summarize_run(leave_out_uncounted(so_far), inputs)
    return summary.model_copy(
        update={
            "batches": tuple(state.get("batches", {}).values()),
            "warnings": (*summary.warnings, *problems),
            "verdict": _word_progress(summary, so_far, folder),
        }
    )


def _read_usage(path: Path) -> tuple[dict[str, Usage], list[str]]:
    """LLM use by role, and why it is unknown."""
    try:
        return read_totals_by_role(path), []
    except ArtifactError as exc:
        return {}, [str(exc)]


def leave_out_uncounted(state: RunState) -> RunState:
    """The state without the rows of iterations whose batches are still being written, or have not been joined yet.

    Which of those will join is not known yet.
    """
    counted = {i for i in state.get("n_wanted", {}) if _is_counted(state, i)}
    batches = {key: batch for key, batch in state.get("batches", {}).items() if str(batch.iteration) in counted}
    n_wanted = {i: n for i, n in state.get("n_wanted", {}).items() if i in counted}
    n_left_out = {i: n for i, n in state.get("n_left_out", {}).items() if i in counted}
    return {**state, "batches": batches, "n_wanted": n_wanted, "n_left_out": n_left_out}


def _is_counted(state: RunState, iteration: str) -> bool:
    """Whether `augment` has joined all batches that were written."""
    n_asked = sum(batch.n_asked for batch in state.get("batches", {}).values() if str(batch.iteration) == iteration)
    quotas = state.get("quotas", {}).get(iteration, [])
    return iteration in state.get("n_left_out", {}) and n_asked == sum(quota.n_asked for quota in quotas)


def _word_progress(summary: RunSummary, state: RunState, folder: Path) -> str:
    names = ", ".join(f"'{model.name}'" for model in summary.models)
    return (
        f"This run is not finished: iteration {state.get('iteration', 0)}, measured so far {names}."
        f" Whether it helped is not known yet. Continue with: {layout.word_resume(folder)}"
    )
