"""A round of batches: which of them still have to run, and their totals."""

from collections.abc import Sequence

from pada_agent.core.errors import ArtifactError
from pada_agent.core.records import Batch, BatchReport
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.batch_rounds import sum_up
from pada_agent.graph.done_batches import DoneBatch, find_done
from pada_agent.graph.spans import merge_by_stage, span_key
from pada_agent.graph.state import PartialState, RoundState
from pada_agent.graph.storing import put_rows


def open_round(state: RoundState, adapters: Adapters) -> PartialState:
    """Finds the batches that still have to run."""
    waiting = [batch for batch in read_planned(state, adapters) if not _is_made(find_done(batch, state, adapters))]
    return {"waiting": waiting, "n_rows": sum(batch.n_wanted for batch in waiting)}


def _is_made(done: DoneBatch | None) -> bool:
    """Whether a finished batch was asked for: not if the teacher seemed to be of no use then."""
    return done is not None and bool(done.report.n_asked or done.report.n_written or done.report.unusable)


def close_round(state: RoundState, adapters: Adapters) -> PartialState:
    """Adds up the round, now that all of its batches are finished.

    Raises:
        ArtifactError: objects of a finished batch were deleted while other batches ran.
    """
    planned = read_planned(state, adapters)
    found = [(batch, find_done(batch, state, adapters)) for batch in planned]
    if gone := [batch.id for batch, done in found if done is None]:
        raise ArtifactError(
            f"batch {gone[0]} is finished, but some of its rows are missing in the objects folder. Resume the run:"
            " the batch is then made again from stored replies."
        )
    done = [d for _, d in found if d]
    if not done:
        return {}
    name = _name_round(planned[0])
    spans = merge_by_stage({key: span for d in done for key, span in d.spans.items()})
    update = tell_round(name, [d.report for d in done], adapters)
    return {**update, "spans": {span_key(stage, name): span for stage, span in spans.items()}}


def tell_round(name: str, reports: Sequence[BatchReport], adapters: Adapters) -> PartialState:
    """Stores the reports of a round, and returns the update of the state with its totals."""
    return {"batches": {name: sum_up(reports, put_rows(adapters.store, "batches", reports))}}


def read_planned(state: RoundState, adapters: Adapters) -> list[Batch]:
    """All batches of the round."""
    planned = state["planned"]
    return adapters.store.read_rows(planned.key, Batch) if planned.rows else []


def _name_round(first: Batch) -> str:
    return f"i{first.iteration}-top-up-{first.top_up}" if first.top_up else f"i{first.iteration}-{first.branch}"
