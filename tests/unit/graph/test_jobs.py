"""The chat format that a run's jobs are given."""

from types import SimpleNamespace
from typing import Any

from pada_agent.core.jobs import ChatSpec
from pada_agent.core.student_config import StudentConfig
from pada_agent.graph.jobs import choose_chat
from tests.fakes import WordCounter


class Led(WordCounter):
    rendering = 2


def test_jobs_are_told_how_the_students_template_is_rendered() -> None:
    student = StudentConfig(system="Be short.")
    chats = []
    for tokens in (None, WordCounter(9), Led(9)):
        adapters: Any = SimpleNamespace(tokens=tokens)
        chats.append(choose_chat(student, adapters))
    assert chats == [student.chat, student.chat, ChatSpec(system="Be short.", rendering=2)]
