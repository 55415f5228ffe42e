"""What nodes work with: the adapters, which are made from the settings in the state."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from threading import Thread
from typing import Any, Protocol, TypeVar

from langchain_core.runnables import RunnableLambda
from langgraph.config import get_stream_writer
from langgraph.errors import GraphBubbleUp
from langgraph.runtime import get_runtime
from pydantic import GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic_core import CoreSchema

from pada_agent.agents.guards.guard import Guard
from pada_agent.agents.guards.registry import BUILT_IN
from pada_agent.core.config import PromptsConfig, RunConfig
from pada_agent.core.memory import Memory
from pada_agent.core.ports import ArtifactStore, Compute, DatasetSource, Embedder, TokenCounter
from pada_agent.core.progress import Progress
from pada_agent.core.records import Usage
from pada_agent.core.settings import Settings
from pada_agent.evaluation.task import Task
from pada_agent.graph.summary import RunSummary
from pada_agent.graph.users import Users
from pada_agent.prompts.prompted_model import PromptedModel
from pada_agent.prompts.rendering import check_overrides, template_text


class EditablePrompts(PromptsConfig):
    """Prompts whose schema has the built-in texts as defaults, so that a person edits them instead of starting from nothing."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        for name, prompt in handler.resolve_ref_schema(schema)["properties"].items():
            prompt["default"] = template_text(name)
        return schema

    @field_validator("*")
    @classmethod
    def _leave_ours(cls, text: str, info: ValidationInfo) -> str:
        """Treats a text that a form sends back unchanged as no override."""
        return "" if text == template_text(str(info.field_name)) else text


class RunContext(RunConfig):
    """The settings of a run, as LangGraph Studio shows them."""

    prompts: EditablePrompts = EditablePrompts()
    """The agents' prompts: Jinja templates, rendered in a sandbox."""

    def to_config(self) -> RunConfig:
        """The same settings in the form that the state keeps, naming the same values.

        Raises:
            PromptError: a prompt is not a valid template.
        """
        check_overrides(self.prompts.overrides())
        return RunConfig.model_validate(self.model_dump(exclude_unset=True))


class RowAdapters(Protocol):
    """The adapters that rows are read and measured with."""

    @property
    def datasets(self) -> DatasetSource: ...
    @property
    def task(self) -> Task: ...
    @property
    def tokens(self) -> TokenCounter | None: ...


@dataclass(frozen=True)
class Adapters:
    """Everything outside the graph that its nodes use in one run: data, storage, compute, models, and the task."""

    datasets: DatasetSource
    """Reads the user's rows."""
    store: ArtifactStore
    """Holds everything that the run produces, addressed by content."""
    compute: Compute
    """Runs fine-tuning and prediction jobs."""
    embedder: Embedder
    """Turns texts into sentence vectors."""
    task: Task
    """Says how rows are read, shown and scored."""
    analyst: PromptedModel
    """The LLM that explains failures and drafts strategies."""
    generator: PromptedModel
    """The LLM that writes synthetic rows."""
    judge: PromptedModel
    """The LLM that rates and answers synthetic rows."""
    student: str
    """Folder, file or hub id that the compute backend can load."""
    usage: Callable[[], dict[str, Usage]]
    """LLM usage of the run so far, by role."""
    peak_memory_mb: Callable[[], float | None]
    """Peak resident memory of this process and its children together, in MiB. None if it cannot be measured."""
    publish: Callable[[RunSummary], None]
    """Writes the run's readable results: summary, iterations, best adapter and report."""
    close: Callable[[], None]
    """Stops the worker and releases the models at once; running work fails. Afterwards `connect` makes a new set."""
    retire: Callable[[], None] = lambda: None
    """Makes `connect` return a new set from now on, while this one is being closed. Returns at once."""
    usage_by_batch: Callable[[], dict[str, Usage]] = dict
    """LLM usage of the run so far, by id of the batch of synthetic rows."""
    tokens: TokenCounter | None = None
    """Measures rows in the student's tokens before anything is trained. None if that is not possible here."""
    guards: tuple[type[Guard], ...] = BUILT_IN
    """The guards that check synthetic rows before the judge does, in order."""
    warnings: tuple[str, ...] = ()
    """Known before the run starts, for example that the judge is of the generator's model family."""
    memory: Memory = field(default_factory=Memory)
    """What has been computed about stored rows. It lives as long as the run."""
    users: Users = field(default_factory=Users)
    """The nodes that work with this set, of all calls that share it."""


Connect = Callable[[RunConfig], Adapters]
"""Turns settings into adapters. Every node calls it, so it must return the same set for the same settings."""

Node = Callable[[Any, Adapters], Mapping[str, Any]]
"""A node's function: takes state and adapters, and returns an update of the state."""

TOLD_BY_JOBS = {"fine_tune"}
"""Nodes whose compute jobs already report progress under the node's name."""


ResultT = TypeVar("ResultT")
SettingsT = TypeVar("SettingsT", bound=Settings)

_threads = ThreadPoolExecutor(max_workers=256, thread_name_prefix="pada-node")
"""For the nodes of async runs. On a small machine, asyncio's own pool has only a few threads, and the server needs those."""


def bind(name: str, node: Node, connect: Connect) -> RunnableLambda[Any, dict[str, Any]]:
    """A LangGraph node for `invoke` and `ainvoke`: gets the adapters, runs `node`, and records when it ran.

    If a node fails or an async run is cancelled, the adapters are closed, unless another call uses them. A thread cannot
    be stopped, but what it is waiting for can.
    """

    def run(state: Any) -> dict[str, Any]:
        with using(connect, find_settings(state)) as adapters:
            return _run_node(name, node, state, adapters)

    async def arun(state: Any) -> dict[str, Any]:
        async with using_async(connect, find_settings(state)) as adapters:
            return await in_thread(_run_node, name, node, state, adapters)

    return RunnableLambda(run, arun, name=name)


def find_settings(state: Mapping[str, Any]) -> RunConfig:
    """The run's settings, with the limits of the budget that the context of this call of the graph names. Only inside a node."""
    settings: RunConfig = state["settings"]
    context: object = get_runtime().context
    if not isinstance(context, RunConfig):
        return settings  # a larger graph's own, or none
    return settings.model_copy(update={"budget": lay_over(settings.budget, context.budget)})


def lay_over(own: SettingsT, given: SettingsT) -> SettingsT:
    """The settings `own`, changed where `given` names a value. What it leaves to its default stays."""
    changes = {}
    for name in given.model_fields_set:
        before, after = getattr(own, name), getattr(given, name)
        changes[name] = lay_over(before, after) if isinstance(after, Settings) else after
    return own.model_copy(update=changes)


def _run_node(name: str, node: Node, state: Any, adapters: Adapters) -> dict[str, Any]:
    started = time.time()
    if "batch" not in state and name not in TOLD_BY_JOBS:  # how far batches are is counted over all of them
        report_progress(Progress(stage=name, done=0, total=1))
    update = dict(node(state, replace(adapters, close=adapters.users.end)))
    return {**update, "spans": {_span_key(name, state): (started, time.time())}}


@contextmanager
def using(connect: Connect, settings: RunConfig) -> Iterator[Adapters]:
    """The adapters for a block. They are closed behind it if a block that uses them has failed, and none uses them any more."""
    adapters = connect(settings)
    if not adapters.users.enter():  # another call has closed them just now
        adapters = connect(settings)
        adapters.users.enter(even_if_closed=True)
    try:
        with _noting_end(adapters):
            yield adapters
    finally:
        if adapters.users.leave(adapters.retire):
            adapters.close()


@asynccontextmanager
async def using_async(connect: Connect, settings: RunConfig) -> AsyncIterator[Adapters]:
    """The same for async runs, which a cancellation ends too."""
    adapters = await in_thread(connect, settings)
    if not adapters.users.enter():
        adapters = await in_thread(connect, settings)
        adapters.users.enter(even_if_closed=True)
    try:
        with _noting_end(adapters):
            yield adapters
    finally:
        if adapters.users.leave(adapters.retire):
            Thread(target=adapters.close, daemon=True).start()  # the pool may be full of what it has to end


@contextmanager
def _noting_end(adapters: Adapters) -> Iterator[None]:
    """Notes that a call has ended with the adapters if the block fails or is cancelled."""
    try:
        yield
    except GraphBubbleUp:
        raise
    except BaseException:
        adapters.users.end()
        raise


async def in_thread(work: Callable[..., ResultT], *arguments: Any) -> ResultT:
    """Like `asyncio.to_thread`, but in our own pool."""
    return await asyncio.get_running_loop().run_in_executor(_threads, copy_context().run, work, *arguments)


def report_progress(progress: Progress) -> None:
    """Send one progress message to whoever streams the run in `custom` mode."""
    get_stream_writer()(progress.model_dump())


def report_stage(stage: str, adapters: Adapters, *, detail: str = "", **counts: int) -> None:
    """Report that a stage with LLM calls has finished, with its counts and the cost of the run so far."""
    cost = sum(usage.cost_usd for usage in adapters.usage().values())
    report_progress(Progress(stage=stage, done=1, total=1, counts=counts, cost_usd=cost, detail=detail))


def _span_key(name: str, state: Mapping[str, Any]) -> str:
    """The node's name, then what tells parallel and repeated executions apart. A node that is retried keeps its key."""
    batch = state.get("batch")
    detail = f"{batch.id}/{state.get('attempt', 0)}" if batch else str(state.get("iteration", 0))
    return f"{name}/{detail}"
