"""Rows that many nodes read. What is computed about stored rows is kept under their keys, because stored objects never change."""

from collections.abc import Mapping, Sequence
from typing import Any

from pada_agent.agents.guards.real_nearness import fit_similarity
from pada_agent.core.config import RunConfig
from pada_agent.core.records import Batch, Example, Ref, ScoredRow
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.vectors import KeptVectors, Matrix
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.models import TrainedModel
from pada_agent.graph.reporting import report_progress
from pada_agent.graph.state import BatchState, Given, RoundState


def read_training(state: Any, adapters: Adapters) -> RowSet:
    """The user's training rows."""
    return read_set([state["data"].train], state, adapters)


def kept_synthetic(settings: RunConfig, best: TrainedModel) -> tuple[Ref, ...]:
    """Synthetic rows of earlier iterations that the next model is trained on as well: those of the best model, if they accumulate.

    An iteration that made the model worse is not the best one, so its rows stay on disk but are not used.
    """
    return best.synthetic if settings.generation.accumulate else ()


def read_protected(state: Any, adapters: Adapters) -> RowSet:
    """Validation and test rows, for comparison only."""
    data = state["data"]
    refs = [data.validation, *([data.test] if data.test else [])]

    def make() -> RowSet:
        rows = [row for ref in refs for row in adapters.store.read_rows(ref.key, Example)]
        return RowSet(rows, kept=find_kept_vectors(state, adapters))

    return adapters.memory.get(("protected", *(ref.key for ref in refs)), make)


def find_similarity_limit(state: Any, adapters: Adapters) -> float | None:
    """`guard.contamination_similarity`, fitted to the real rows. This embeds all of them, so it is found when the first written row is checked:
    by then, other calls are under way.
    """
    settings, data = state["settings"], state["data"]
    guard = settings.guard

    def fit() -> float | None:
        training, protected = read_training(state, adapters), read_protected(state, adapters)
        return fit_similarity(training, protected, embedder=adapters.embedder, guard=guard)

    rows = (ref and ref.key for ref in (data.train, data.validation, data.test))
    return adapters.memory.get(("similarity", settings.models.embedder, guard.model_dump_json(), *rows), fit)


def known_refs(batch: Batch, state: BatchState | RoundState) -> list[Ref]:
    """Training rows, the synthetic rows of the diagnosed model and, in a top-up round, the rows gathered in this iteration."""
    refs = [state["data"].train, *state["models"][state["plan"].diagnosed_model].synthetic]
    return [*refs, state["new_rows"]] if batch.top_up else refs


def read_known_rows(state: BatchState, adapters: Adapters) -> RowSet:
    """The rows that new rows of the batch must not repeat."""
    return read_set(known_refs(state["batch"], state), state, adapters)


def read_set(refs: Sequence[Ref], state: Any, adapters: Adapters) -> RowSet:
    """The rows of several stored objects as one set. What is already known about the first objects is not computed again."""

    def make() -> RowSet:
        rows = adapters.store.read_rows(refs[-1].key, Example)
        beyond = read_set(refs[:-1], state, adapters) if len(refs) > 1 else None
        return RowSet(rows, beyond=beyond, kept=find_kept_vectors(state, adapters))

    return adapters.memory.get(("rows", *(ref.key for ref in refs)), make)


def find_kept_vectors(state: Any, adapters: Adapters) -> KeptVectors:
    """Sentence vectors of rows that the run compares others with. They are stored under a hash of embedder and texts."""

    store, name = adapters.store, state["settings"].models.embedder

    def key(texts: Sequence[str]) -> str:
        return store.key("vectors", name, list(texts))

    def load(texts: Sequence[str]) -> Matrix | None:
        return store.read_matrix(key(texts))

    def save(texts: Sequence[str], vectors: Matrix) -> None:
        store.write_matrix(key(texts), vectors)

    return adapters.memory.get(("vectors", name), lambda: KeptVectors(adapters.embedder, load, save, report_progress))


def read_training_failures(state: Given, adapters: Adapters) -> Mapping[str, ScoredRow]:
    """Training errors, by the id of their row."""
    return _read_failures(state["plan"].training_failures, adapters)


def read_validation_failures(state: Given, adapters: Adapters) -> Mapping[str, ScoredRow]:
    """Errors on the diagnosis part of validation, by the id of their row."""
    return _read_failures(state["plan"].validation_failures, adapters)


def _read_failures(rows: Ref, adapters: Adapters) -> Mapping[str, ScoredRow]:
    def make() -> Mapping[str, ScoredRow]:
        return {row.example.id: row for row in adapters.store.read_rows(rows.key, ScoredRow)}

    return adapters.memory.get(("failures", rows.key), make)
