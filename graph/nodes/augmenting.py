"""Joins the batches of an iteration to D_syn, with a last blocking check against held-out rows."""

from typing import Any

from langgraph.types import interrupt

from pada_agent.core.errors import ConfigError, LeakageError
from pada_agent.core.records import Example, Ref
from pada_agent.evaluation.contamination import find_duplicates, find_overlap
from pada_agent.graph.context import Adapters
from pada_agent.graph.nodes.branches import read_protected
from pada_agent.graph.state import PartialState, RunState


def augment(state: RunState, adapters: Adapters) -> PartialState:
    """Unite the accepted rows of both branches, without repeats between batches."""
    threshold = state["settings"].generation.near_duplicate_rouge
    rows: list[Example] = []
    for batch_id in sorted(b for b in state.get("batches", {}) if b.startswith(f"i{state['iteration']}-")):
        accepted = adapters.store.read_rows(state["batches"][batch_id].accepted.key, Example)
        repeated = {o.example_id for o in find_duplicates(accepted, rows, threshold=threshold)}
        rows += [row for row in accepted if row.id not in repeated]
    block_leaks(rows, read_protected(state, adapters))
    return {"new_rows": _store(rows, adapters), "n_joined": {str(state["iteration"]): len(rows)}}


def block_leaks(rows: list[Example], protected: list[Example]) -> None:
    """The last gate before training.

    Raises:
        LeakageError: a held-out row would be trained on. Label verification drops such rows, so this is a bug.
    """
    if overlaps := find_overlap(rows, protected):
        first = overlaps[0]
        raise LeakageError(f"{first.example_id} stands in held-out data as {first.protected_id}: {first.evidence}")


def review_data(state: RunState, adapters: Adapters) -> PartialState:
    """Wait for a person to look at the accepted rows before they are trained on, if settings say so."""
    if not state["settings"].review.data or not state["new_rows"].rows:
        return {}
    rows = adapters.store.read_rows(state["new_rows"].key, Example)
    payload = {
        "review": "data",
        "rows": [{"id": r.id, "prompt": r.prompt, "answer": r.answer} for r in rows[:50]],
        "n_rows": len(rows),
        "answer_with": "{'drop': [ids]} or 'approve'",
    }
    dropped = read_dropped(interrupt(payload))
    return {"new_rows": _store([r for r in rows if r.id not in dropped], adapters)}


def read_dropped(answer: Any) -> set[str]:
    """Ids of the rows a person refused.

    Raises:
        ConfigError: the answer is neither `approve` nor a list of ids.
    """
    if answer == "approve":
        return set()
    if isinstance(answer, dict) and isinstance(answer.get("drop"), list):
        return {str(row_id) for row_id in answer["drop"]}
    raise ConfigError(f"answer to the data review: expected 'approve' or {{'drop': [ids]}}, got {answer!r}")


def _store(rows: list[Example], adapters: Adapters) -> Ref:
    key = adapters.store.key("synthetic", rows)
    adapters.store.write_rows(key, rows)
    return Ref(key=key, rows=len(rows))
