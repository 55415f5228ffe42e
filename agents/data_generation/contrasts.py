"""For each training error, the correctly answered training rows nearest to it (LLMs-as-Instructors, learning by contrast)."""

from collections.abc import Mapping, Sequence

import numpy as np

from pada_agent.core.ports import Embedder
from pada_agent.core.records import Batch, Example
from pada_agent.evaluation.row_texts import question_of
from pada_agent.evaluation.vectors import embed_texts

AT_ONCE = 256
"""Number of rows compared with all others in one matrix product: 200 MB for 100,000 others."""


def find_contrasts(
    sources: Sequence[Example], right: Sequence[Example], *, k: int, embedder: Embedder
) -> dict[str, tuple[str, ...]]:
    """Map the id of each source to the ids of the `k` rows of `right` with the nearest questions, nearest first. No source is its own contrast.

    There are fewer than `k` if there are fewer rows.
    """
    nearest = find_nearest_rows(sources, right, k=k + 1, embedder=embedder)
    return {source: tuple(id_ for id_ in ids if id_ != source)[:k] for source, ids in nearest.items()}


def find_nearest_rows(
    rows: Sequence[Example], others: Sequence[Example], *, k: int, embedder: Embedder
) -> dict[str, tuple[str, ...]]:
    """Map the id of each row to the ids of the `k` other rows with the nearest questions by cosine, nearest first.

    There are fewer than `k` if there are fewer others.
    """
    if not rows or not others:
        return {row.id: () for row in rows}
    theirs = embed_texts(embedder, [question_of(e) for e in others]).astype(np.float64)
    found: dict[str, tuple[str, ...]] = {}
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        ours = embed_texts(embedder, [question_of(e) for e in part]).astype(np.float64)
        for row, cosines in zip(part, ours @ theirs.T, strict=True):
            found[row.id] = tuple(others[i].id for i in _take_largest(cosines, k))
    return found


def _take_largest(values: np.ndarray, k: int) -> np.ndarray:
    """Indices of the `k` largest values, largest first. Equal values keep their order."""
    if k >= len(values):
        return np.argsort(-values, kind="stable")
    least = np.partition(values, -k)[-k]
    places = np.flatnonzero(values >= least)
    return np.asarray(places[np.argsort(-values[places], kind="stable")][:k])


def show_contrasts(batch: Batch, contrasts: Mapping[str, tuple[str, ...]]) -> Batch:
    """The batch with `contrast_ids` set: the contrasts of each of its sources."""
    return batch.model_copy(update={"contrast_ids": tuple(contrasts[source] for source in batch.source_ids)})
