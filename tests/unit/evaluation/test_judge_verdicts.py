"""What a judge's decision on an answer makes of it."""

import json

import pytest

from pada_agent.core.config import TaskConfig
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Prediction
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.prompts.prompted_model import PromptedModel
from tests.fakes import ScriptedModel


@pytest.mark.parametrize(("said", "value"), [("yes", "correct"), ("no", "wrong")])
def test_a_judge_that_gives_no_reason_has_decided_all_the_same(said: str, value: str) -> None:
    task = make_task(TaskConfig(name="judge"), PromptedModel(ScriptedModel([json.dumps({"correct": said})])))
    example = task.read(RawRow(where="t:1", fields={"question": "Why?", "answer": "Because."}))
    assert task.verify(example, Prediction(example_id=example.id, response="It did.")).value == value
