"""What nodes work with: adapters made from the settings that stand in the state."""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, TypeVar

from langchain_core.runnables import RunnableLambda
from langgraph.config import get_stream_writer
from langgraph.errors import GraphBubbleUp
from pydantic import GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic_core import CoreSchema

from pada_agent.agents.guards.guard import Guard
from pada_agent.agents.guards.registry import BUILT_IN
from pada_agent.core.config import PromptsConfig, RunConfig
from pada_agent.core.memory import Memory
from pada_agent.core.ports import ArtifactStore, Compute, DatasetSource, Embedder, TokenCounter
from pada_agent.core.progress import Progress
from pada_agent.core.records import Usage
from pada_agent.evaluation.task import Task
from pada_agent.graph.summary import RunSummary
from pada_agent.prompts.prompted_model import PromptedModel
from pada_agent.prompts.rendering import check_overrides, template_text


class EditablePrompts(PromptsConfig):
    """Prompts with our texts as defaults of the schema, so that a person edits rather than starts from nothing."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        for name, prompt in handler.resolve_ref_schema(schema)["properties"].items():
            prompt["default"] = template_text(name)
        return schema

    @field_validator("*")
    @classmethod
    def _leave_ours(cls, text: str, info: ValidationInfo) -> str:
        """A text that a form sends back unchanged is no override."""
        return "" if text == template_text(str(info.field_name)) else text


class RunContext(RunConfig):
    """The settings of a run, as LangGraph Studio shows them."""

    prompts: EditablePrompts = EditablePrompts()
    """Prompts of the agents: Jinja, rendered in a sandbox."""

    def to_config(self) -> RunConfig:
        """The same settings, as the state keeps them.

        Raises:
            PromptError: a prompt does not parse.
        """
        check_overrides(self.prompts.overrides())
        return RunConfig.model_validate(self.model_dump())


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
    close: Callable[[], None]
    """Ends the worker and what the models hold, at once; work in flight fails. `connect` then makes another set."""
    usage_by_batch: Callable[[], dict[str, Usage]] = dict
    """LLM consumption of the run so far, by batch of synthetic rows."""
    tokens: TokenCounter | None = None
    """Length of rows for the student, before anything is trained on them; None: not known here."""
    guards: tuple[type[Guard], ...] = BUILT_IN
    """What looks at synthetic rows before a judge does, in order."""
    warnings: tuple[str, ...] = ()
    """Known before the run, e.g. a judge of the generator's family."""
    memory: Memory = field(default_factory=Memory)
    """What was found out about stored rows. It goes with the run."""


Connect = Callable[[RunConfig], Adapters]
"""Settings to adapters. Called by every node: returns the same set for the same settings."""

Node = Callable[[Any, Adapters], Mapping[str, Any]]

TOLD_BY_JOBS = {"fine_tune"}
"""Nodes whose jobs report under the node's own name."""


ResultT = TypeVar("ResultT")

_threads = ThreadPoolExecutor(max_workers=256, thread_name_prefix="pada-node")
"""For nodes of async runs: asyncio's own pool has a handful of threads on a small machine, and the server needs those."""


def bind(name: str, node: Node, connect: Connect) -> RunnableLambda[Any, dict[str, Any]]:
    """A LangGraph node for `invoke` and `ainvoke`: connects, runs, and notes when it ran.

    An async run that is cancelled, or in which a node fails, closes its adapters: a thread cannot be stopped, but what
    it waits for can.
    """

    def run(state: Any) -> dict[str, Any]:
        return _run_node(name, node, state, connect(state["settings"]))

    async def arun(state: Any) -> dict[str, Any]:
        adapters = await _in_thread(connect, state["settings"])
        try:
            return await _in_thread(_run_node, name, node, state, adapters)
        except GraphBubbleUp:
            raise
        except (asyncio.CancelledError, Exception):
            Thread(target=adapters.close, daemon=True).start()  # the pool may be full of what it has to end
            raise

    return RunnableLambda(run, arun, name=name)


def _run_node(name: str, node: Node, state: Any, adapters: Adapters) -> dict[str, Any]:
    started = time.time()
    if "batch" not in state and name not in TOLD_BY_JOBS:  # how far batches are is counted over all of them
        report_progress(Progress(stage=name, done=0, total=1))
    update = dict(node(state, adapters))
    return {**update, "spans": {_span_key(name, state): (started, time.time())}}


async def _in_thread(work: Callable[..., ResultT], *arguments: Any) -> ResultT:
    """As `asyncio.to_thread`, in our own pool."""
    return await asyncio.get_running_loop().run_in_executor(_threads, copy_context().run, work, *arguments)


def report_progress(progress: Progress) -> None:
    """Send one line of progress to whoever streams the run in `custom` mode."""
    get_stream_writer()(progress.model_dump())


def report_stage(stage: str, adapters: Adapters, *, detail: str = "", **counts: int) -> None:
    """Report a stage that called an LLM as over, with its figures and the run's cost so far."""
    cost = sum(usage.cost_usd for usage in adapters.usage().values())
    report_progress(Progress(stage=stage, done=1, total=1, counts=counts, cost_usd=cost, detail=detail))


def _span_key(name: str, state: Mapping[str, Any]) -> str:
    """Stage first; the rest keeps parallel and repeated executions apart, and a repeated one on its own key."""
    batch = state.get("batch")
    detail = f"{batch.id}/{state.get('attempt', 0)}" if batch else str(state.get("iteration", 0))
    return f"{name}/{detail}"
