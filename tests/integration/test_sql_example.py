"""The example with a database of one's own: its script makes what its rows are about."""

import json
import runpy
from pathlib import Path
from random import Random

import pytest

from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.core.config_files import load_config
from pada_agent.core.records import Example, Prediction, Verdict
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.evaluation.tasks.sql import Sql
from tests.unit.evaluation.cases import read_all

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "sql"


@pytest.fixture
def task(tmp_path: Path) -> Sql:
    database = tmp_path / "library.sqlite"
    runpy.run_path(str(FOLDER / "make_database.py"))["make"](database)
    settings = load_config(FOLDER / "run.yaml", [f"task.database={json.dumps(str(database))}"])
    made = make_task(settings.task)
    assert isinstance(made, Sql)
    return made


def test_every_row_of_the_example_is_right_and_teaches_something(task: Sql) -> None:
    files = [
        FileDatasets().read(str(FOLDER / f"{name}.jsonl")) for name in ("train", "validation", "test", "held_back")
    ]
    read = read_all(task, files)
    assert [len(file.examples) for file in read] == [80, 120, 300, 100]
    examples = [example for file in read for example in file.examples]
    assert [v.value for v in answer(task, examples, examples)] == ["correct"] * 600
    shuffled = Random(0).sample(examples, len(examples))
    assert sum(v.value == "correct" for v in answer(task, examples, shuffled)) <= 30
    assert [task.verify_label(e).reason for e in examples if task.verify_label(e).value != "correct"] == []
    assert not any(file.understood.notes or file.understood.unused for file in read)


def test_the_database_is_made_in_place_of_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "library.sqlite"
    make = runpy.run_path(str(FOLDER / "make_database.py"))["make"]
    make(path)
    first = path.read_bytes()
    make(path)
    assert path.read_bytes() == first


def answer(task: Sql, examples: list[Example], by: list[Example]) -> list[Verdict]:
    responses = [Prediction(example_id=e.id, response=other.answer) for e, other in zip(examples, by, strict=True)]
    return task.verify_all(examples, responses)
