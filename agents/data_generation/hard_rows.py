"""Training rows that are hard for the student: answered wrongly, answered wrongly when left out of training, or only just right."""

from collections.abc import Sequence
from math import isfinite
from random import Random
from typing import TypeVar

from pada_agent.core.records import ScoredRow

RowT = TypeVar("RowT")


def rank_by_margin(rows: Sequence[ScoredRow]) -> list[ScoredRow]:
    """The rows whose options were scored, smallest margin first."""
    found = [(margin, i) for i, row in enumerate(rows) if (margin := find_margin(row)) is not None]
    return [rows[i] for _, i in sorted(found)]


def find_margin(row: ScoredRow) -> float | None:
    """Log-likelihood of the right option minus that of the best other option. Negative if the answer is wrong.

    None if the options were not scored.
    """
    options, scores = row.example.options, row.prediction.option_scores
    if len(scores) != len(options) or row.example.answer not in options or not all(map(isfinite, scores)):
        return None
    others = [s for option, s in zip(options, scores, strict=True) if option != row.example.answer]
    return scores[options.index(row.example.answer)] - max(others) if others else None


def nearest_wrong_answer(row: ScoredRow) -> str:
    """The student's wrong answer, or the wrong option that it came closest to."""
    if row.verdict.value != "correct":
        return row.prediction.response
    wrong = [
        (score, option)
        for option, score in zip(row.example.options, row.prediction.option_scores, strict=False)
        if option != row.example.answer
    ]
    return max(wrong)[1] if wrong else row.prediction.response


def split_folds(rows: Sequence[RowT], n_folds: int, *, seed: int) -> list[list[RowT]]:
    """Split the rows at random into `n_folds` parts of nearly equal size. Each part keeps the order of the rows."""
    order = Random(f"folds/{seed}").sample(range(len(rows)), len(rows))
    return [[rows[i] for i in sorted(order[n::n_folds])] for n in range(n_folds)]


def unite_rows(first: Sequence[ScoredRow], more: Sequence[ScoredRow], *, n: int | None = None) -> list[ScoredRow]:
    """All rows of `first`, then those of `more` that are not among them, up to `n` in total. `first` is never cut."""
    known = {row.example.id for row in first}
    added = [row for row in more if row.example.id not in known]
    return [*first, *(added if n is None else added[: max(0, n - len(first))])]
