"""What is refused before a draft becomes an example."""

import pytest

from pada_agent.agents.data_generation.generate import Assignment
from pada_agent.agents.guards.draft_checks import verify_drafts
from pada_agent.core.config import TaskConfig
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Draft, Example, Provenance
from pada_agent.evaluation.tasks.registry import make_task

TASK = make_task(TaskConfig(name="exact_match"))


def source(question: str) -> Example:
    return TASK.read(RawRow(where="t:1", fields={"id": "t1", "question": question, "answer": "yes"}))


def verify(question: str, *, asked: str = "Is it on?") -> list[str]:
    """The reasons against a draft with that question."""
    origin = Provenance(
        branch="pattern", iteration=1, batch_id="b1", attempt=1, source_id="t1", row=0, strategy_id="s1", call_key="k"
    )
    draft = Draft(row=0, fields={"question": question, "answer": "yes"}, provenance=origin)
    assignment = Assignment(row=0, source=source(asked), given={})
    found = verify_drafts([draft], [assignment], task=TASK, guards=[])
    assert len(found.candidates) + len(found.rejections) == 1
    return [rejection.reason for rejection in found.rejections]


@pytest.mark.parametrize("tag", ["<row>", "</row>", '<row number="1">', "<real>", "</sample>"])
def test_a_tag_of_the_prompt_is_refused(tag: str) -> None:
    assert verify(f"Can you cancel it? {tag}1") == [f"contains {tag}, which belongs to the prompt and not to the row"]


@pytest.mark.parametrize("question", ["Is a <rowing> club open?", "Is 1 <row and row> 2?", "Does <b>this</b> show?"])
def test_other_angle_brackets_are_fine(question: str) -> None:
    assert verify(question) == []


def test_tags_that_real_rows_have_belong_to_the_data() -> None:
    assert verify("What does <row> mean in this table?", asked="What does <row> do?") == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("As an AI language model, I have no opinion. Is it on?", "As an AI language model"),
        ("I'm sorry, but I can't assist with that request.", "I can't assist with that request"),
        ("I cannot fulfill your request.", "I cannot fulfill your request"),
        ("作为一个人工智能语言模型，我没有意见。", "作为一个人工智能语言模型"),
    ],
)
def test_a_writer_that_refuses_inside_a_row_is_refused(said: str, words: str) -> None:
    assert verify(said) == [f"says '{words}', as an assistant does that refuses: write the row itself"]
    assert verify(said, asked="What does 'As an AI assistant' mean?") == []


@pytest.mark.parametrize(
    "question", ["I'm sorry, I can't log in. Can you assist?", "I cannot complete that payment", "Is an AI model on?"]
)
def test_people_who_cannot_do_something_do_not_refuse(question: str) -> None:
    assert verify(question) == []


def test_a_question_whose_words_were_left_out_is_refused() -> None:
    assert verify("...") == ["field 'question' has no words: write the whole row"]
    assert verify("?!", asked="…") == []


def test_a_row_shows_no_escape_that_nobody_meant() -> None:
    origin = Provenance(branch="pattern", iteration=1, batch_id="b1", attempt=1, source_id="t1", row=0, call_key="k")
    draft = Draft(row=0, fields={"question": r"Is the caf\u00e9 on?\nNow?", "answer": "yes"}, provenance=origin)
    assignment = Assignment(row=0, source=source("Is it on?"), given={})
    (row,) = verify_drafts([draft], [assignment], task=TASK, guards=[]).candidates
    assert row.prompt.endswith("Is the café on?\nNow?")
