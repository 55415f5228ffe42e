"""Joins the batches of an iteration to D_syn, with a last blocking check against held-out rows."""

from pada_agent.core.errors import LeakageError
from pada_agent.core.records import Example
from pada_agent.evaluation.contamination import find_duplicates, find_overlap
from pada_agent.graph.context import Adapters
from pada_agent.graph.rows import read_protected
from pada_agent.graph.state import PartialState, RunState
from pada_agent.graph.storing import put_rows


def augment(state: RunState, adapters: Adapters) -> PartialState:
    """Unite the accepted rows of both branches, without repeats between batches."""
    rows: list[Example] = []
    for _, batch in sorted(state.get("batches", {}).items()):
        if batch.iteration != state["iteration"]:
            continue
        accepted = adapters.store.read_rows(batch.accepted.key, Example)
        rows += without_repeats(accepted, rows, state)
    block_leaks(rows, read_protected(state, adapters))
    return {"new_rows": put_rows(adapters.store, "synthetic", rows), "n_joined": {str(state["iteration"]): len(rows)}}


def without_repeats(rows: list[Example], known: list[Example], state: RunState) -> list[Example]:
    """The rows that repeat neither a known row nor one another."""
    threshold = state["settings"].generation.near_duplicate_rouge
    repeated = {o.example_id for o in find_duplicates(rows, known, threshold=threshold)}
    return [row for row in rows if row.id not in repeated]


def block_leaks(rows: list[Example], protected: list[Example]) -> None:
    """The last gate before training.

    Raises:
        LeakageError: a held-out row would be trained on. Label verification drops such rows, so this is a bug.
    """
    if overlaps := find_overlap(rows, protected):
        first = overlaps[0]
        raise LeakageError(f"{first.example_id} stands in held-out data as {first.protected_id}: {first.evidence}")
