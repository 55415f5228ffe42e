"""Rows that many nodes read. What is found out about stored rows is kept by their addresses, under which nothing changes."""

from collections.abc import Mapping, Sequence
from typing import Any

from pada_agent.core.records import Example, Ref, ScoredRow
from pada_agent.evaluation.row_set import RowSet
from pada_agent.graph.context import Adapters
from pada_agent.graph.state import BatchState


def read_training(state: Any, adapters: Adapters) -> RowSet:
    """The user's training rows."""
    return read_set([state["data"].train], adapters)


def read_protected(state: Any, adapters: Adapters) -> RowSet:
    """Validation and test rows: for comparison only."""
    data = state["data"]
    return read_joined([data.validation, *([data.test] if data.test else [])], adapters)


def read_known_rows(state: BatchState, adapters: Adapters) -> RowSet:
    """Training rows, the synthetic rows of the diagnosed model, and in a top-up round what the iteration has gathered."""
    refs = [state["data"].train, *state["models"][state["plan"].diagnosed_model].synthetic]
    refs += [state["new_rows"]] if state["batch"].top_up else []
    return read_set(refs, adapters)


def read_set(refs: Sequence[Ref], adapters: Adapters) -> RowSet:
    """The rows of several objects, each beyond those before it: what is known of the first ones is not found out again."""

    def make() -> RowSet:
        rows = adapters.store.read_rows(refs[-1].key, Example)
        return RowSet(rows, beyond=read_set(refs[:-1], adapters) if len(refs) > 1 else None)

    return adapters.memory.get(("rows", *(ref.key for ref in refs)), make)


def read_joined(refs: Sequence[Ref], adapters: Adapters) -> RowSet:
    """The rows of several objects that never change, as one set."""

    def make() -> RowSet:
        return RowSet(row for ref in refs for row in adapters.store.read_rows(ref.key, Example))

    return adapters.memory.get(("joined", *(ref.key for ref in refs)), make)


def read_failures(state: BatchState, adapters: Adapters) -> Mapping[str, ScoredRow]:
    """Training errors by the id of their row."""
    key = state["plan"].training_failures.key

    def make() -> Mapping[str, ScoredRow]:
        return {row.example.id: row for row in adapters.store.read_rows(key, ScoredRow)}

    return adapters.memory.get(("failures", key), make)
