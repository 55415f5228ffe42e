"""A part that was corrected is used for what was measured before as well."""

import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from pada_agent.core.config import RunConfig
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.builder import build_graph
from pada_agent.graph.summary import RunSummary
from tests.toy_world import ToyWorld, make_settings

TASK = """
from pada_agent import MultipleChoice

class Theirs(MultipleChoice):
    def verify(self, example, prediction):
        return super().verify(example, prediction).model_copy(update={"value": "VALUE"})
"""


def test_verdicts_of_a_task_that_was_corrected_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = ToyWorld(tmp_path)

    def run(value: str) -> RunSummary:
        (tmp_path / value).mkdir(exist_ok=True)
        (tmp_path / value / "theirs.py").write_text(TASK.replace("VALUE", value))
        spec = spec_from_file_location("theirs", tmp_path / value / "theirs.py")
        assert spec and spec.loader
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "theirs", module)
        spec.loader.exec_module(module)

        def connect(settings: RunConfig) -> Adapters:
            task: Any = module.Theirs(settings.task)
            assert isinstance(make_task(settings.task), module.MultipleChoice)
            return replace(world.connect(settings), task=task)

        settings = make_settings(loop={"max_iterations": 0})
        summary: RunSummary = build_graph(connect).compile().invoke({}, context=settings)["summary"]
        return summary

    assert [model.validation.accuracy for model in run("wrong").models] == [0, 0]
    n_files = len(list(tmp_path.glob("objects/verdicts-*")))
    assert [model.validation.accuracy for model in run("wrong").models] == [0, 0]
    assert len(list(tmp_path.glob("objects/verdicts-*"))) == n_files, "nothing has changed"
    assert [model.validation.accuracy for model in run("correct").models] == [1, 1]
