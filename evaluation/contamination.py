"""Finds rows that repeat others: exactly, after normalization, by long runs of words, nearly, or in meaning."""

from collections.abc import Sequence

import numpy as np

from pada_agent.core.ports import Embedder
from pada_agent.core.records import Example, Overlap
from pada_agent.evaluation.repeats import RepeatIndex
from pada_agent.evaluation.row_set import RowSet


def find_overlap(rows: Sequence[Example], protected: Sequence[Example]) -> list[Overlap]:
    """At most one overlap per row: the strictest kind that applies."""
    held_out = RowSet.of(protected)
    return [found for row in rows if (found := held_out.find_overlap(row))]


def find_duplicates(new: Sequence[Example], existing: Sequence[Example], *, threshold: float | None) -> list[Overlap]:
    """New rows whose question repeats one of `existing`, or of an earlier new row.

    A row repeats another if their ROUGE-L F score reaches `threshold`, or if it contains the other as a whole with
    words added: a small teacher that is asked for something new likes to copy a row and append a sentence. If
    `threshold` is None, only identical wording counts.
    """
    known = RowSet.of(existing)
    kept, kept_ids, found = RepeatIndex(), list[str](), list[Overlap]()
    for row in new:
        if repeated := known.find_repeated(row, threshold):
            found.append(repeated)
            continue
        asked = known.texts.manner.asked(row)
        if match := kept.find_first(asked, threshold):
            place, how = match
            found.append(Overlap(example_id=row.id, protected_id=kept_ids[place], kind="near", evidence=how))
        else:
            kept.extend([asked])
            kept_ids.append(row.id)
    return found


def find_near(
    rows: Sequence[Example], protected: Sequence[Example], *, embedder: Embedder, threshold: float
) -> list[Overlap]:
    """Rows whose question means the same as a protected one: the cosine similarity to the nearest reaches `threshold`."""
    if not rows or not protected:
        return []
    held_out = RowSet.of(protected)
    return [
        Overlap(
            example_id=row.id,
            protected_id=held_out[near.place].id,
            kind="embedding",
            evidence=f"similarity {near.cosine:.2f}: {held_out.texts.of(held_out[near.place])}",
            similarity=near.cosine,
        )
        for row, near in zip(rows, held_out.find_near(rows, embedder), strict=True)
        if near.cosine >= threshold
    ]


def find_nearness(rows: Sequence[Example], protected: Sequence[Example], *, embedder: Embedder) -> np.ndarray:
    """For each row, the cosine similarity of its question to the nearest protected one, in [-1, 1]. Shape `(n_rows,)`."""
    return np.array([near.cosine for near in RowSet.of(protected).find_near(rows, embedder)])
