"""Real rows in place of synthetic ones: an oracle that measures how much more data could help at all."""

from random import Random

from pada_agent.core.records import BatchReport, Example, Provenance
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.nodes.rounds import tell_round
from pada_agent.graph.rows import kept_synthetic
from pada_agent.graph.state import BranchState, PartialState
from pada_agent.graph.storing import put_rows


def take_held_back(state: BranchState, adapters: Adapters) -> PartialState:
    """Take as many held-back rows as would have been written, and report them as one batch.

    They are drawn with the run's seed. Rows kept from earlier iterations are left out, and those that earlier iterations tried in vain
    come last: with the same rows again, the model would be the same.
    """
    n_wanted, iteration, store = state["plan"].n_training_error_rows, state["iteration"], adapters.store
    kept = kept_synthetic(state["settings"], state["models"][state["plan"].diagnosed_model])
    used = {e.id for ref in kept for e in store.read_rows(ref.key, Example)}
    held_back = state["data"].held_back
    pool = store.read_rows(held_back.key, Example) if held_back else []
    drawn = Random(f"oracle/{state['settings'].seed}").sample(pool, len(pool))
    first = (iteration - 1) * n_wanted % max(1, len(drawn))
    rows = [_label(e, iteration) for e in [*drawn[first:], *drawn[:first]] if e.id not in used][:n_wanted]
    report = _report(rows, n_wanted, iteration, adapters)
    few = f"iteration {iteration}: only {len(rows)} of {n_wanted} real rows were left to take"
    nothing = put_rows(store, "planned", [])
    update = tell_round(report.batch_id, [report], adapters)
    return {**update, "planned": nothing, "warnings": [few] if len(rows) < n_wanted else []}


def _label(example: Example, iteration: int) -> Example:
    origin = Provenance(
        branch="held_back", iteration=iteration, batch_id=_batch_id(iteration), attempt=1, source_id=example.id
    )
    return example.model_copy(update={"provenance": origin})


def _batch_id(iteration: int) -> str:
    return f"i{iteration}-held-back"


def _report(rows: list[Example], n_wanted: int, iteration: int, adapters: Adapters) -> BatchReport:
    return BatchReport(
        batch_id=_batch_id(iteration),
        iteration=iteration,
        branch="held_back",
        attempts=1,
        n_requested=n_wanted,
        n_written=len(rows),
        n_accepted=len(rows),
        decision="real rows, held back",
        accepted=put_rows(adapters.store, "accepted", rows),
        rejected=put_rows(adapters.store, "rejected", []),
    )
