"""The board's table of jobs and drivers, without a cluster: which jobs go on, and for whom."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pada_agent.core.compute_config import ClusterConfig

pytest.importorskip("ray")

from ray.exceptions import ActorDiedError, ActorUnschedulableError, OutOfMemoryError

from pada_agent.app.adapters.compute import ray_board
from pada_agent.app.adapters.compute.ray_board import GONE_SECONDS, Board, Entry
from pada_agent.app.adapters.compute.ray_jobs import (
    Heard,
    JobRequest,
    Outcome,
    Place,
    find_shape,
    to_request,
)
from pada_agent.app.adapters.compute.ray_worker import RayWorker
from pada_agent.core.progress import Progress
from tests.scripted_worker import make_job

SETTINGS = ClusterConfig(orphan_minutes=30, idle_minutes=5)
ONE_WORKER = ClusterConfig(max_workers=1)
FAILED = Outcome(error="TrainingError", message="no luck")


class IdleBoard(Board):
    """Its jobs never begin."""

    async def _see_through(self, entry: Entry) -> None:
        del entry
        await asyncio.Event().wait()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(ray_board, "time", clock)
    monkeypatch.setattr(ray_board, "LONG_POLL_SECONDS", 0.01)
    return clock


def request(name: str) -> JobRequest:
    place = Place(objects="/o", models=Path("/m"))
    return to_request(name, make_job(name), find_shape(SETTINGS), place, Path("/o"))


async def test_a_job_goes_on_as_long_as_its_driver_waits_for_any_job(clock: SimpleNamespace) -> None:
    """A driver submits all parts of an evaluation and waits for one after the other, which may take hours."""
    board = IdleBoard(SETTINGS)
    for name in ("first", "last"):
        await board.submit(request(name), "driver", SETTINGS)
    for _ in range(10):
        clock.now += 20 * 60
        assert await board.follow("/o/first", "driver", 0) == Heard(events=(), outcome=None)
        await board._tidy()
    assert (await board.describe())["unfinished"] == ["first", "last"]
    clock.now += 31 * 60
    await board.submit(request("a"), "another driver", SETTINGS)
    await board._tidy()
    assert (await board.describe())["unfinished"] == ["a"]
    assert await board.follow("/o/last", "driver", 0) is None, "a driver that comes back submits it again"


async def test_who_leaves_ends_the_job_unless_another_driver_is_there(clock: SimpleNamespace) -> None:
    board = IdleBoard(SETTINGS)
    for driver in ("killed", "other"):
        await board.submit(request("a"), driver, SETTINGS)
    await board.leave("/o/a", "other")
    assert (await board.describe())["unfinished"] == ["a"]
    await board.submit(request("a"), "other", SETTINGS)
    clock.now += GONE_SECONDS + 1
    await board.submit(request("b"), "other", SETTINGS)
    await board.leave("/o/a", "other")
    assert (await board.describe())["unfinished"] == ["b"]


async def test_a_driver_that_waits_while_others_cancel_submits_again(clock: SimpleNamespace) -> None:
    del clock
    board = IdleBoard(SETTINGS)
    await board.submit(request("a"), "driver", SETTINGS)
    waiting = asyncio.create_task(board.follow("/o/a", "driver", 0))
    await asyncio.sleep(0)
    await board._cancel(board._entries["/o/a"])
    assert await waiting is None
    await board.submit(request("a"), "driver", SETTINGS)
    assert (await board.describe())["unfinished"] == ["a"]


async def test_an_error_stays_until_its_driver_has_heard_it(clock: SimpleNamespace) -> None:
    board = IdleBoard(SETTINGS)
    for name in ("first", "failed", "finished"):
        await board.submit(request(name), "driver", SETTINGS)
    board._entries["/o/failed"].outcome = FAILED
    board._entries["/o/finished"].outcome = Outcome()
    clock.now += 6 * 60
    await board.follow("/o/first", "driver", 0)
    await board._tidy()
    assert await board.follow("/o/finished", "driver", 0) is None, "its output is in the store"
    assert await board.follow("/o/failed", "driver", 0) == Heard(events=(), outcome=FAILED)


class Actor:
    """A worker of the cluster that runs a job as the test says."""

    def __init__(self, run: Callable[..., Awaitable[Outcome]], start: Callable[[], Awaitable[None]]) -> None:
        self.is_killed = False
        self.run, self.is_ready = SimpleNamespace(remote=run), SimpleNamespace(remote=start)
        self.cancel = SimpleNamespace(remote=self._cancel)

    async def _cancel(self, job_id: str, ticket: str) -> None:
        del job_id, ticket


async def start() -> None:
    pass


class StagedBoard(Board):
    """Its workers are `Actor`s, which run jobs by `runs`, one after the other."""

    def __init__(self, settings: ClusterConfig, *runs: Callable[..., Awaitable[Outcome]], **more: Any) -> None:
        super().__init__(settings)
        self.made: list[Actor] = []
        self._runs, self._begin = list(runs), more.get("start", start)

    def _start(self, shape: object) -> Actor:
        del shape

        async def run(*_: object) -> Outcome:
            return await self._runs.pop(0)()

        self.made.append(Actor(run, self._begin))
        return self.made[-1]


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], JobRequest]:
    """Requests of jobs with objects in a folder, for boards outside of a cluster."""
    monkeypatch.setattr(
        ray_board,
        "ray",
        SimpleNamespace(
            get_runtime_context=lambda: SimpleNamespace(current_actor=None),
            kill=lambda actor: setattr(actor, "is_killed", True),
        ),
    )
    place = Place(objects=str(tmp_path), models=Path("/m"))
    return lambda name: to_request(name, make_job(name), find_shape(SETTINGS), place, tmp_path)


async def hear(board: Board, request: JobRequest) -> Outcome:
    await board.submit(request, "driver", ONE_WORKER)
    while (heard := await board.follow(request.key, "driver", 0)) and heard.outcome is None:
        await asyncio.sleep(0)
    assert heard and heard.outcome
    return heard.outcome


def failing(exc: Exception) -> Callable[..., Awaitable[Outcome]]:
    async def run() -> Outcome:
        raise exc

    return run


async def succeed() -> Outcome:
    return Outcome()


async def test_a_worker_that_fails_in_an_unexpected_way_makes_room(no_cluster: Callable[[str], JobRequest]) -> None:
    """It was counted as busy for ever, and kept its GPU."""
    board = StagedBoard(ONE_WORKER, failing(OSError("Read-only file system")), succeed)
    first = await hear(board, no_cluster("a"))
    assert first == Outcome(error="TrainingError", message="job a: OSError: Read-only file system")
    assert await asyncio.wait_for(hear(board, no_cluster("b")), 5) == Outcome()
    assert [actor.is_killed for actor in board.made] == [True, False]


async def test_a_worker_that_ray_ended_for_memory_is_replaced(no_cluster: Callable[[str], JobRequest]) -> None:
    board = StagedBoard(SETTINGS, failing(OutOfMemoryError("the node ran low on memory")), succeed)
    assert await hear(board, no_cluster("a")) == Outcome()
    told = [event for event in board._entries[no_cluster("a").key].events if event.stage == "retry"]
    assert [event.detail for event in told] == ["the worker was lost: the node ran low on memory"]


@pytest.mark.parametrize("is_there", [True, False])
def test_progress_arrives_in_order_and_a_board_that_is_gone_ends_no_job(
    monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    """Of the calls that it has not begun, an async actor may begin any first."""
    waiting, arrived, worker = list[int](), list[int](), RayWorker(find_shape(SETTINGS))

    def begin_all(_: object) -> None:
        arrived.extend(reversed(waiting))
        waiting.clear()
        if not is_there:
            raise ActorDiedError

    def run_job(_: JobRequest, __: str, report: Callable[[Progress], None]) -> Outcome:
        for step in range(4):
            report(Progress(stage="train", done=step, total=4))
        return Outcome()

    monkeypatch.setattr(worker, "run_job", run_job)
    monkeypatch.setattr("ray.get", begin_all)
    report = SimpleNamespace(remote=lambda _, progress: waiting.append(progress.done))
    assert worker.run(request("a"), "ticket", SimpleNamespace(report=report)) == Outcome()
    assert arrived == [0, 1, 2, 3]


async def test_a_worker_that_cannot_be_started_is_an_error(no_cluster: Callable[[str], JobRequest]) -> None:
    async def fail() -> None:
        raise ActorUnschedulableError("no such accelerator")

    board = StagedBoard(SETTINGS, start=fail)
    outcome = await asyncio.wait_for(hear(board, no_cluster("a")), 5)
    assert (outcome.error, "no such accelerator" in outcome.message) == ("TrainingError", True)
    assert (await board.describe())["workers"] == []


async def test_a_job_that_is_cancelled_twice_in_a_row_never_starts(no_cluster: Callable[[str], JobRequest]) -> None:
    """The second cancellation came while a worker still ended the first attempt, and was taken for another one of that."""
    ends, started = asyncio.Event(), list[str]()

    async def run_until_told() -> Outcome:
        started.append("a")
        await ends.wait()
        return Outcome(error="TrainingError", message="cancelled")

    request = no_cluster("a")
    board = StagedBoard(ONE_WORKER, run_until_told, run_until_told)
    for _ in range(2):
        await board.submit(request, "driver", ONE_WORKER)
        for _ in range(20):
            await asyncio.sleep(0.01)
        await board.leave(request.key, "driver")
    ends.set()
    for _ in range(20):
        await asyncio.sleep(0.01)
    assert started == ["a"]
    assert (await board.describe())["workers"] == [("1 CPU", None)]
