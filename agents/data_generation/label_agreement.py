"""How well the label of each written row agrees with the training rows and with all other written rows.

A regression on the training rows alone is sure of rows that resemble them, and these teach least. Written rows that agree
with each other extend what it knows. Each row is judged by a regression that was not fitted on it (confident learning,
Northcutt et al. 2021, arXiv 1911.00068). Training rows count as much in total as the written ones. A mistake that many
written rows share, about something that no training row shows, goes unnoticed. For closed label sets only; needs no LLM
calls (docs/adr/0018).
"""

from collections.abc import Sequence
from random import Random

import numpy as np

from pada_agent.agents.guards.label_likelihood import fit_labels
from pada_agent.core.ports import Embedder
from pada_agent.core.records import Example, Record
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.row_texts import question_of
from pada_agent.evaluation.task import Task

N_FOLDS = 10
"""Parts that the written rows are split into. Each part is judged by the training rows and the other parts."""


class Agreement(Record):
    """What the other rows say about a row's label."""

    margin: float
    """Log-likelihood of its label minus that of the likeliest other label, in nats. Above 0, its own label is the likeliest."""
    likeliest: str
    """The likeliest label."""


def measure_agreement(
    rows: Sequence[Example], training: Sequence[Example], *, task: Task, embedder: Embedder, seed: str
) -> list[Agreement | None]:
    """The agreement of each row. None for a row without a label of the closed set, or if only one label is known without it."""
    known = RowSet.of(training)
    own, labels = [task.closed_label(row) for row in known], [task.closed_label(row) for row in rows]
    if not rows or not known:
        return [None] * len(rows)
    fixed = known.embed([question_of(row) for row in known], embedder).astype(np.float64)
    vectors = np.asarray(embedder.embed([question_of(row) for row in rows]), dtype=np.float64)
    order = Random(seed).sample(range(len(rows)), len(rows))
    found: list[Agreement | None] = [None] * len(rows)
    for fold in range(min(N_FOLDS, len(rows))):
        judged = order[fold::N_FOLDS]
        others = sorted(set(order) - set(judged))
        regression = fit_labels(
            np.vstack([fixed, vectors[others]]),
            [*own, *(labels[i] for i in others)],
            weights=[max(1.0, len(others) / len(known))] * len(known) + [1.0] * len(others),
        )
        if regression is None:
            continue
        names = [str(name) for name in regression.classes_]
        for i, likelihoods in zip(judged, regression.predict_log_proba(vectors[judged]), strict=True):
            found[i] = _compare(likelihoods, names, labels[i])
    return found


def _compare(likelihoods: np.ndarray, names: Sequence[str], label: str | None) -> Agreement | None:
    """`likelihoods` has shape `(n_labels,)`, in the order of `names`."""
    if label not in names:
        return None
    place = names.index(label)
    margin = float(likelihoods[place] - np.delete(likelihoods, place).max())
    return Agreement(margin=margin, likeliest=names[int(likelihoods.argmax())])
