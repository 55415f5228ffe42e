"""Definitions of labels as training rows."""

import pytest

from pada_agent.core.config import TaskConfig
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example
from pada_agent.evaluation.definition_rows import make_definition_rows
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.tasks.registry import make_task

LABELS = {"refund": "money is wanted back", "delivery": "when it arrives, or where it is", "other": ""}


def make(**more: object) -> Task:
    return make_task(TaskConfig.model_validate({"name": "multiple_choice", "labels": LABELS, **more}))


def read(task: Task, question: str, answer: str) -> Example:
    return task.read(RawRow(where="t:1", fields={"id": question, "question": question, "answer": answer}))


@pytest.mark.parametrize("more", [{"answers": "text"}, {"answers": "label"}, {"name": "exact_match"}])
def test_each_definition_is_a_row_like_those_of_the_file(more: dict[str, str]) -> None:
    task = make(**more)
    training = [read(task, "give it back", "refund")]
    rows, told = make_definition_rows(task, training, [])
    assert not told
    assert [row.id for row in rows] == ["definition-refund", "definition-delivery"], "no row without a definition"
    read_back = [read(task, row.reference["question"], task.closed_label(row) or "") for row in rows]
    assert [row.model_copy(update={"id": ""}) for row in rows] == [
        row.model_copy(update={"id": ""}) for row in read_back
    ]
    assert [(row.reference["question"], task.closed_label(row)) for row in rows] == [
        ("money is wanted back", "refund"),
        ("when it arrives, or where it is", "delivery"),
    ]


def test_a_definition_that_a_held_out_row_repeats_is_not_trained_on() -> None:
    task = make()
    protected = [read(task, "Money is wanted back!", "refund")]
    rows, told = make_definition_rows(task, [read(task, "give it back", "refund")], protected)
    assert [row.id for row in rows] == ["definition-delivery"]
    assert told == ["the definition of 'refund' is not trained on: it repeats the held-out row Money is wanted back!"]


def test_a_definition_that_the_student_cannot_be_trained_on_is_left_out_and_said_so() -> None:
    task = make()
    rows, told = make_definition_rows(
        task,
        [read(task, "give it back", "refund")],
        [],
        explain_unlearnable=lambda row: "too long" if "arrives" in row.prompt else None,
    )
    assert [row.id for row in rows] == ["definition-refund"]
    assert told == ["the definition of 'delivery' is not trained on: too long"]


def test_there_are_none_without_labels() -> None:
    task = make_task(TaskConfig(name="exact_match"))
    assert make_definition_rows(task, [read(task, "what", "that")], []) == ([], [])


def test_rows_with_earlier_turns_only_are_no_model_for_a_definition() -> None:
    task = make()
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes?"}]
    row = read(task, "give it back", "refund").model_copy(update={"history": tuple(turns)})
    assert make_definition_rows(task, [row], []).rows == []
    assert make_definition_rows(task, [row], []).warnings == [
        "definitions are not trained on, because all training rows have earlier turns"
    ]
