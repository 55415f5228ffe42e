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


def test_a_row_shows_no_escape_that_nobody_meant() -> None:
    origin = Provenance(branch="pattern", iteration=1, batch_id="b1", attempt=1, source_id="t1", row=0, call_key="k")
    draft = Draft(row=0, fields={"question": r"Is the caf\u00e9 on?\nNow?", "answer": "yes"}, provenance=origin)
    assignment = Assignment(row=0, source=source("Is it on?"), given={})
    (row,) = verify_drafts([draft], [assignment], task=TASK, guards=[]).candidates
    assert row.prompt.endswith("Is the café on?\nNow?")
