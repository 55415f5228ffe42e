"""A column of label names beside the one with their numbers, as data sets of SetFit and MTEB have it."""

from typing import Any

import pytest

from pada_agent.core.errors import DatasetError
from tests.unit.evaluation.rows.test_forms import read

NAMES = ["World", "Sports", "Business"]
ROWS: list[dict[str, Any]] = [{"text": f"t{n}", "label": n, "label_text": name} for n, name in enumerate(NAMES)]


@pytest.mark.parametrize("name", ["multiple_choice", "exact_match"])
def test_numbers_are_refused_where_names_beside_them_show_another_order(name: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read(ROWS, name=name, labels=["Sports", "World", "Business"])
    assert str(caught.value) == (
        "train.jsonl:1: field 'label' is 0, which as a position from 0 is 'Sports', but 'label_text' is 'World'. Set"
        " task.columns: {answer: label_text}, or list task.labels in the order of the values"
    )


@pytest.mark.parametrize(
    ("rows", "settings"),
    [
        (ROWS, {"labels": NAMES}),
        (ROWS, {"labels": sorted(NAMES), "columns": {"answer": "label_text"}}),
        (ROWS, {"labels": sorted(NAMES), "label_values": dict(enumerate(NAMES))}),
        ([{**row, "label": row["label"] + 1} for row in ROWS], {"labels": NAMES}),
        ([{**row, "label_text": row["label_text"].lower()} for row in ROWS], {"labels": NAMES}),
        ([{**row, "label_text": "sure", "topic": "Sports"} for row in ROWS], {"labels": NAMES}),
        ([{**row, "predicted_label": "Sports", "label_by_b": "World"} for row in ROWS], {"labels": NAMES}),
    ],
)
def test_numbers_are_read_where_nothing_names_another_label(
    rows: list[dict[str, Any]], settings: dict[str, Any]
) -> None:
    assert [example.answer for example in read(rows, **settings).examples] == NAMES


def test_a_setting_comes_before_names_beside_the_numbers() -> None:
    found = read(ROWS, labels=["Sports", "World", "Business"], gold_is="index").examples
    assert [example.answer for example in found] == ["Sports", "World", "Business"]


@pytest.mark.parametrize("answers", [(0, 1), ("A", "B")])
def test_a_row_is_refused_whose_options_are_named_otherwise_in_another_column(answers: tuple[Any, Any]) -> None:
    rows = [
        {"question": f"q{n}", "choices": NAMES, "answer": a, "answer_text": NAMES[1]} for n, a in enumerate(answers)
    ]
    with pytest.raises(DatasetError) as caught:
        read(rows, name="multiple_choice")
    assert str(caught.value) == (
        f"train.jsonl:1: field 'answer' is {answers[0]!r}, but that is 'World', and 'answer_text' is 'Sports': correct the"
        " row, or name the right column in task.columns"
    )


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"answer_a": "ice", "answer_b": "wax", "answer": "a"}, {}),
        ({"answer1": "ice", "answer2": "wax", "answer": "ice"}, {"choices": ["answer1", "answer2"]}),
        (
            {"Correct Answer": "ice", "Incorrect Answer 1": "wax"},
            {"answer": "Correct Answer", "choices": ["Correct Answer", "Incorrect Answer 1"]},
        ),
        ({"choices": ["ice", "wax"], "answer": "ice", "wrong_answer": "wax"}, {}),
        ({"choices": ["ice", "wax"], "answer": "A", "model_answer": "wax", "answer_before": "wax"}, {}),
    ],
)
def test_other_columns_that_are_called_like_the_answers_name_no_right_option(
    row: dict[str, Any], columns: dict[str, Any]
) -> None:
    rows = [{"question": f"q{n}", **row} for n in range(3)]
    assert [example.answer for example in read(rows, name="multiple_choice", columns=columns).examples] == ["ice"] * 3
