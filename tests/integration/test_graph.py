"""The real graph over a toy world: every route, both loops, kill and resume."""

from pathlib import Path
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver

from pada_agent.core.records import Example
from pada_agent.graph.builder import build_graph
from pada_agent.graph.summary import RunSummary
from tests.fakes import ScriptedModel
from tests.toy_world import ToyWorld, make_settings, teach


def run(world: ToyWorld, **changes: Any) -> RunSummary:
    graph = build_graph(world.connect).compile()
    return graph.invoke({}, context=make_settings(**changes))["summary"]


def test_the_loop_runs_to_the_end_and_publishes_a_summary(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    summary = run(world)
    assert [arm.name for arm in summary.arms] == ["untouched", "fine-tuned", "iteration 1", "iteration 2"]
    assert world.published == [summary]
    assert summary.rows.requested == 18
    assert summary.rows.written == summary.rows.accepted + sum(summary.rows.rejected.values())
