"""Label verification by similarity: how likely a row's label is, judged by the training rows and definitions of all labels.

A weak writer strays from its label, and a weak judge does not notice. A logistic regression on sentence vectors does notice and
needs no LLM calls (docs/adr/0011). It is fitted on the training rows and, as if they were rows too, on each label's name and
definition: with few rows of each label, these say as much as the rows do (docs/adr/0019). For closed label sets only.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pada_agent.agents.guards.guard import Guard, Refusal
from pada_agent.core.ports import Embedder
from pada_agent.core.records import Example
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.row_texts import question_of
from pada_agent.evaluation.task import Task

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

INVERSE_REGULARIZATION = 20.0
"""Scikit-learn's `C`. Weak regularization, because the coordinates of unit vectors are small."""


class LabelRank(NamedTuple):
    """How a row's label ranks among all labels by likelihood."""

    rank: int
    """1-based rank of the row's own label."""
    likeliest: str
    """The label with rank 1."""


class LabelLikelihood(Guard):
    """Rejects rows that do not read like their own label (`quality.max_label_rank`)."""

    name = "label_likelihood"
    stage = "unlikely"
    may_be_overruled = True

    def check(self, candidates: Sequence[Example]) -> Mapping[str, Refusal]:
        quality, embedder = self.context.settings.quality, self.context.embedder
        if quality.max_label_rank is None or embedder is None:
            return {}
        ranks = rank_labels(candidates, self.context.training, task=self.context.task, embedder=embedder)
        return {
            c.id: Refusal(reason=f"reads like {rank.likeliest}, not like {c.answer}")
            for c, rank in zip(candidates, ranks, strict=True)
            if rank and rank.rank > quality.max_label_rank
        }


def rank_labels(
    rows: Sequence[Example], training: Sequence[Example], *, task: Task, embedder: Embedder
) -> list[LabelRank | None]:
    """The rank of each row's label. None if the labels are not a closed set, or if the row's label is not one of them."""
    known = RowSet.of(training)
    regression = known.remember("label regression", lambda: _fit(known, task, embedder)) if rows else None
    if regression is None:
        return [None] * len(rows)
    labels = [str(label) for label in regression.classes_]
    likelihoods = regression.predict_log_proba(np.asarray(embedder.embed([question_of(row) for row in rows])))
    return [
        _rank(row_likelihoods, labels, task.closed_label(row))
        for row, row_likelihoods in zip(rows, likelihoods, strict=True)
    ]


def _fit(training: RowSet, task: Task, embedder: Embedder) -> "LogisticRegression | None":
    return fit_labels(*collect_known(training, task, embedder))


def collect_known(training: RowSet, task: Task, embedder: Embedder) -> tuple[np.ndarray, list[str | None]]:
    """What is known of the labels: vectors of shape `(n_texts, n_dimensions)` and their labels.

    The texts are the training rows, followed by each label's name, its definition, and both together.
    """
    named = [(text, label) for label, definition in task.config.labels.items() for text in _describe(label, definition)]
    vectors = [
        training.embed([question_of(row) for row in training], embedder),
        np.asarray(embedder.embed([text for text, _ in named])),
    ]
    labels = [*(task.closed_label(row) for row in training), *(label for _, label in named)]
    known = [part for part in vectors if len(part)]
    return (np.vstack(known).astype(np.float64) if known else np.empty((0, 0))), labels


def _describe(label: str, definition: str) -> list[str]:
    return [label, definition, f"{label}: {definition}"] if definition else [label]


def fit_labels(vectors: np.ndarray, labels: Sequence[str | None]) -> "LogisticRegression | None":
    """A regression from sentence vectors, of shape `(n_rows, n_dimensions)`, to labels. Rows without a label are left out.

    None if there are fewer than two labels.
    """
    from sklearn.linear_model import LogisticRegression  # takes a second, which the beginning of a run can do without

    places = [i for i, label in enumerate(labels) if label is not None]
    known = [str(labels[i]) for i in places]
    if len(set(known)) < 2:
        return None
    return LogisticRegression(C=INVERSE_REGULARIZATION, max_iter=1000).fit(vectors[places], known)


def _rank(likelihoods: np.ndarray, labels: Sequence[str], label: str | None) -> LabelRank | None:
    """`likelihoods` has shape `(n_labels,)`, in the sorted order of `labels`, as scikit-learn returns them."""
    if label not in labels:
        return None
    above = int((likelihoods > likelihoods[labels.index(label)]).sum())
    return LabelRank(rank=above + 1, likeliest=labels[int(likelihoods.argmax())])
