"""Places for calls at the same time: urgent ones go first, the others in their order, and none gets lost."""

import time
from threading import Event, Thread

import pytest

from pada_agent.app.adapters.llm.places import Places


class Caller(Thread):
    """Holds a place until it is told to leave."""

    def __init__(self, places: Places, name: str, came_in: list[str], *, urgent: bool = False) -> None:
        super().__init__(name=name, daemon=True)
        self._places, self._came_in, self._urgent = places, came_in, urgent
        self.may_leave = Event()

    def run(self) -> None:
        with self._places.hold(urgent=self._urgent):
            self._came_in.append(self.name)
            self.may_leave.wait(10)


def count_waiting(places: Places) -> int:
    return len(places._urgent) + len(places._others)


def test_urgent_callers_go_first_and_each_kind_in_its_order() -> None:
    places, came_in = Places(1), list[str]()
    callers = [Caller(places, name, came_in, urgent=name.isupper()) for name in ("first", "a", "b", "A", "B", "c")]
    for n, caller in enumerate(callers, start=1):
        caller.start()
        while len(came_in) + count_waiting(places) < n:
            time.sleep(0.001)
    for caller in callers:
        caller.may_leave.set()
    for caller in callers:
        caller.join(10)
    assert came_in == ["first", "A", "B", "a", "b", "c"]


def test_whoever_is_interrupted_takes_no_place_along(monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places(1)

    class Interrupted(Event):
        def wait(self, timeout: float | None = None) -> bool:
            del timeout
            raise KeyboardInterrupt

    with places.hold(), monkeypatch.context() as patched:
        patched.setattr("pada_agent.app.adapters.llm.places.Event", Interrupted)
        with pytest.raises(KeyboardInterrupt), places.hold(urgent=True):
            raise AssertionError("there was no place")
    with places.hold():
        assert count_waiting(places) == 0


def test_a_place_that_came_too_late_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places(1)

    class TooLate(Event):
        def wait(self, timeout: float | None = None) -> bool:
            del timeout
            places._pass_on()  # the other caller leaves just now
            raise KeyboardInterrupt

    places._wait(places._others)
    monkeypatch.setattr("pada_agent.app.adapters.llm.places.Event", TooLate)
    with pytest.raises(KeyboardInterrupt):
        places._wait(places._others)
    assert (places._n_free, count_waiting(places)) == (1, 0)
