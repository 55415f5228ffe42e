"""The number of steps that a grid gives to all of its arms."""

from pathlib import Path
from typing import Any

import pytest

from pada_agent.app.experiment.grid import load_grid, plan_cells
from pada_agent.app.experiment.running import describe_power
from tests.fakes import MemoryDatasets
from tests.unit.app.experiment.test_experiment import write


@pytest.fixture(autouse=True)
def count_all_rows() -> None:
    """Here, rows are read as in a run."""


@pytest.mark.parametrize(
    ("data", "task", "n_train"),
    [
        ({}, {}, 12),
        ({"train_limit": 7}, {}, 6),
        ({"on_overlap": "drop", "validation": "memory:seen"}, {}, 10),
        ({"train": "memory:talks"}, {"turns": "all"}, 16),
        ({"train": "memory:talks"}, {}, 8),
    ],
)
def test_steps_are_those_of_the_rows_that_a_run_trains_on(
    tmp_path: Path, data: dict[str, Any], task: dict[str, Any], n_train: int
) -> None:
    """Of 14 rows two repeat others, one of them among the first 7; two are also in `seen`; a talk has two answers."""
    rows = [{"question": f"What is {i}?", "answer": str(i)} for i in (0, 0, *range(1, 12), 11)]
    talks = [
        {"messages": [{"role": r, "content": f"{c} {i}"} for r, c in (("user", "a"), ("assistant", "b")) * 2]}
        for i in range(8)
    ]
    held_out = [{"question": f"What of {i}?", "answer": "no"} for i in range(4)]
    memory = {"train": rows, "talks": talks, "v": held_out[:2], "t": held_out[2:], "seen": [*held_out[:2], *rows[:3]]}
    run = {
        "task": {"name": "exact_match", **task},
        "data": {"train": "memory:train", "validation": "memory:v", "test": "memory:t", **data},
    }
    grid = load_grid(write(tmp_path, run={**run, "lora": {"epochs": 1, "batch_size": 1}}, arms=["pada"], seeds=[0]))
    (cell,) = plan_cells(grid, MemoryDatasets(memory))
    assert cell.config.lora.n_steps == n_train + n_train // 2


def test_power_is_that_of_the_test_rows_that_a_run_reads(tmp_path: Path) -> None:
    """Rows that repeat others are measured once."""
    test = [{"question": f"What of {i}?", "answer": "no"} for i in range(30)]
    memory = {"train": [{"question": f"What is {i}?", "answer": str(i)} for i in range(4)], "t": test * 3}
    data = {"train": "memory:train", "validation": "memory:v", "test": "memory:t"}
    memory["v"] = [{"question": f"What about {i}?", "answer": "no"} for i in range(2)]
    run = {"task": {"name": "exact_match"}, "data": data}
    grid = load_grid(write(tmp_path, run=run, arms=["pada"], seeds=[0, 1, 2]))
    assert "toy, 30 test rows: " in describe_power(grid, MemoryDatasets(memory))
