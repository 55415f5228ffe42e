"""A limit of steps is held against what settings allow, before anything is computed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langgraph.errors import GraphRecursionError

from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ConfigError
from pada_agent.graph.builder import build_graph
from pada_agent.graph.step_limit import check_step_limit, count_most_steps
from tests.toy_world import ToyWorld, make_settings

ONE: dict[str, Any] = {"loop": {"max_iterations": 1}, "quality": {"max_regenerations": 0}}
NO_TOP_UPS: dict[str, Any] = {**ONE, "generation": {"max_top_ups": 0}}


def run(world: ToyWorld, settings: RunConfig, limit: int) -> list[str]:
    config: Any = {"recursion_limit": limit}
    return list(build_graph(world.connect).compile().invoke({}, config, context=settings)["summary"].warnings)


def test_the_count_is_exact(tmp_path: Path) -> None:
    settings = make_settings(**NO_TOP_UPS)
    n = count_most_steps(settings)
    assert not [w for w in run(ToyWorld(tmp_path), settings, n) if "recursion_limit" in w]


def test_what_cannot_fit_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    world, settings = ToyWorld(tmp_path), make_settings(**NO_TOP_UPS)
    n = count_most_steps(settings)
    with pytest.raises(ConfigError, match=f'recursion_limit is {n - 1}, .*"recursion_limit": {n}'):
        run(world, settings, n - 1)
    assert not world.compute.ran


def test_one_step_fewer_would_have_ended_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pada_agent.graph.nodes.prepare.check_step_limit", lambda *_: [])
    settings = make_settings(**NO_TOP_UPS)
    with pytest.raises(GraphRecursionError):
        run(ToyWorld(tmp_path), settings, count_most_steps(settings) - 1)


def test_what_may_not_fit_is_a_warning(tmp_path: Path) -> None:
    settings = make_settings(**ONE)
    (told,) = [w for w in run(ToyWorld(tmp_path), settings, count_most_steps(settings) - 1) if "recursion_limit" in w]
    assert told.startswith(f"a run with these settings may take {count_most_steps(settings)} steps")


def test_top_up_rounds_and_attempts_count() -> None:
    def count(**values: Any) -> int:
        return count_most_steps(RunConfig.model_validate(values))

    few = {"max_iterations": 2}
    assert count(loop={"max_iterations": 0}, quality={"max_regenerations": 0}) == 7
    assert count(loop=few, generation={"max_top_ups": 5}) == count(loop=few, generation={"max_top_ups": 0}) + 20
    assert count(loop=few, quality={"max_regenerations": 5000}) == 4 * 5001 + 2
    assert check_step_limit(RunConfig(), 10_007) == []


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_without_a_limit_langgraphs_own_counts(tmp_path: Path, kind: str) -> None:
    graph, settings = build_graph(ToyWorld(tmp_path).connect).compile(), make_settings(**ONE)
    called = {
        "sync": lambda: graph.invoke({}, context=settings),
        "async": lambda: asyncio.run(graph.ainvoke({}, context=settings)),
    }
    assert count_most_steps(settings) > 25, "what langchain would name"
    assert not [w for w in called[kind]()["summary"].warnings if "recursion_limit" in w]
