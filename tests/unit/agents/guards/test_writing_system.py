"""Rows in which a writer of several languages has slipped into another writing system."""

from collections.abc import Mapping, Sequence

import pytest

from pada_agent.agents.guards.guard import GuardContext
from pada_agent.agents.guards.writing_system import MIN_ROWS, WritingSystem
from pada_agent.core.config import RunConfig, TaskConfig
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.tasks.registry import make_task

LABELS = {"fees": "a charge", "delivery": "a parcel"}
TASK = make_task(TaskConfig(name="multiple_choice", labels=LABELS))
FRUIT = make_task(TaskConfig(name="exact_match"))


def read(task: Task, questions: Sequence[str], answer: str) -> list[Example]:
    fields: Sequence[Mapping[str, str]] = [
        {"id": f"r{n}", "question": q, "answer": answer} for n, q in enumerate(questions)
    ]
    return [task.read(RawRow(where=f"t:{n}", fields=dict(f))) for n, f in enumerate(fields)]


def refuse(real: Sequence[str], written: str, answer: str = "fees", *, task: Task = TASK) -> str:
    training, (row,) = read(task, real, "fees"), read(task, [written], answer)
    found = WritingSystem(GuardContext(settings=RunConfig(), task=task, training=training)).check([row])
    return found[row.id].reason if found else ""


ENGLISH = [f"why was I charged {n} pounds at Zoë's café" for n in range(MIN_ROWS)]
CHINESE = [f"为什么收了我{n}元 VIP 费用" for n in range(MIN_ROWS)]
JAPANESE = [f"なぜ{n}円も取られたのですか" for n in range(MIN_ROWS)]


@pytest.mark.parametrize(
    ("written", "system"),
    [
        ("I was billed twice 因为 the card failed", "Chinese or Japanese"),
        ("为什么扣了两次", "Chinese or Japanese"),
        ("почему списали дважды", "Cyrillic"),
        ("왜 두 번 청구되었나요", "Korean"),
    ],
)
def test_letters_that_no_real_row_has_are_refused(written: str, system: str) -> None:
    assert refuse(ENGLISH, written).startswith(f"has {system} letters ('")


def test_a_row_without_the_letters_that_all_real_rows_have_is_refused() -> None:
    reason = "has no Chinese or Japanese letters, which all real rows have: write in their language"
    assert refuse(CHINESE, "why was I charged twice") == reason
    assert refuse(CHINESE, "365?") == ""


@pytest.mark.parametrize(
    ("real", "written"),
    [
        (ENGLISH, "naïve question: is π × 3 £ a fee? 👍"),
        (CHINESE, "VIP 会员为什么要交费"),
        (JAPANESE, "カード手数料とは"),
        ([*ENGLISH, "what does 你好 mean"], "what does 谢谢 mean"),
        (ENGLISH[1:], "为什么扣了两次"),
    ],
)
def test_what_real_rows_look_like_passes_and_so_does_all_if_there_are_few(real: list[str], written: str) -> None:
    assert refuse(real, written) == ""


def test_the_answer_counts_as_well() -> None:
    assert "apple 苹果')" in refuse(ENGLISH, "which fruit is red", "apple 苹果", task=FRUIT)
    assert refuse(ENGLISH, "which fruit is red", "apple", task=FRUIT) == ""
