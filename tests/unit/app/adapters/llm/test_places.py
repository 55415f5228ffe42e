"""Places for calls: how many at once, and who is next."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Timer, get_ident

import pytest

from pada_agent.app.adapters.llm.places import Places

FREE_WITHIN = 10.0
"""Seconds."""


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + FREE_WITHIN
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_the_lowest_rank_is_next_and_then_the_first_to_come() -> None:
    places, served = Places(1), list[str]()

    def work(name: str, rank: int) -> None:
        with places.take(rank):
            served.append(name)

    with ThreadPoolExecutor(8) as pool, places.take(0):
        for n, (name, rank) in enumerate([("a", 1), ("b", 1), ("urgent", 0), ("c", 1), ("also urgent", 0)], 1):
            pool.submit(work, name, rank)
            until(lambda n=n: len(places._waiting) == n)
    assert served == ["urgent", "also urgent", "a", "b", "c"]


def test_a_place_is_given_back_after_an_error() -> None:
    places = Places(1)
    with pytest.raises(ValueError), places.take(0):
        raise ValueError
    with places.take(0):
        pass


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def interrupting() -> Iterator[signal.Signals]:
    """A signal that interrupts this thread, also in a test process that ignores Ctrl-C."""
    before = signal.signal(signal.SIGUSR1, interrupt)
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


def test_nobody_waits_for_a_caller_that_was_interrupted(interrupting: signal.Signals) -> None:
    places = Places(1)
    with places.take(0):
        Timer(0.1, signal.pthread_kill, [get_ident(), interrupting]).start()
        with pytest.raises(KeyboardInterrupt), places.take(0):
            pass
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: places.take(1).__enter__()).result(FREE_WITHIN)


def test_all_free_places_are_taken() -> None:
    places = Places(3)
    with places.take(0), places.take(1), places.take(0):
        assert places._n_free == 0
    assert places._n_free == 3
