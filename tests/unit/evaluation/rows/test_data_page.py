"""Every sample of docs/data.md is read, as the page says."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.core.config import RunConfig
from pada_agent.evaluation.rows.reading import ReadFile
from pada_agent.evaluation.tasks.registry import BUILT_IN, make_task
from pada_agent.prompts.prompted_model import PromptedModel
from tests.fakes import ScriptedModel
from tests.unit.evaluation.cases import read_all

PAGE = (Path(__file__).parents[4] / "docs" / "data.md").read_text(encoding="utf-8")
FENCE = re.compile(r'```(?P<kind>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)```', re.DOTALL)


class Sample(NamedTuple):
    name: str
    text: str
    settings: dict[str, Any]


def list_samples() -> list[Sample]:
    """Each fence with a file's name, and the settings in the fence behind it, if there are some."""
    fences = list(FENCE.finditer(PAGE))
    samples = []
    for fence, following in zip(fences, [*fences[1:], None], strict=True):
        if fence["title"]:
            has_settings = following is not None and following["kind"] == "yaml"
            settings = yaml.safe_load(following["text"]) if has_settings and following else {"task": {}}
            samples.append(Sample(fence["title"], fence["text"], {"task": {"name": "exact_match", **settings["task"]}}))
    return samples


SAMPLES = {sample.name: sample for sample in list_samples()}


def read(name: str, folder: Path) -> ReadFile:
    sample = SAMPLES[name]
    (folder / name).write_text(sample.text, encoding="utf-8")
    task = make_task(RunConfig.model_validate(sample.settings).task, PromptedModel(ScriptedModel([])))
    (file,) = read_all(task, [FileDatasets().read(str(folder / name))])
    return file


@pytest.mark.parametrize("name", list(SAMPLES))
def test_a_sample_is_read(tmp_path: Path, name: str) -> None:
    examples = read(name, tmp_path).examples
    assert len(examples) == 3 and all(example.prompt and example.answer for example in examples)


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("questions.csv", ["green", "blue", "grey"]),
        ("two-names.jsonl", ["delivery", "billing", "other"]),
        ("messages.jsonl", ["Until six.", "Nine euros.", "Without flash."]),
        ("alpaca.json", ["le chat", "Apple", "Leek"]),
        ("positions.jsonl", ["1 star", "3 stars", "5 stars"]),
        ("values.jsonl", ["negative", "positive", "negative"]),
        ("options.jsonl", ["balance", "stopwatch", "ruler"]),
        ("option-columns.csv", ["balance", "stopwatch", "ruler"]),
        ("option-cells.csv", ["balance", "stopwatch", "ruler"]),
        ("passages.jsonl", ["two springs", "above the village", "no answer"]),
    ],
)
def test_a_sample_says_what_the_page_says(tmp_path: Path, name: str, answers: list[str]) -> None:
    assert [example.answer for example in read(name, tmp_path).examples] == answers


def test_the_page_names_every_task_and_its_fields() -> None:
    table = PAGE.rpartition("| task | fields |")[2]
    for name, kind in BUILT_IN.items():
        (line,) = [line for line in table.split("\n") if f"`{name}`" in line]
        fields = make_task(
            RunConfig.model_validate({"task": {"name": name}}).task, PromptedModel(ScriptedModel([]))
        ).fields
        assert kind.name == name and all(f"`{field}`" in line for field in fields if field != "task_id")
