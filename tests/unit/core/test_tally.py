"""How far several calls at the same time are."""

from pada_agent.core.progress import Progress
from pada_agent.core.tally import Tally


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rows_that_are_written_but_not_checked_count_half() -> None:
    clock, told = Clock(), list[Progress]()
    tally = Tally("top_up", 10, unit="rows", steps=("written", "checked"), clock=clock)
    tally.begin(told.append)
    tally.begin(told.append)
    clock.now = 110.0
    tally.add(4, told.append, step="written")
    clock.now = 120.0
    tally.add(4, told.append, accepted=3)
    first, second, third = told
    assert (first.done, first.total, first.unit, first.rate, first.seconds_left) == (0, 10, "rows", None, None)
    assert (second.done, second.rate, second.seconds_left, second.detail) == (0, 0.2, 40.0, "4 written")
    assert (third.done, third.rate, third.seconds_left) == (4, 0.2, 30.0)
    assert third.counts == {"written": 4, "accepted": 3} and third.detail == "4 written, 3 accepted"


def test_when_all_is_done_it_begins_again() -> None:
    clock, told = Clock(), list[Progress]()
    tally = Tally("error_analysis", 4, unit="errors", clock=clock)
    tally.begin(told.append)
    clock.now = 102.0
    tally.add(4, told.append)
    clock.now = 500.0
    tally.begin(told.append)
    clock.now = 504.0
    tally.add(1, told.append)
    assert [(p.done, p.rate) for p in told] == [(0, None), (4, 2.0), (0, None), (1, 0.25)]
