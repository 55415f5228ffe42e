"""What nodes work with: adapters made from the settings that stand in the state."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from langgraph.config import get_stream_writer

from pada_agent.core.config import RunConfig
from pada_agent.core.ports import ArtifactStore, Compute, DatasetSource, Embedder, Progress
from pada_agent.core.records import Usage
from pada_agent.evaluation.task import Task
from pada_agent.graph.summary import RunSummary
from pada_agent.prompts.prompted_model import PromptedModel


@dataclass(frozen=True)
class Adapters:
    """The world, as the nodes of one run see it."""

    datasets: DatasetSource
    store: ArtifactStore
    compute: Compute
    embedder: Embedder
    task: Task
    analyst: PromptedModel
    generator: PromptedModel
    judge: PromptedModel
    student: str
    """Folder, file or hub id that the compute backend can load."""
    usage: Callable[[], dict[str, Usage]]
    """LLM consumption of the run so far, by role."""
    peak_memory_mb: Callable[[], float | None]
    """Largest resident memory of this process and its children together, MiB."""
    publish: Callable[[RunSummary], None]
    """Writes the readable view of the run: summary, iterations, best adapter, report."""
    warnings: tuple[str, ...] = ()
    """Known before the run, e.g. a judge of the generator's family."""


Connect = Callable[[RunConfig], Adapters]
"""Settings to adapters. Called by every node: returns the same set for the same settings."""

Node = Callable[[Any, Adapters], Mapping[str, Any]]


class GraphNode(Protocol):
    """A node as LangGraph takes it."""

    def __call__(self, state: Any) -> dict[str, Any]: ...


def bind(name: str, node: Node, connect: Connect) -> GraphNode:
    """A LangGraph node: connects, runs, and notes when it ran."""

    def run(state: Any) -> dict[str, Any]:
        adapters = connect(state["settings"])
        started = time.time()
        update = dict(node(state, adapters))
        return {**update, "spans": {_span_key(name, state): (started, time.time())}}

    run.__name__ = name
    run.__doc__ = node.__doc__
    return run


def report_progress(progress: Progress) -> None:
    """Send one line of progress to whoever streams the run in `custom` mode."""
    get_stream_writer()(progress.model_dump())


def _span_key(name: str, state: Mapping[str, Any]) -> str:
    """Stage first; the rest keeps parallel and repeated executions apart, and a repeated one on its own key."""
    batch = state.get("batch")
    detail = f"{batch.id}/{state.get('attempt', 0)}" if batch else str(state.get("iteration", 0))
    return f"{name}/{detail}"
