"""Runs several runs of an experiment at the same time, in threads of one process."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from threading import Lock

from pada_agent.app import wiring
from pada_agent.app.experiment.grid import Cell
from pada_agent.app.run_folder.events import OnEvent, RunEvent
from pada_agent.app.runs import stopping
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import PadaError

POLL_SECONDS = 0.1
"""Time between two checks whether the user stops the runs."""
N_NAMED = 3
"""Maximum number of runs that an error names."""

Say = Callable[[str], None]
Start = Callable[[Cell, OnEvent, Say], None]


class SideBySide:
    """The runs of one command. Each runs once, however often it is named, and at most `n_at_once` run at the same time.

    A run that fails does not stop the others. A signal stops all of them, and no run begins after it.
    """

    def __init__(self, start: Start, n_at_once: int, *, on_event: OnEvent, say: Say, way_on: str) -> None:
        self._start = start
        self._pool = ThreadPoolExecutor(n_at_once, thread_name_prefix="pada-run")
        self._on_event = on_event
        self._say = say
        self._way_on = way_on
        self._one_speaks = Lock()
        self._runs: dict[str, Future[None]] = {}
        self._under_way: dict[str, RunConfig] = {}
        self._is_stopped = False

    def run(self, groups: Iterable[Sequence[Cell]], after_group: Callable[[Sequence[Cell]], None]) -> None:
        """Run all of them, started in this order, and call `after_group` for each group whose runs have all succeeded.

        Raises:
            PadaError: lists all runs that failed.
            KeyboardInterrupt: the runs were stopped.
        """
        groups = list(groups)
        signals = stopping.obeying_signals(
            self._stop,
            way_on=self._way_on,
            count_calls=lambda: sum(map(wiring.count_calls_under_way, self._under_way.copy().values())),
            seconds=lambda: max(map(stopping.find_seconds, self._under_way.copy().values()), default=0.0),
        )
        with self._pool, signals:
            for cell in (cell for group in groups for cell in group):
                if cell.config.name not in self._runs:
                    self._runs[cell.config.name] = self._pool.submit(self._run_one, cell)
            for group in groups:
                runs = [self._runs[cell.config.name] for cell in group]
                self._wait_for(runs)
                if not any(run.exception() for run in runs):
                    with suppress(PadaError):  # the table, which reads them too, tells it at the end
                        after_group(group)
        if self._is_stopped:
            raise KeyboardInterrupt
        raise_errors({name: error for name, run in self._runs.items() if (error := run.exception())}, len(self._runs))

    def say(self, text: str) -> None:
        with self._one_speaks:
            self._say(text)

    def _run_one(self, cell: Cell) -> None:
        config = cell.config

        def show(event: RunEvent) -> None:
            with self._one_speaks:
                self._on_event(event.model_copy(update={"run": config.name}))

        self._under_way[config.name] = config
        try:
            if self._is_stopped:
                raise KeyboardInterrupt
            self._start(cell, show, self.say)
        except Exception as exc:
            self.say(f"{config.name} failed, the other runs continue: {exc}")
            raise
        finally:
            del self._under_way[config.name]

    def _stop(self) -> None:
        """Called by the signal handler, so it only leaves a mark. The waiting thread stops the runs repeatedly, because one may just be starting."""
        self._is_stopped = True

    def _wait_for(self, runs: Sequence["Future[None]"]) -> None:
        while wait(runs, timeout=POLL_SECONDS).not_done:
            if self._is_stopped:
                for config in self._under_way.copy().values():
                    wiring.stop(config)


def raise_errors(errors: Mapping[str, BaseException], n_runs: int) -> None:
    """Raise one error for all runs that failed, with equal messages grouped. A bug of ours is raised unchanged.

    Raises:
        PadaError: a run failed.
    """
    by_text: dict[str, list[str]] = {}
    for name, error in errors.items():
        if not isinstance(error, PadaError):
            raise error
        by_text.setdefault(str(error), []).append(name)
    if by_text:
        problems = [f"{_list_names(names)}: {text}" for text, names in by_text.items()]
        raise PadaError("\n".join([f"{len(errors)} of {n_runs} runs failed.", *problems]))


def _list_names(names: Sequence[str]) -> str:
    more = len(names) - N_NAMED
    return ", ".join(names[:N_NAMED]) + (f" and {more} more" if more > 0 else "")
