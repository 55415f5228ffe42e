"""Verifier cases kept as JSON in `tests/cases`, and short ways to make and read rows and predictions."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example, Prediction, Verdict
from pada_agent.evaluation.rows.reading import ReadFile, read_files
from pada_agent.evaluation.task import Task

CASES = Path(__file__).parents[2] / "cases"


def load(name: str) -> dict[str, Any]:
    cases: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text(encoding="utf-8"))
    return cases


def row(**fields: Any) -> RawRow:
    return RawRow(where="train.jsonl:7", fields=fields)


def read_all(task: Task, files: Sequence[Sequence[RawRow]], *, all_turns: Sequence[bool] = ()) -> list[ReadFile]:
    """The files. The first row that cannot be read is raised."""
    read = read_files(task, files, all_turns=all_turns)
    for problem in (problem for file in read for problem in file.problems):
        raise problem
    return read


def answer(task: Task, example: Example, response: str, **more: Any) -> Verdict:
    return task.verify(example, Prediction(example_id=example.id, response=response, **more))
