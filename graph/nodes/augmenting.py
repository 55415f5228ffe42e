"""Joins the batches of an iteration to D_syn, with a last blocking check against held-out rows."""

from collections import Counter

from pada_agent.core.errors import LeakageError
from pada_agent.core.records import Example, Ref, Rejection
from pada_agent.evaluation.contamination import find_duplicates, find_overlap
from pada_agent.graph.context import Adapters
from pada_agent.graph.reviewing import DataAnswer, ask_person, note_review
from pada_agent.graph.rows import read_protected
from pada_agent.graph.state import PartialState, RunState

N_SHOWN = 50
"""Accepted rows, and rejected rows, shown to a person; all are in the store."""


def augment(state: RunState, adapters: Adapters) -> PartialState:
    """Unite the accepted rows of both branches, without repeats between batches."""
    rows: list[Example] = []
    for batch_id in sorted(b for b in state.get("batches", {}) if b.startswith(f"i{state['iteration']}-")):
        accepted = adapters.store.read_rows(state["batches"][batch_id].accepted.key, Example)
        rows += without_repeats(accepted, rows, state)
    block_leaks(rows, read_protected(state, adapters))
    return {"new_rows": _store(rows, adapters), "n_joined": {str(state["iteration"]): len(rows)}}


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


def review_data(state: RunState, adapters: Adapters) -> PartialState:
    """Wait for a person to look at accepted and rejected rows before any is trained on, if settings say so."""
    if not state["settings"].review.data:
        return {}
    rows, refused = adapters.store.read_rows(state["new_rows"].key, Example), read_refused(state, adapters)
    if not rows and not refused:
        return {}
    payload = {
        "iteration": state["iteration"],
        "rows": [{"id": r.id, "prompt": r.prompt, "answer": r.answer} for r in rows[:N_SHOWN]],
        "n_rows": len(rows),
        "rejected": [{"id": e.id, "reason": r.reason, "text": r.text} for r, e in refused[:N_SHOWN]],
        "n_rejected": len(refused),
    }
    by_id = {e.id: e for _, e in refused}

    def find_problem(answer: DataAnswer) -> str | None:
        unknown = [i for i in answer.drop if i not in {r.id for r in rows}] + [
            i for i in answer.accept if i not in by_id
        ]
        return f"No such rows: {', '.join(unknown)}." if unknown else None

    answer = ask_person("data", DataAnswer, payload, find_problem)
    kept, restored = [r for r in rows if r.id not in answer.drop], [by_id[i] for i in dict.fromkeys(answer.accept)]
    chosen = [*kept, *without_repeats(restored, kept, state)]
    block_leaks(chosen, read_protected(state, adapters))
    stages = Counter(r.stage for r, e in refused if e.id in answer.accept)
    return {
        "new_rows": _store(chosen, adapters),
        "reviews": note_review("data", state["iteration"], answer),
        "overruled": {str(state["iteration"]): dict(stages)},
    }


def read_refused(state: RunState, adapters: Adapters) -> list[tuple[Rejection, Example]]:
    """The iteration's rows that passed every exact check and that the judge or the embedder refused, with the reason."""
    reports = [b for b in state.get("batches", {}).values() if b.batch_id.startswith(f"i{state['iteration']}-")]
    rejections = [r for b in reports for r in adapters.store.read_rows(b.rejected.key, Rejection)]
    return [(r, r.example) for r in rejections if r.example is not None]


def _store(rows: list[Example], adapters: Adapters) -> Ref:
    key = adapters.store.key("synthetic", rows)
    adapters.store.write_rows(key, rows)
    return Ref(key=key, rows=len(rows))
