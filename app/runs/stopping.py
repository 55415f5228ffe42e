"""Ctrl-C and SIGTERM: running calls may finish for a while, and a second signal quits at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pada_agent.app.streams import surviving
from pada_agent.core.config import RunConfig

STOP_SECONDS = 5.0
"""Time for running nodes to end after a signal, in addition to the wait for calls. Then the process exits. By then,
checkpoints and calls are on disk.
"""


@contextmanager
def obeying_signals(
    stop: Callable[[], None], *, way_on: str, count_calls: Callable[[], int], seconds: Callable[[], float]
) -> Iterator[None]:
    """Inside, the first signal stops the run, and a second one, or the end of the waiting time, exits the process. Only
    the main thread receives signals.

    Args:
        stop: called in the signal handler.
        way_on: tells how to continue later.
        count_calls: returns the number of LLM calls in flight.
        seconds: returns how long to wait for them.
    """

    def leave(*_: object) -> None:
        n = count_calls()
        lost = f"{n} LLM calls in flight are abandoned, and their answers are lost. " if n else ""
        _say(f"{lost}{way_on}\n")
        os._exit(130)

    def obey(*_: object) -> None:
        for number in signals:
            signal.signal(number, leave)
        _say_stopping(count_calls(), seconds())
        timers.append(_leave_after(STOP_SECONDS + seconds(), leave))
        stop()

    timers: list[threading.Timer] = []
    signals = [signal.SIGINT, signal.SIGTERM] if threading.current_thread() is threading.main_thread() else []
    before = {number: signal.signal(number, obey) for number in signals}
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def find_seconds(config: RunConfig) -> float:
    """How long to wait for a run's LLM calls in flight, in seconds."""
    models = config.models
    longest = max(model.timeout_seconds for model in (models.analyst, models.generator, models.judge))
    return longest if (given := config.budget.seconds_to_finish_calls) is None else given


def _leave_after(seconds: float, leave: Callable[[], None]) -> threading.Timer:
    """Exit the process however busy its threads are, because a running LLM call may take minutes."""
    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
    return timer


def _say(text: str) -> None:
    with surviving(sys.stderr):
        sys.stderr.write(text)
        sys.stderr.flush()


def _say_stopping(n_calls: int, seconds: float) -> None:
    waited = (
        f" No new LLM call is started; {n_calls} in flight may finish, for at most {seconds:.0f} s." if n_calls else ""
    )
    _say(f"\nStopping …{waited} (Press Ctrl-C again to exit at once.)\n")
