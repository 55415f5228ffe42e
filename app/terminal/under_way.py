"""Which stages are under way, as far as events tell."""

from collections.abc import Iterable
from typing import NamedTuple

from pada_agent.core.progress import Progress


class Stage(NamedTuple):
    """A stage that has begun and not ended."""

    progress: Progress
    """The latest."""
    began: float
    told: float
    """When its latest progress came."""

    def at(self, now: float) -> Progress:
        """Its progress with the rate and the time left of `now`: while nothing comes, it gets slower."""
        before, since = self.told - self.began, now - self.began
        if not self.progress.rate or before <= 0:
            return self.progress
        slower = since / before
        left = (self.progress.seconds_left or 0) * slower
        return self.progress.model_copy(update={"rate": self.progress.rate / slower, "seconds_left": left})


START = "start"
"""What is under way until the first event: imports, which take long on a busy machine, and reading the settings."""


class UnderWay:
    """The stages that are under way, by name."""

    def __init__(self, now: float) -> None:
        self._stages = {START: Stage(Progress(stage=START, done=0, total=1), now, now)}

    def note(self, progress: Progress | None, ended: Iterable[str], now: float) -> None:
        """Take in an event: what it says of a stage, and the stages that it ends."""
        for name in (START, *ended):
            self._stages.pop(name, None)
        if progress and progress.done >= progress.total:
            self._stages.pop(progress.stage, None)
        elif progress:
            known = self._stages.get(progress.stage)
            self._stages[progress.stage] = Stage(progress, known.began if known else now, now)

    def list_stages(self) -> list[Stage]:
        """Those that count something, or all of them where none does: a node that waits for a job says no more than the job."""
        counting = [s for s in self._stages.values() if s.progress.total > 1 or s.progress.detail]
        return counting or list(self._stages.values())
