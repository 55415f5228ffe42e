"""Runs of the real graph over a toy world, and what they trained on."""

from pathlib import Path
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver

from pada_agent.app.results.publish import publish_run
from pada_agent.app.run_folder.layout import dump_config
from pada_agent.core.jobs import FineTuneJob
from pada_agent.core.records import Example
from pada_agent.graph.builder import build_graph
from pada_agent.graph.summary import RunSummary
from tests.toy_world import ToyWorld, make_settings

THREAD: Any = {"configurable": {"thread_id": "t"}}


def run(world: ToyWorld, **changes: Any) -> RunSummary:
    graph = build_graph(world.connect).compile()
    summary = graph.invoke({}, context=make_settings(**changes))["summary"]
    assert isinstance(summary, RunSummary)
    return summary


def save_run(folder: Path, **changes: Any) -> Path:
    """A finished run and its results, in a new folder."""
    folder.mkdir()
    world = ToyWorld(folder)
    publish_run(run(world, **changes), folder, world.store)
    (folder / "config.yaml").write_text(dump_config(make_settings(**changes)))
    return folder


def training_rows(job: FineTuneJob) -> list[Example]:
    return [Example.model_validate_json(line) for line in Path(job.rows).read_text().splitlines()]


def fine_tunings(world: ToyWorld) -> list[FineTuneJob]:
    return [job for job in world.compute.ran if isinstance(job, FineTuneJob)]


def ask(world: ToyWorld, **changes: Any) -> tuple[Any, dict[str, Any]]:
    """A graph that waits for its first review, and the question."""
    graph = build_graph(world.connect).compile(checkpointer=InMemorySaver())
    graph.invoke({}, THREAD, context=make_settings(**changes))
    (question,) = graph.get_state(THREAD).interrupts
    return graph, question.value
