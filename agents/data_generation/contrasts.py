"""Training rows that the student answers rightly, beside the errors they are nearest to (LLMs-as-Instructors, by contrast)."""

from collections.abc import Mapping, Sequence

import numpy as np

from pada_agent.core.ports import Embedder
from pada_agent.core.records import Batch, Example
from pada_agent.evaluation.row_texts import question_of


def find_contrasts(
    errors: Sequence[Example], successes: Sequence[Example], *, k: int, embedder: Embedder
) -> dict[str, tuple[str, ...]]:
    """By error, the ids of the `k` successes whose questions are nearest by cosine, nearest first; fewer if there are fewer."""
    if not errors or not successes:
        return {error.id: () for error in errors}
    ours, theirs = (np.array(embedder.embed([question_of(e) for e in rows])) for rows in (errors, successes))
    nearest = np.argsort(-(ours @ theirs.T), axis=1, kind="stable")[:, :k]
    return {error.id: tuple(successes[i].id for i in row) for error, row in zip(errors, nearest, strict=True)}


def show_contrasts(batch: Batch, contrasts: Mapping[str, tuple[str, ...]]) -> Batch:
    """The batch with the contrasts of each of its sources."""
    return batch.model_copy(update={"contrast_ids": tuple(contrasts[source] for source in batch.source_ids)})
