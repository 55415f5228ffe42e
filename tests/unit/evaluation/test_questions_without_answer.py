"""Extraction where the passage may not hold the answer: as the official evaluation of SQuAD 2.0 counts it."""

from typing import Any

import pytest

from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import DatasetError
from pada_agent.core.records import Example
from pada_agent.evaluation.task import DraftProblem
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.evaluation.verifiers.span import exact_match, find_span
from tests.unit.evaluation.cases import answer, row

V2 = make_task(TaskConfig(name="squad_v2"))
LAKE = {"question": "How deep is the lake?", "context": "The lake is fed by two springs."}
NONE = V2.read(row(**LAKE, answers={"text": [], "answer_start": []}))
SOME = V2.read(row(**LAKE, answers={"text": ["two springs", "The"], "answer_start": [19, 0]}))


def test_the_student_is_told_what_to_say_in_every_row_alike() -> None:
    assert NONE.prompt == SOME.prompt and "If the passage does not answer it, say: no answer\n\n" in NONE.prompt
    assert (NONE.answer, NONE.reference["answers"], V2.gold(NONE)) == ("no answer", [], "no answer")
    assert "no answer" in V2.draft_fields()["answer"]


@pytest.mark.parametrize(
    ("example", "response", "value", "f1"),
    [
        (NONE, "no answer", "correct", 1.0),
        (NONE, "No answer.", "correct", 1.0),
        (NONE, "", "correct", 1.0),
        (NONE, "two springs", "wrong", 0.0),
        (NONE, "there is no answer", "wrong", 0.0),
        (SOME, "two springs", "correct", 1.0),
        (SOME, "springs", "wrong", pytest.approx(2 / 3)),
        (SOME, "no answer", "wrong", 0.0),
        (SOME, "the", "wrong", 0.0),
    ],
)
def test_answers_are_scored_as_by_the_official_script(example: Example, response: str, value: str, f1: Any) -> None:
    verdict = answer(V2, example, response)
    assert (verdict.value, verdict.f1) == (value, f1)


@pytest.mark.parametrize(
    "fields",
    [
        {"answers": {"text": [], "answer_start": []}},
        {"answers": []},
        {"answers": [], "is_impossible": True},
        {"answers": None, "is_impossible": True},
        {"answers": {"text": []}, "is_impossible": "true"},
    ],
)
def test_rows_say_in_several_ways_that_there_is_none(fields: dict[str, Any]) -> None:
    assert V2.read(row(**LAKE, **fields)).answer == "no answer"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"answers": {"text": ["two"]}, "is_impossible": True}, "is_impossible says that the question has no answer"),
        ({"answers": None}, "field 'answers' is empty: None"),
        ({"answers": {"other": []}}, "expected one or more answers as"),
        ({"answers": [""]}, "expected one or more answers as"),
    ],
)
def test_rows_that_contradict_themselves_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        V2.read(row(**LAKE, **fields))


def test_other_extraction_tasks_name_the_way_out() -> None:
    with pytest.raises(
        DatasetError, match=r"If questions may have none .* task.no_answer .* or use task.name squad_v2"
    ):
        make_task(TaskConfig(name="squad")).read(row(**LAKE, answers=[]))
    own = make_task(TaskConfig(name="extractive_qa", no_answer="unbekannt"))
    example = own.read(row(**LAKE, answers=[]))
    assert example.answer == "unbekannt" and answer(own, example, "Unbekannt").value == "correct"
    asked = make_task(TaskConfig(name="squad_v2", instruction="Answer, or say no answer."))
    assert asked.read(row(**LAKE, answers=[])).prompt.startswith("Answer, or say no answer.\n\nThe lake")


def test_a_draft_may_have_none() -> None:
    made = V2.compose({"question": "Who owns it?", "answer": "No answer"}, source=SOME, given={}, example_id="s")
    assert isinstance(made, Example) and (made.answer, made.reference["answers"]) == ("no answer", [])
    assert V2.verify_label(made).value == "unscored"
    squad = make_task(TaskConfig(name="squad"))
    refused = squad.compose({"question": "Who?", "answer": "No answer"}, source=SOME, given={}, example_id="s")
    assert isinstance(refused, DraftProblem)


def test_one_letter_has_one_form_in_spans_too() -> None:
    assert find_span("cafe\u0301", "Ein caf\u00e9 am See") == "caf\u00e9"
    assert exact_match("cafe\u0301", ["caf\u00e9"])
    task = make_task(TaskConfig(name="exact_match"))
    assert answer(task, task.read(row(question="Wo?", answer="Cafe\u0301")), "CAF\u00c9").value == "correct"
    choice = make_task(TaskConfig(labels={"caf\u00e9": "", "bar": ""}, answers="label"))
    assert answer(choice, choice.read(row(question="Wo?", answer="bar")), "cafe\u0301").extracted == "caf\u00e9"


def test_answers_that_are_not_in_their_passages_are_told() -> None:
    lost = V2.read(row(**LAKE, answers={"text": ["three springs"], "answer_start": [0]}))
    assert V2.list_doubts([NONE, SOME]) == []
    (told,) = V2.list_doubts([NONE, SOME, lost])
    assert told.startswith("1 of 3 right answers are not in their passages word for word, such as 'three springs' to ")
    part = V2.read(row(**LAKE, answers={"text": ["spring"], "answer_start": [23]}))
    assert V2.list_doubts([part]) == [], "a student can copy it"


def test_a_span_of_a_japanese_passage_is_found() -> None:
    squad = make_task(TaskConfig(name="squad"))
    passage = "\u56fd0\u306e\u9996\u90fd\u306f\u5e020\u4eac\u3067\u3042\u308a\u3001\u4eba\u53e3\u304c\u591a\u3044\u3002"
    source = squad.read(row(question="0?", context=passage, answers={"text": ["\u5e020\u4eac"], "answer_start": [6]}))
    assert squad.list_doubts([source]) == [] and squad.verify_label(source).value == "correct"
    draft = {"question": "1?", "answer": "\u4eba\u53e3"}
    written = squad.compose(draft, source=source, given={}, example_id="s")
    assert not isinstance(written, DraftProblem) and written.answer == "\u4eba\u53e3"


@pytest.mark.parametrize(
    ("gold", "response", "value"),
    [
        ("1.5", "15", "wrong"),
        ("1.5", "1.5.", "correct"),
        ("1,5", "15", "wrong"),
        ("1,5", "1.5", "correct"),
        ("1,500", "1500", "correct"),
        ("$1,500", "1500", "correct"),
        ("-5", "5", "wrong"),
        ("3.5%", "35", "wrong"),
        ("10:30", "1030", "correct"),
        ("the U.S.", "US", "correct"),
        ("A", "a.", "correct"),
        ("A", "the", "wrong"),
        ("A", "", "wrong"),
        ("A", "unbekannt", "wrong"),
        ("+", "-", "wrong"),
        ("+", "'+'", "correct"),
    ],
)
def test_punctuation_and_articles_count_where_nothing_else_tells_answers_apart(
    gold: str, response: str, value: str
) -> None:
    for task in (TaskConfig(name="extractive_qa"), TaskConfig(name="extractive_qa", no_answer="unbekannt")):
        own = make_task(task)
        example = own.read(row(question="How much?", context=f"It is {gold} today.", answers=[gold]))
        assert answer(own, example, response).value == value
    squad = make_task(TaskConfig(name="squad"))
    example = squad.read(row(question="How much?", context=f"It is {gold} today.", answers=[gold]))
    assert (answer(squad, example, response).value == "correct") == exact_match(response, [gold])
