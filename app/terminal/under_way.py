"""Keeps track of the stages in progress, as far as events tell."""

from collections.abc import Iterable
from typing import NamedTuple

from pada_agent.core.progress import Progress


class Stage(NamedTuple):
    """A stage that has begun and not ended."""

    progress: Progress
    """The latest progress."""
    began: float
    reported: float
    """When the latest progress arrived."""

    def at(self, now: float) -> Progress:
        """Its progress with the rate and time left as of `now`. While nothing arrives, the rate falls."""
        before, since = self.reported - self.began, now - self.began
        if not self.progress.rate or before <= 0:
            return self.progress
        slower = since / before
        left = (self.progress.seconds_left or 0) * slower
        return self.progress.model_copy(update={"rate": self.progress.rate / slower, "seconds_left": left})


START = "start"
"""The stage before the first event: imports, which are slow on a busy machine, and reading the settings."""


class UnderWay:
    """The stages in progress, by name."""

    def __init__(self, now: float) -> None:
        self._stages = {START: Stage(Progress(stage=START, done=0, total=1), now, now)}

    def note(self, progress: Progress | None, ended: Iterable[str], now: float) -> None:
        """Process an event: its progress, and the stages that it ends."""
        for name in (START, *ended):
            self._stages.pop(name, None)
        if progress and progress.done >= progress.total:
            self._stages.pop(progress.stage, None)
        elif progress:
            known = self._stages.get(progress.stage)
            self._stages[progress.stage] = Stage(progress, known.began if known else now, now)

    def list_stages(self) -> list[Stage]:
        """Stages that count something, or all of them if none does, because a node that waits for a job says no more than the job."""
        counting = [s for s in self._stages.values() if s.progress.total > 1 or s.progress.detail]
        return counting or list(self._stages.values())
