"""Turns functions into nodes: gives them the adapters, and closes these when a call has ended with them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from dataclasses import replace
from threading import Thread
from typing import Any, TypeVar

from langchain_core.runnables import RunnableLambda
from langgraph.errors import GraphBubbleUp

from pada_agent.core.config import RunConfig
from pada_agent.core.progress import Progress
from pada_agent.core.returned import check_returned
from pada_agent.graph.adapters import Adapters, Connect
from pada_agent.graph.batch_rounds import MOST_AT_ONCE
from pada_agent.graph.reporting import report_progress
from pada_agent.graph.run_context import find_settings
from pada_agent.graph.spans import span_key

Node = Callable[[Any, Adapters], Mapping[str, Any]]
"""A node's function: takes state and adapters, and returns an update of the state."""

REPORTED_BY_JOBS = {"fine_tune"}
"""Nodes whose compute jobs already report progress under the node's name."""

ResultT = TypeVar("ResultT")

_threads = ThreadPoolExecutor(max_workers=4 * MOST_AT_ONCE, thread_name_prefix="pada-node")
"""For the nodes of async runs. On a small machine, asyncio's own pool has only a few threads, and the server needs those. The batches of
one run, which may wait for hours, leave room for other runs."""


def bind_node(name: str, node: Node, connect: Connect) -> RunnableLambda[Any, dict[str, Any]]:
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


def _run_node(name: str, node: Node, state: Any, adapters: Adapters) -> dict[str, Any]:
    started = time.time()
    if "batch" not in state and name not in REPORTED_BY_JOBS:  # how far batches are is counted over all of them
        report_progress(Progress(stage=name, done=0, total=1))
    update = dict(node(state, replace(adapters, close=adapters.users.end)))
    return {**update, "spans": {span_key(name, _tell_apart(state)): (started, time.time())}}


@contextmanager
def using(connect: Connect, settings: RunConfig) -> Iterator[Adapters]:
    """The adapters for a block. They are closed behind it if a block that uses them has failed, and none uses them any more."""
    adapters = _connect(connect, settings)
    if not adapters.users.enter():  # another call has closed them just now
        adapters = _connect(connect, settings)
        adapters.users.enter(even_if_closed=True)
    try:
        with _noting_end(adapters):
            yield adapters
    finally:
        if adapters.users.leave(adapters.retire):
            adapters.close()
        else:
            adapters.users.close_when_idle(adapters.retire, adapters.close)


@asynccontextmanager
async def using_async(connect: Connect, settings: RunConfig) -> AsyncIterator[Adapters]:
    """The same for async runs, which a cancellation ends too."""
    adapters = await in_thread(_connect, connect, settings)
    if not adapters.users.enter():
        adapters = await in_thread(_connect, connect, settings)
        adapters.users.enter(even_if_closed=True)
    try:
        with _noting_end(adapters):
            yield adapters
    finally:
        if adapters.users.leave(adapters.retire):
            Thread(target=adapters.close, daemon=True).start()  # the pool may be full of what it has to end
        else:
            adapters.users.close_when_idle(adapters.retire, adapters.close)


def _connect(connect: Connect, settings: RunConfig) -> Adapters:
    return check_returned(connect(settings), Adapters, by="connect")


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


def _tell_apart(state: Mapping[str, Any]) -> str:
    """What tells a node's parallel and repeated executions apart. It is the same when a node is retried."""
    batch = state.get("batch")
    return f"{batch.id}/{state.get('attempt', 0)}" if batch else str(state.get("iteration", 0))
