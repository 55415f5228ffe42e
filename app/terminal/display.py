"""What a person sees while a run goes on, and the event log it leaves."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichBars
from rich.progress import TaskID as RichTask

from pada_agent.app.run_folder.events import RunEvent
from pada_agent.app.text import show_unseen
from pada_agent.core.progress import Progress


class Display(Protocol):
    """Shows events until it is closed."""

    def __call__(self, event: RunEvent) -> None: ...

    def paused(self) -> AbstractContextManager[None]:
        """Leaves the terminal to a question."""
        ...

    def close(self) -> None: ...


def open_display(stream: IO[str] | None = None) -> Display:
    """Live bars on a terminal, plain lines elsewhere; on stderr, so that stdout holds the result only."""
    stream = stream or sys.stderr
    return LiveDisplay(stream) if stream.isatty() else PlainDisplay(stream)


def parse_progress(event: RunEvent) -> Progress | None:
    """The progress in an event; a finished node of the outer graph counts as a stage of one step. Of several runs it names the run."""
    named = f"{event.run} " if event.run else ""
    if event.mode == "custom":
        progress = Progress.model_validate(event.data)
        return progress.model_copy(
            update={"detail": show_unseen(progress.detail), "stage": named + show_unseen(progress.stage)}
        )
    if event.namespace or not event.data:
        return None
    return Progress(stage=named + next(iter(event.data)), done=1, total=1)


class PlainDisplay:
    """A line when a stage starts, when it ends, and in between at most one every `every_seconds`."""

    def __init__(
        self, stream: IO[str], *, every_seconds: float = 10, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._every_seconds = every_seconds
        self._clock = clock
        self._shown_at: dict[str, float] = {}

    def __call__(self, event: RunEvent) -> None:
        if (progress := parse_progress(event)) and self._is_due(progress):
            self._stream.write(f"[{progress.stage}] {describe_progress(progress)}\n")
            self._stream.flush()

    @contextmanager
    def paused(self) -> Iterator[None]:
        yield

    def close(self) -> None: ...

    def _is_due(self, progress: Progress) -> bool:
        now, last = self._clock(), self._shown_at.get(progress.stage)
        is_over = progress.done >= progress.total
        if last is not None and now - last < self._every_seconds and not is_over:
            return False
        self._shown_at[progress.stage] = now
        if is_over:
            del self._shown_at[progress.stage]
        return True


def describe_progress(progress: Progress) -> str:
    """Such as `120/450 steps, 3.2 steps/s, 1:43 left, loss 0.71`."""
    if progress.total <= 1 and progress.done >= progress.total:
        return progress.detail or "done"
    parts = [f"{progress.done}/{progress.total} {progress.unit}".rstrip()]
    if progress.rate:
        left = round(progress.seconds_left or 0)
        parts += [f"{progress.rate:.3g} {progress.unit}/s".replace(" /s", "/s"), f"{left // 60}:{left % 60:02} left"]
    if progress.cost_usd:
        parts += [f"${progress.cost_usd:.2f} so far"]
    return ", ".join([*parts, progress.detail] if progress.detail else parts)


class LiveDisplay:
    """One bar per stage that is under way; a finished stage leaves a line."""

    def __init__(self, stream: IO[str]) -> None:
        self._bars = RichBars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(),
            console=Console(file=stream),
        )
        self._tasks: dict[str, RichTask] = {}
        self._bars.start()

    def __call__(self, event: RunEvent) -> None:
        progress = parse_progress(event)
        if progress is None:
            return
        if progress.done >= progress.total:
            self._finish(progress)
        else:
            self._update(progress)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._bars.stop()
        yield
        self._bars.start()

    def close(self) -> None:
        self._bars.stop()

    def _update(self, progress: Progress) -> None:
        if progress.stage not in self._tasks:
            self._tasks[progress.stage] = self._bars.add_task(progress.stage, total=progress.total, note="")
        rate = f"{progress.rate:.3g} {progress.unit}/s" if progress.rate else ""
        note = " ".join(filter(None, [rate, progress.detail]))
        self._bars.update(self._tasks[progress.stage], completed=progress.done, total=progress.total, note=note)

    def _finish(self, progress: Progress) -> None:
        if (task := self._tasks.pop(progress.stage, None)) is not None:
            self._bars.remove_task(task)
        self._bars.console.print(f"{progress.stage}: {describe_progress(progress)}", markup=False, highlight=False)
