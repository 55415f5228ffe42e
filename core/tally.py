"""Counts what several simultaneous calls have done, and reports the progress."""

import time
from collections import Counter
from collections.abc import Callable
from threading import Lock

from pada_agent.core.progress import Progress

Report = Callable[[Progress], None]


def report_nowhere(progress: Progress) -> None:
    """A report that goes nowhere."""
    del progress


class Tally:
    """Progress of a stage. Thread-safe. Once everything is done, the next `begin` starts again from 0.

    Args:
        steps: what happens to each of the `total` items in turn, such as being written and being checked. An item is
            done after its last step; for the rate, each step counts as an equal part.
    """

    def __init__(
        self,
        stage: str,
        total: int,
        *,
        unit: str,
        steps: tuple[str, ...] = ("done",),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage, self._total, self._unit, self._steps = stage, total, unit, steps
        self._clock = clock
        self._began: float | None = None
        self._counts = Counter[str]()
        self._lock = Lock()

    def begin(self, report: Report) -> None:
        """Start the clock and report, unless this was already done."""
        with self._lock:
            if self._began is None:
                self._began = self._clock()
                self._counts.clear()
                report(self._tell(self._began))

    def add(self, n: int, report: Report, *, step: str | None = None, **counts: int) -> None:
        """Count `n` items that completed a step (the last one by default) and other figures, then report."""
        with self._lock:
            self._counts.update({step or self._steps[-1]: n, **counts})
            report(progress := self._tell(self._began))
            if progress.done >= self._total:
                self._began = None

    def _tell(self, began: float | None) -> Progress:
        n_steps = sum(self._counts[step] for step in self._steps) / len(self._steps)
        seconds = 0.0 if began is None else self._clock() - began
        rate = n_steps / seconds if n_steps and seconds > 0 else None
        others = {name: n for name, n in self._counts.items() if name != self._steps[-1] and n}
        return Progress(
            stage=self._stage,
            done=min(self._counts[self._steps[-1]], self._total),
            total=self._total,
            unit=self._unit,
            rate=rate,
            seconds_left=max(self._total - n_steps, 0) / rate if rate else None,
            counts=others,
            detail=", ".join(f"{n} {name}" for name, n in others.items()),
        )
