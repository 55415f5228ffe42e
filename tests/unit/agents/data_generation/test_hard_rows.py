"""Training rows that the student finds hard, though it answers them rightly."""

from math import nan

import pytest

from pada_agent.agents.data_generation.hard_rows import (
    find_margin,
    nearest_wrong_answer,
    rank_by_margin,
    split_folds,
    unite_rows,
)
from pada_agent.core.records import Example, Prediction, ScoredRow, Verdict


def scored(row_id: str, *scores: float, answer: str = "a", said: str = "a") -> ScoredRow:
    example = Example(id=row_id, prompt=row_id, answer=answer, options=("a", "b", "c"), reference={})
    prediction = Prediction(example_id=row_id, response=said, option_scores=scores)
    return ScoredRow(
        example=example,
        prediction=prediction,
        verdict=Verdict(example_id=row_id, value="correct" if said == answer else "wrong"),
    )


@pytest.mark.parametrize(
    ("scores", "answer", "margin"),
    [((-1.0, -3.0, -1.5), "a", 0.5), ((-4.0, -3.0, -1.5), "a", -2.5), ((-4.0, -3.0, -1.0), "c", 2.0)],
)
def test_the_margin_is_to_the_best_other_option(scores: tuple[float, ...], answer: str, margin: float) -> None:
    assert find_margin(scored("r", *scores, answer=answer)) == margin


@pytest.mark.parametrize(
    "row", [scored("r"), scored("r", -1.0), scored("r", nan, -1.0, -2.0), scored("r", -1, -2, -3, answer="x")]
)
def test_without_a_score_for_each_option_there_is_no_margin(row: ScoredRow) -> None:
    assert find_margin(row) is None


def test_the_smallest_margins_come_first() -> None:
    rows = [scored("far", -1, -9, -9), scored("none"), scored("wrong", -2, -1, -9), scored("near", -1, -1.1, -9)]
    assert [row.example.id for row in rank_by_margin(rows)] == ["wrong", "near", "far"]


def test_what_it_nearly_said_is_the_best_wrong_option() -> None:
    assert nearest_wrong_answer(scored("near", -1, -5, -1.1)) == "c"
    assert nearest_wrong_answer(scored("wrong", -2, -1, -3, said="b")) == "b"


def test_folds_are_parts_of_nearly_equal_size() -> None:
    rows = list(range(11))
    folds = split_folds(rows, 3, seed=1)
    assert sorted(row for fold in folds for row in fold) == rows and [len(f) for f in folds] == [4, 4, 3]
    assert all(fold == sorted(fold) for fold in folds)
    assert folds == split_folds(rows, 3, seed=1) != split_folds(rows, 3, seed=2)


def test_rows_are_united_once_and_all_of_the_first_are_kept() -> None:
    first, more = [scored("a"), scored("b")], [scored("b"), scored("c"), scored("d")]
    assert [r.example.id for r in unite_rows(first, more)] == ["a", "b", "c", "d"]
    assert [r.example.id for r in unite_rows(first, more, n=3)] == ["a", "b", "c"]
    assert [r.example.id for r in unite_rows(first, more, n=1)] == ["a", "b"]
