"""What a person sees during a run. There is always a recent line that says what is being done."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Lock, Thread
from typing import IO, Protocol

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichBars
from rich.progress import TaskID as RichTask

from pada_agent.app.run_folder.events import RunEvent
from pada_agent.app.streams import surviving
from pada_agent.app.terminal.under_way import Stage, UnderWay
from pada_agent.app.text import dollars, show_unseen
from pada_agent.core.progress import Progress

TICK_SECONDS = 1.0
"""Time between two checks whether a line is due."""


class Display(Protocol):
    """Shows events until it is closed."""

    def __call__(self, event: RunEvent) -> None: ...

    def paused(self) -> AbstractContextManager[None]:
        """Leaves the terminal to a question."""
        ...

    def close(self) -> None: ...


def open_display(stream: IO[str] | None = None) -> Display:
    """Live bars on a terminal, plain lines elsewhere. Goes to stderr, so that stdout contains only the result."""
    stream = stream or sys.stderr
    if stream.isatty():
        return LiveDisplay(stream)
    display = PlainDisplay(stream)
    display.start()
    return display


def parse_progress(event: RunEvent) -> Progress | None:
    """The progress in an event. A finished node of the outer graph counts as a stage of one step. If there are several runs, it names the run."""
    named = f"{event.run} " if event.run else ""
    if event.mode == "custom":
        progress = Progress.model_validate(event.data)
        return progress.model_copy(
            update={"detail": show_unseen(progress.detail), "stage": named + show_unseen(progress.stage)}
        )
    if event.namespace or not event.data:
        return None
    return Progress(stage=named + next(iter(event.data)), done=1, total=1)


def find_ended(event: RunEvent) -> list[str]:
    """The stages that a finished node ends, including a node inside a branch."""
    named = f"{event.run} " if event.run else ""
    return [named + show_unseen(node) for node in event.data] if event.mode == "updates" else []


class PlainDisplay:
    """Prints a line when a stage that counts something starts, when any stage ends, and in between at most every `every_seconds`.

    Once started, it also says what is running if there was no line for `silent_seconds`. The default of 20 leaves room
    for a machine so busy that the watching thread is late.
    """

    def __init__(
        self,
        stream: IO[str],
        *,
        every_seconds: float = 10,
        silent_seconds: float = 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._every_seconds, self._silent_seconds = every_seconds, silent_seconds
        self._clock = clock
        self._shown_at: dict[str, float] = {}
        self._last_line = clock()
        self._under_way = UnderWay(clock())
        self._lock = Lock()
        self._closed = Event()
        self._n_paused = 0

    def start(self, tick_seconds: float = TICK_SECONDS) -> None:
        """Watch the clock from now on, until closed."""
        Thread(target=self._watch, args=(tick_seconds,), name="pada-display", daemon=True).start()

    def __call__(self, event: RunEvent) -> None:
        with self._lock:
            progress, now = parse_progress(event), self._clock()
            self._under_way.note(progress, find_ended(event), now)
            if progress and self._is_due(progress, now):
                self._write([f"[{progress.stage}] {describe_progress(progress)}"], now)

    def tick(self) -> None:
        """Say what is running, if nothing was said for too long."""
        with self._lock:
            now = self._clock()
            if now - self._last_line >= self._silent_seconds and not self._n_paused:
                self._write([describe_stage(stage, now) for stage in self._under_way.list_stages()], now)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._n_paused += 1
        try:
            yield
        finally:
            self._n_paused -= 1

    def close(self) -> None:
        self._closed.set()

    def _watch(self, tick_seconds: float) -> None:
        while not self._closed.wait(tick_seconds):
            self.tick()

    def _write(self, lines: list[str], now: float) -> None:
        if lines:
            with surviving(self._stream):
                self._stream.write("".join(f"{line}\n" for line in lines))
                self._stream.flush()
            self._last_line = now

    def _is_due(self, progress: Progress, now: float) -> bool:
        last = self._shown_at.get(progress.stage)
        is_over = progress.done >= progress.total
        if not is_over and (is_bare(progress) or (last is not None and now - last < self._every_seconds)):
            return False
        self._shown_at[progress.stage] = now
        if is_over:
            del self._shown_at[progress.stage]
        return True


def is_bare(progress: Progress) -> bool:
    """Whether it only says that a stage has begun."""
    return progress.total <= 1 and not progress.detail and progress.done < progress.total


def describe_progress(progress: Progress) -> str:
    """Text such as `120/450 steps, 3.2 steps/s, 1:43 left, loss 0.71`."""
    if progress.total <= 1 and progress.done >= progress.total:
        return progress.detail or "done"
    return ", ".join(describe_counts(progress))


def describe_counts(progress: Progress) -> list[str]:
    """The parts of a line with counts. Empty for a stage that counts nothing."""
    if is_bare(progress):
        return []
    return [f"{progress.done}/{progress.total} {progress.unit}".rstrip(), *describe_pace(progress)]


def describe_pace(progress: Progress) -> list[str]:
    """Rate, time left, cost and other details, as far as they are known."""
    parts = []
    if progress.rate:
        parts += [describe_rate(progress.rate, progress.unit), f"{describe_seconds(progress.seconds_left or 0)} left"]
    if progress.cost_usd:
        parts += [f"{dollars(progress.cost_usd)} so far"]
    return [*parts, progress.detail] if progress.detail else parts


def describe_stage(stage: Stage, now: float) -> str:
    """Text such as `[error_analysis] 4/16 errors, 1.5 errors/min, 8:00 left, 2:40 so far`."""
    parts = [*describe_counts(stage.at(now)), f"{describe_seconds(now - stage.began)} so far"]
    return f"[{stage.progress.stage}] {', '.join(parts)}"


def describe_rate(rate: float, unit: str) -> str:
    """Per minute if it is less than one per second."""
    per_second = rate >= 1
    return f"{rate if per_second else 60 * rate:.3g} {unit}".rstrip() + ("/s" if per_second else "/min")


def describe_seconds(seconds: float) -> str:
    """Minutes and seconds, such as `1:43`."""
    return f"{round(seconds) // 60}:{round(seconds) % 60:02}"


class LiveDisplay:
    """One bar with a running clock for each stage in progress. A finished stage leaves a line."""

    def __init__(self, stream: IO[str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._bars = RichBars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=Console(file=stream),
            get_time=clock,
        )
        self._tasks: dict[str, RichTask] = {}
        self._clock = clock
        self._under_way = UnderWay(clock())
        self._bars.start()
        self._draw()

    def __call__(self, event: RunEvent) -> None:
        progress = parse_progress(event)
        self._under_way.note(progress, find_ended(event), self._clock())
        with surviving(self._stream):
            if progress and progress.done >= progress.total:
                line = f"{progress.stage}: {describe_progress(progress)}"
                self._bars.console.print(line, markup=False, highlight=False)
            self._draw()

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._bars.stop()
        yield
        self._bars.start()

    def close(self) -> None:
        with surviving(self._stream):
            self._bars.stop()

    def render(self) -> str:
        """What the bars show now, as text."""
        with self._bars.console.capture() as shown:
            self._bars.console.print(self._bars.get_renderable())
        return shown.get()

    def _draw(self) -> None:
        stages = {s.progress.stage: s.progress for s in self._under_way.list_stages()}
        for stage in self._tasks.keys() - stages.keys():
            self._bars.remove_task(self._tasks.pop(stage))
        for stage, progress in stages.items():
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=None, note="")
            total = None if is_bare(progress) else progress.total
            note = ", ".join(describe_counts(progress))
            self._bars.update(self._tasks[stage], completed=progress.done, total=total, note=note)
