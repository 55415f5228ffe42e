"""Answers that hold what was asked for, in another shape: models do not keep to the form, and each call is paid for."""

import json
from typing import Literal

import pytest
from pydantic import BaseModel, Field

from pada_agent.core.chat import ChatReply
from pada_agent.core.errors import StructuredOutputError
from pada_agent.core.records import Usage
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


class Rated(BaseModel, extra="ignore"):
    sample: int
    feedback: str = ""
    utility: int = Field(ge=1, le=10)
    relevance: int = Field(ge=1, le=10)


def rate(*scores: tuple[object, object]) -> str:
    return json.dumps([{"sample": n, "utility": u, "relevance": r} for n, (u, r) in enumerate(scores, start=1)])


@pytest.mark.parametrize(
    "answer",
    [
        rate((1.0, 1.0), (0.4, 1.0)),
        rate((1.0, 1.0), (1.0, 1.0)),
        rate(("1.0", "0.9"), ("1.0", "1.0")),
        rate((1, 1), (0, 1)),
        rate(({"score": 0.9}, 1), (1, 1)),
        rate((90, 85), (10, 5)),
        "\n".join(rate(scores)[1:-1] for scores in ((85, 90), (10, 5))),
    ],
)
def test_scores_on_another_scale_are_asked_for_again(answer: str) -> None:
    model = ScriptedModel([answer, rate((9, 10), (2, 3))])
    reply = structured_call(model, "Rate.", Rated, numbered=Numbered("sample", (1, 2)))
    assert [(item.utility, item.relevance) for item in reply.items] == [(9, 10), (2, 3)]
    assert "the scores are on another scale than from 1 to 10, in whole numbers" in model.prompts[1]


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        (rate((1, 1), (1, 1)), [1, 2]),
        (rate((1.0, 2.0), (8.0, 1.0)), [1, 2]),
        (rate((9, 11), (8, 9)), [2]),
        (rate((10**400, 9), (8, 9)), [2]),
    ],
)
def test_low_scores_and_a_slip_are_no_other_scale(answer: str, good: list[int]) -> None:
    reply = structured_call(ScriptedModel([answer]), "Rate.", Rated, numbered=Numbered("sample", (1, 2)), max_reasks=0)
    assert [item.sample for item in reply.items] == good


class Strategy(BaseModel, extra="ignore"):
    answer: str
    elements: list[str] = Field(default_factory=list)
    typical: list[int] = Field(default_factory=list)
    remark: str = ""


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ({"answer": True}, {"answer": "true"}),
        ({"answer": {"text": "Paris", "start": 5}}, {"answer": "Paris"}),
        ({"answer": "a", "elements": [{"name": "Refund", "about": "mentions one"}, "b"]}, {"elements": ["Refund: mentions one", "b"]}),
        ({"answer": "a", "elements": {"1": "one", "2": "two"}}, {"elements": ["one", "two"]}),
        ({"answer": "a", "typical": ["the first", "sample 2"]}, {"typical": [2]}),
        ({"answer": "a", "typical": "all of them"}, {"typical": []}),
        ({"answer": "a", "remark": False}, {"remark": ""}),
        ({"answer": "a", "remark": {"add": "x", "drop": "y"}}, {"remark": ""}),
    ],
)  # fmt: skip
def test_what_is_evidently_meant_is_read_and_the_rest_of_a_field_with_a_default_is_left_out(
    said: dict[str, object], read: dict[str, object]
) -> None:
    reply = structured_call(ScriptedModel([json.dumps(said)]), "Write.", Strategy, wrap="object", max_reasks=0)
    assert reply.items == (Strategy(**{"answer": "a", **read}),)  # type: ignore[arg-type]


class Decision(BaseModel, extra="ignore"):
    correct: Literal["yes", "no"]


@pytest.mark.parametrize(
    ("said", "read"),
    [("ja", "yes"), ("Nein, weil …", "no"), ("是的。", "yes"), ("不对，因为 …", "no"), ("incorrect", "no"), (1.0, "yes"), (0.8, ""), ("0.8", "")],
)  # fmt: skip
def test_a_decision_is_read_in_other_languages_and_a_share_is_none(said: object, read: str) -> None:
    model = ScriptedModel([json.dumps({"correct": said})])
    if read:
        assert structured_call(model, "Decide.", Decision, wrap="object", max_reasks=0).items[0].correct == read
    else:
        with pytest.raises(StructuredOutputError, match="correct"):
            structured_call(model, "Decide.", Decision, wrap="object", max_reasks=0)


@pytest.mark.parametrize("start", ['{"sample": 1, "feedback": "", ', '{"sample 1": {'])
def test_a_number_at_the_end_of_a_cut_answer_may_be_cut_itself(start: str) -> None:
    cut = ChatReply(text=f'{start}"utility": 8, "relevance": 1', usage=Usage(output_tokens=9), truncated=True)
    with pytest.raises(StructuredOutputError, match="relevance: Field required"):
        structured_call(ScriptedModel([cut]), "Rate.", Rated, numbered=Numbered("sample", (1,)), max_reasks=0)


@pytest.mark.parametrize("inside", [json.dumps(NUMBERED), f"\n```json\n{json.dumps(NUMBERED, indent=1)}\n```\n"])
def test_an_element_with_nothing_but_json_is_no_thought(inside: str) -> None:
    assert read_rows(f"Here it is:\n<analysis>{inside}</analysis>") == [(2, "q2"), (4, "q4")]


@pytest.mark.parametrize("around", ["<analysis>Perhaps {}</analysis>", "<think>{}</think>"])
def test_rows_that_a_model_only_thinks_of_are_no_answer(around: str) -> None:
    with pytest.raises(StructuredOutputError, match="thoughts and no answer"):
        read_rows(around.format(json.dumps(NUMBERED)))
