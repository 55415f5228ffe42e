"""Answers to reviews: what is taken, what is refused, and the schema that says so."""

from pathlib import Path
from typing import Any

import pytest

from pada_agent.core.config import ReviewConfig
from pada_agent.core.progress import Progress
from pada_agent.graph.reviewing import (
    ANSWERS,
    CostAnswer,
    DataAnswer,
    StrategiesAnswer,
    answer_schema,
    note_review,
    parse_answer,
)


@pytest.mark.parametrize("kind", ANSWERS.values(), ids=ANSWERS.keys())
def test_approve_is_an_answer_to_every_question_and_changes_nothing(kind: Any) -> None:
    assert parse_answer(kind, "approve") == kind()
    assert note_review("x", 1, kind())["x/1"].answer == {}


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        (" Approve\n", DataAnswer()),
        ('"approve"', DataAnswer()),
        ('{"drop": ["a"], "comment": "Off topic"}', DataAnswer(drop=("a",), comment="Off topic")),
    ],
)
def test_what_a_person_types_into_a_form_is_read(typed: str, answer: DataAnswer) -> None:
    assert parse_answer(DataAnswer, typed) == answer


@pytest.mark.parametrize("kind", ANSWERS.values(), ids=ANSWERS.keys())
def test_every_field_of_an_answer_is_described(kind: Any) -> None:
    approve, form = answer_schema(kind)["anyOf"]
    assert approve == {"const": "approve"}
    assert all(field["description"] for field in form["properties"].values())


def test_a_strategy_s_form_stands_in_the_schema() -> None:
    assert "weight" in answer_schema(StrategiesAnswer)["$defs"]["Strategy"]["properties"]


@pytest.mark.parametrize(
    ("kind", "reply"),
    [
        (StrategiesAnswer, "yes"),
        (StrategiesAnswer, None),
        (StrategiesAnswer, {}),
        (StrategiesAnswer, {"strategies": [{"id": "s1"}]}),
        (StrategiesAnswer, {"drop": ["a"]}),
        (DataAnswer, {"drop": "a"}),
        (DataAnswer, ["a"]),
        (DataAnswer, '{"drop": ["a"'),
        (DataAnswer, '["a"]'),
        (CostAnswer, {"stop": "perhaps"}),
    ],
)
def test_what_is_no_answer_is_explained(kind: Any, reply: object) -> None:
    with pytest.raises(ValueError, match='An answer is "approve" or a mapping'):
        parse_answer(kind, reply)


def test_a_decision_keeps_what_was_answered_and_why() -> None:
    answer = parse_answer(DataAnswer, {"drop": ["a"], "comment": "off topic"})
    assert note_review("data", 2, answer)["data/2"].answer == {"drop": ["a"], "comment": "off topic"}


def test_the_documentation_names_every_event_field_and_every_review() -> None:
    text = Path(__file__).parents[3].joinpath("docs/events.md").read_text()
    named = [*Progress.model_fields, *ANSWERS, *(f"review.{name}" for name in ReviewConfig.model_fields)]
    assert not [name for name in named if f"`{name}`" not in text]
