"""Verifier cases kept as JSON in `tests/cases`, and short ways to make rows and predictions."""

import json
from pathlib import Path
from typing import Any

from pada_agent.core.ports import RawRow
from pada_agent.core.records import Example, Prediction, Verdict
from pada_agent.evaluation.task import Task

CASES = Path(__file__).parents[2] / "cases"


def load(name: str) -> dict[str, Any]:
    cases: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text(encoding="utf-8"))
    return cases


def row(**fields: Any) -> RawRow:
    return RawRow(where="train.jsonl:7", fields=fields)


def answer(task: Task, example: Example, response: str, **more: Any) -> Verdict:
    return task.verify(example, Prediction(example_id=example.id, response=response, **more))
