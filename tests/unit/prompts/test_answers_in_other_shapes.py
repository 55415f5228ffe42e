"""Answers that hold what was asked for, in another shape: models do not keep to the form, and each call is paid for."""

import json

import pytest
from pydantic import BaseModel, Field

from pada_agent.core.errors import StructuredOutputError
from pada_agent.prompts.extraction import find_listings
from pada_agent.prompts.numbering import Numbered
from pada_agent.prompts.structured_call import structured_call
from tests.fakes import ScriptedModel


class Row(BaseModel, extra="ignore"):
    row: int
    question: str


class Score(BaseModel, extra="ignore"):
    sample: int
    utility: int = Field(ge=1, le=10)


class Pattern(BaseModel, extra="ignore"):
    name: str
    about: str
    typical: list[int] = Field(default_factory=list)


def read_rows(answer: str) -> list[tuple[int, str]]:
    reply = structured_call(ScriptedModel([answer]), "Write.", Row, numbered=Numbered("row", (2, 4)), max_reasks=0)
    return [(item.row, item.question) for item in reply.items]


NUMBERED = [{"row": 2, "question": "q2"}, {"row": 4, "question": "q4"}]
WITHOUT = [{"question": "q2"}, {"question": "q4"}]
SHAPES: dict[str, str] = {
    "no numbers": json.dumps(WITHOUT),
    "null for numbers": json.dumps([{**row, "row": None} for row in WITHOUT]),
    "numbers in words": json.dumps([{**row, "row": "the next"} for row in WITHOUT]),
    "numbers under another name": json.dumps([{"row_number": 4, "question": "q4"}, {"row_number": 2, "question": "q2"}]),
    "numbers as ids": json.dumps([{"id": "row-4", "question": "q4"}, {"id": "row-2", "question": "q2"}]),
    "numbers as keys": json.dumps({"4": {"question": "q4"}, "2": {"question": "q2"}}),
    "numbers in keys": json.dumps({"row_4": {"question": "q4"}, "row_2": {"question": "q2"}}),
    "numbers in keys within a list": json.dumps({"rows": [{"row 4": {"question": "q4"}}, {"row 2": {"question": "q2"}}]}),
    "a tool call": json.dumps({"name": "answer", "arguments": {"items": NUMBERED}}),
    "a tool call in tags": f'<tool_call>\n{{"name": "answer", "arguments": {json.dumps(NUMBERED)}}}\n</tool_call>',
    "a tool call with a text": json.dumps({"name": "answer", "arguments": json.dumps({"rows": NUMBERED})}),
    "several tool calls": json.dumps({"tool_calls": [{"function": {"name": "row", "arguments": json.dumps(row)}} for row in NUMBERED]}),
    "a list of texts": json.dumps([json.dumps(row) for row in NUMBERED]),
    "a list of lists": json.dumps([[row] for row in NUMBERED]),
    "escaped quotation marks": json.dumps(json.dumps(NUMBERED))[1:-1],
    "escaped quotation marks in a fence": f"```json\n{json.dumps(json.dumps(NUMBERED))[1:-1]}\n```",
    "full-width punctuation": json.dumps(NUMBERED).replace(":", "：").replace(",", "，"),
    "a list under the name of a field": json.dumps({"question": NUMBERED}),
    "objects under the name of a field": json.dumps([{"question": row} for row in NUMBERED]),
    "a list of its own beside its fields": json.dumps([{**row, "examples": [{"text": "x"}]} for row in NUMBERED]),
}  # fmt: skip


@pytest.mark.parametrize("answer", SHAPES.values(), ids=SHAPES.keys())
def test_rows_are_read_in_every_evident_shape(answer: str) -> None:
    assert read_rows(answer) == [(2, "q2"), (4, "q4")]


def test_without_numbers_it_takes_as_many_rows_as_were_asked_for() -> None:
    with pytest.raises(StructuredOutputError, match="item 1: there is no row; expected each of 2, 4 once"):
        read_rows(json.dumps([*WITHOUT, {"question": "q6"}]))


def test_a_list_without_numbers_is_no_answer_beside_one_that_has_them() -> None:
    assert read_rows(f"{json.dumps(NUMBERED)}\nOthers: {json.dumps(WITHOUT[::-1])}") == [(2, "q2"), (4, "q4")]


def test_quoted_words_with_full_width_commas_stay_in_their_text() -> None:
    damaged = '[{"row": 2, "question": "他说"好"，"不好"，走了",}, {"row": 4, "question": "q4"}]'
    assert read_rows(damaged) == [(2, '他说"好"，"不好"，走了'), (4, "q4")]


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ("8/10", 8),
        ("4/5", 8),
        ("85/100", 8),
        ("9 out of 10", 9),
        ("80%", 8),
        ("7.0", 7),
        ("8.6", 9),
        ("eight", 8),
        (8.6, 9),
        ({"score": 8, "why": "clear"}, 8),
        ("8/" + "9" * 5000, 8),
        (0.8, None),
        ("0.8", None),
        ("12/10", None),
        ({"low": 1, "high": 9}, None),
    ],
)
def test_a_score_keeps_its_scale(said: object, score: int | None) -> None:
    model = ScriptedModel([json.dumps([{"sample": 1, "utility": said}])])
    if score is None:
        with pytest.raises(StructuredOutputError, match="utility"):
            structured_call(model, "Rate.", Score, numbered=Numbered("sample", (1,)), max_reasks=0)
    else:
        reply = structured_call(model, "Rate.", Score, numbered=Numbered("sample", (1,)), max_reasks=0)
        assert reply.items[0].utility == score


@pytest.mark.parametrize("more", ["samples", "errors", "examples", "evidence"])
def test_an_object_with_all_its_fields_is_not_opened(more: str) -> None:
    said = {"name": "n", "about": "a", "typical": [{"number": 2}], more: [{"id": 1, "cause": "c"}]}
    reply = structured_call(ScriptedModel([json.dumps(said)]), "Name it.", Pattern, wrap="object", max_reasks=0)
    assert reply.items == (Pattern(name="n", about="a", typical=[2]),)


def test_objects_under_keys_come_with_these() -> None:
    (found,) = find_listings('{"sample 1": {"a": 1}, "sample 2": {"a": 2}}')
    assert found.keys == ("sample 1", "sample 2")
