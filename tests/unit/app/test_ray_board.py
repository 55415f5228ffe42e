"""The board's table of jobs and drivers, without a cluster: which jobs go on, and for whom."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from pada_agent.core.compute_config import ClusterConfig

pytest.importorskip("ray")

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
from tests.scripted_worker import make_job

SETTINGS = ClusterConfig(orphan_minutes=30, idle_minutes=5)
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
