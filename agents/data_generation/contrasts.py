"""Training rows that the student answers rightly, beside the errors they are nearest to (LLMs-as-Instructors, by contrast)."""

from collections.abc import Mapping, Sequence

import numpy as np

from pada_agent.core.ports import Embedder
from pada_agent.core.records import Batch, Example
from pada_agent.evaluation.row_texts import question_of
from pada_agent.evaluation.vectors import embed_texts

AT_ONCE = 256
"""Errors that are compared with all successes at once: 200 MB for 100,000 of them."""


def find_contrasts(
    errors: Sequence[Example], successes: Sequence[Example], *, k: int, embedder: Embedder
) -> dict[str, tuple[str, ...]]:
    """By error, the ids of the `k` successes whose questions are nearest by cosine, nearest first; fewer if there are fewer."""
    if not errors or not successes:
        return {error.id: () for error in errors}
    theirs = embed_texts(embedder, [question_of(e) for e in successes]).astype(np.float64)
    found: dict[str, tuple[str, ...]] = {}
    for start in range(0, len(errors), AT_ONCE):
        part = errors[start : start + AT_ONCE]
        ours = embed_texts(embedder, [question_of(e) for e in part]).astype(np.float64)
        for error, cosines in zip(part, ours @ theirs.T, strict=True):
            found[error.id] = tuple(successes[i].id for i in _take_largest(cosines, k))
    return found


def _take_largest(values: np.ndarray, k: int) -> np.ndarray:
    """Places of the `k` largest, the largest first, the first of equals before the others."""
    if k >= len(values):
        return np.argsort(-values, kind="stable")
    least = np.partition(values, -k)[-k]
    places = np.flatnonzero(values >= least)
    return np.asarray(places[np.argsort(-values[places], kind="stable")][:k])


def show_contrasts(batch: Batch, contrasts: Mapping[str, tuple[str, ...]]) -> Batch:
    """The batch with the contrasts of each of its sources."""
    return batch.model_copy(update={"contrast_ids": tuple(contrasts[source] for source in batch.source_ids)})
