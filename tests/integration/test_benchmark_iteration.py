"""The iteration that C4 and C5 measure still runs with the graph as it is, on the toy world."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import paper_size
from benchmarks.critical_path import schedule
from benchmarks.iteration import AT_ONCE, make_config, run_iteration
from benchmarks.measuring import Options
from pada_agent.app import wiring
from pada_agent.core.config import RunConfig
from pada_agent.graph.adapters import Adapters
from tests.toy_world import ToyWorld

QUICK = Options(data=Path(), student="toy", quick=True)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def connect(config: RunConfig) -> Adapters:
        return ToyWorld(Path(config.runs_folder) / config.name).connect(config)

    monkeypatch.setattr(wiring, "connect", connect)
    return tmp_path


def test_the_recorded_iteration_ends_and_says_what_it_came_to(folder: Path) -> None:
    config = make_config(folder, "toys", QUICK)
    result = run_iteration(config, pace=0.0, n_at_once=AT_ONCE).result
    assert "LLM calls" in result and "fine-tuned" in result
    assert not result.startswith("0 LLM calls")


def test_an_iteration_at_the_paper_s_size_is_told_against_its_critical_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, Any] = {}
    monkeypatch.setattr(
        paper_size, "schedule", lambda steps, limits: found.update(steps=steps) or schedule(steps, limits)
    )
    row, waits = paper_size.measure(folder, QUICK)
    assert 0 < row.ratio <= 1, "nothing is faster than its critical path"
    assert waits.startswith("begun later than possible: ")
    steps = found["steps"]
    stages = [step.stage for step in steps]
    assert {"error_analysis", "strategy_drafting", "quality_control", "training_error_generation"} <= set(stages)
    assert stages[0] == "answers to training rows" and stages[-2:] == ["fine_tune", "predict"]
    ends = {step.id: step.span[1] for step in steps}
    assert all(step.span[0] >= ends[before] - 0.01 for step in steps for before in step.after), (
        "what is needed was there"
    )
    by_id = {step.id: step for step in steps}
    needs = {step.stage: {by_id[b].stage for b in step.after} for step in steps if step.stage == "strategy_drafting"}
    assert needs == {"strategy_drafting": {"pattern_categorization"}}
