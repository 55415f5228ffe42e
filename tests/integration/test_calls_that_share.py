"""Equal calls of the graph in one process share adapters: none of them may take these from the others, and the last one closes them."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.config import get_config

from pada_agent.app import wiring
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import PadaError
from pada_agent.graph.adapters import Adapters
from tests.integration.test_budget_of_a_call import App, BusyCompute, Invoke, ToyTeacher, ainvoke, invoke


class PatientTeacher(ToyTeacher):
    """Answers once it may."""

    may_answer: Any

    def _generate(self, *given: Any, run_manager: Any, **options: Any) -> Any:
        assert self.may_answer.wait(30)
        return super()._generate(*given, run_manager=run_manager, **options)


class SharedApp(App):
    """An application whose calls are seen when they start a node."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.may_answer = threading.Event()
        self.teacher = PatientTeacher(may_answer=self.may_answer)
        self.nodes = {"1": 0, "2": 0}

    def connect(self, config: RunConfig) -> Adapters:
        if (thread := get_config().get("configurable", {}).get("thread_id")) in self.nodes:
            self.nodes[thread] += 1
        return super().connect(config)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[SharedApp]:
    found = SharedApp(tmp_path)
    yield found
    found.may_answer.set()
    wiring.close(found.settings())


def is_closed(settings: RunConfig) -> bool:
    """Asked for a while, because async runs close theirs in a thread."""
    end = time.monotonic() + 10
    while (is_open := wiring.is_open(settings)) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_open


async def wait_until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_true():
            await asyncio.sleep(0.02)


def call(app: App, graph: Any, thread: str) -> asyncio.Task[Any]:
    return asyncio.create_task(
        graph.ainvoke({}, {"configurable": {"thread_id": thread}}, context=app.settings()), name=thread
    )


async def start_both(app: SharedApp) -> list[asyncio.Task[Any]]:
    """Two equal calls that wait for the same answers of the teacher."""
    graph = app.open()
    first = call(app, graph, "1")
    await wait_until(lambda: app.nodes["1"] >= 5 and app.teacher.n_asked == 0)
    await asyncio.sleep(0.3)
    second = call(app, graph, "2")
    await wait_until(lambda: app.nodes["2"] == app.nodes["1"])
    return [first, second]


async def test_a_call_that_is_cancelled_takes_nothing_from_its_equal(app: SharedApp) -> None:
    first, second = await start_both(app)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.sleep(0.2)
    app.may_answer.set()
    assert (await second)["summary"].verdict
    assert await asyncio.to_thread(is_closed, app.settings())


async def test_calls_that_are_both_left_alone_both_end_well(app: SharedApp) -> None:
    calls = await start_both(app)
    app.may_answer.set()
    assert len({result["summary"].verdict for result in await asyncio.gather(*calls)}) == 1
    assert await asyncio.to_thread(is_closed, app.settings())


async def test_a_batch_of_equal_calls_ends_well(app: SharedApp) -> None:
    app.may_answer.set()
    threads: list[Any] = [{"configurable": {"thread_id": thread}} for thread in ("1", "2", "3")]
    results = await app.open().abatch([{}, {}, {}], threads, context=app.settings())
    assert len({result["summary"].verdict for result in results}) == 1
    assert await asyncio.to_thread(is_closed, app.settings())


@pytest.mark.parametrize("how", [invoke, ainvoke])
def test_a_call_that_fails_leaves_no_worker_or_engine(app: SharedApp, how: Invoke) -> None:
    app.may_answer.set()
    with pytest.raises(PadaError, match="5 of 5"):
        how(app.open(), {}, app.settings(budget={"max_calls": 5}))
    assert is_closed(app.settings())
    app.kind = BusyCompute
    with pytest.raises(PadaError, match="too busy"):
        how(app.open(), {}, app.settings(seed=1))
    assert is_closed(app.settings(seed=1))


@pytest.mark.parametrize("how", [invoke, ainvoke])
def test_a_call_whose_rows_are_refused_leaves_none_either(app: SharedApp, how: Invoke) -> None:
    settings = app.settings(data={"train": "memory:validation"})
    with pytest.raises(PadaError, match="also in"):
        how(app.open(), {}, settings)
    assert is_closed(settings)
