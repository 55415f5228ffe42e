"""Reads from the folders of earlier runs how long jobs, calls and the driver took."""

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any, get_args

from pada_agent.app.estimates.calls import count_voting, count_writing
from pada_agent.app.estimates.rates import Rates
from pada_agent.app.run_folder import layout
from pada_agent.core.chat import Role
from pada_agent.core.compute_config import count_processes
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ConfigError
from pada_agent.core.jobs import TRAIN_METRICS, read_train_metrics
from pada_agent.graph.summary import RunSummary

DRIVER_STAGES = ("leak_guard", "training_errors", "plan_top_up", "label_verification", "record_batch", "augment")
"""Stages in which the driver waits for no job and no LLM."""
ROLES: tuple[Role, ...] = get_args(Role)

_LOADED = re.compile(r"loaded in ([\d.]+) s$")
"""As reported by the worker."""


def measure_rates(folder: Path, assumed: Rates) -> Rates:
    """The rates of the runs in `folder`, which is a run's or an experiment's. What none of them measured is assumed.

    Raises:
        ConfigError: there is no run.
    """
    runs = [_Run(path) for path in _find_runs(folder)]
    if not runs:
        raise ConfigError(
            f"--from {folder}: no run is there. Name the folder of a run (with {layout.CONFIG}) or of an experiment."
        )
    trained = {path: value for run in runs for path, value in run.read_fine_tunings()}
    loaded = [value for run in runs for value in run.load_seconds]
    predicted = [value for run in runs for value in run.predict_row_seconds]
    measured = {
        "train_row_seconds": median(trained.values()) if trained else None,
        "predict_row_seconds": median(predicted) if predicted else None,
        "load_seconds": median(loaded) if loaded else None,
        "attempts": _mean(run.measure_attempts() for run in runs),
        "start_seconds": _mean(run.start_seconds for run in runs),
        "iteration_seconds": _mean(run.measure_driver() for run in runs),
    }
    seconds = {role: [s for run in runs for s in run.read_calls(role)] for role in ROLES}
    calls = {role: fmean(found) for role, found in seconds.items() if found}
    found = {name: value for name, value in measured.items() if value is not None}
    missing = [_WORDS[name] for name in measured if name not in found]
    missing += [f"calls of the {role}" for role in ROLES if role not in calls]
    return assumed.model_copy(
        update={
            **found,
            "call_seconds": {**assumed.call_seconds, **calls},
            "source": f"measured in {folder} ({len(trained)} fine-tunings, {len(predicted)} evaluations)"
            + (f"; assumed: {', '.join(missing)}" if missing else ""),
        }
    )


_WORDS = {
    "train_row_seconds": "fine-tuning",
    "predict_row_seconds": "evaluation",
    "load_seconds": "loading",
    "attempts": "how often rows are written",
    "start_seconds": "the start of a run",
    "iteration_seconds": "the driver's work in an iteration",
}


def _find_runs(folder: Path) -> Iterator[Path]:
    return (path.parent for path in sorted([*folder.glob(layout.CONFIG), *folder.glob(f"*/{layout.CONFIG}")]))


def _mean(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return fmean(found) if found else None


class _Run:
    """One run's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._config: RunConfig = layout.load_run_config(folder)
        self._summary: RunSummary | None = layout.load_summary(folder) if layout.is_finished(folder) else None
        self.load_seconds: list[float] = []
        self.predict_row_seconds: list[float] = []
        self.start_seconds: float | None = None
        self._read_events()

    def read_fine_tunings(self) -> Iterator[tuple[Path, float]]:
        """Adapters of the run, or of all runs it shares its objects with, and the seconds for a row on one GPU."""
        n_gpus = count_processes(self._config.compute)
        for path in self._folder.glob(f"objects/fine_tune-*/{TRAIN_METRICS}"):
            found = read_train_metrics(path.parent)
            if found.seconds and found.n_steps:
                yield path.resolve(), n_gpus * found.seconds / (found.n_steps * self._config.lora.batch_size)

    def read_calls(self, role: Role) -> list[float]:
        """Seconds of each call that the run has paid for."""
        return [float(seconds) for (seconds,) in self._ask("SELECT seconds FROM calls WHERE role = ?", role)]

    def measure_attempts(self) -> float | None:
        """How often each row was written. Replies taken from the store count too."""
        if not self._summary or not (n_iterations := self._count_iterations()):
            return None
        plain = next(model for model in self._summary.models if model.iteration == 0)
        n_rows = self._config.generation.count_rows(plain.n_train_rows)
        n_least = n_iterations * (count_writing(self._config, n_rows) + count_voting(self._config, n_rows))
        asked = "SELECT count(*) FROM calls WHERE role = ? UNION ALL SELECT count(*) FROM hits WHERE role = ?"
        n_asked = sum(int(n) for (n,) in self._ask(asked, "generator", "generator"))
        return n_asked / n_least if n_least and n_asked else None

    def measure_driver(self) -> float | None:
        """Seconds of the driver's own work in an iteration."""
        if not self._summary or not (n_iterations := self._count_iterations()):
            return None
        return sum(self._summary.seconds_by_stage.get(stage, 0.0) for stage in DRIVER_STAGES) / n_iterations

    def _count_iterations(self) -> int:
        return sum(bool(model.iteration) for model in self._summary.models) if self._summary else 0

    def _ask(self, query: str, *values: str) -> list[Any]:
        path = self._folder / layout.CALLS
        if not path.is_file():
            return []
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
                return db.execute(query, values).fetchall()
        except sqlite3.Error:
            return []  # a run that is being written, or one of an older version

    def _read_events(self) -> None:
        """What workers reported. Arrival times say little, because the driver hears from parallel jobs one after the other."""
        started = self._read_start()
        for time, data in _read_lines(self._folder / layout.EVENTS):
            if "prepare" in data and started is not None and self.start_seconds is None:
                self.start_seconds = max(0.0, time - started)
            is_over = data.get("done") == data.get("total")
            if is_over and data.get("stage") == "predict" and (rate := data.get("rate")):
                self.predict_row_seconds.append(1 / rate)
            elif is_over and data.get("stage") == "load" and (loaded := _LOADED.search(str(data.get("detail")))):
                self.load_seconds.append(float(loaded[1]))

    def _read_start(self) -> float | None:
        path = self._folder / layout.MANIFEST
        with suppress(OSError, ValueError):  # as of a run of another version
            return datetime.fromisoformat(layout.Manifest.model_validate_json(path.read_bytes()).started_at).timestamp()
        return None


def _read_lines(path: Path) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """Time and data of each event. A run that was killed may leave half a line."""
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else ():
        try:
            event = json.loads(line)
            yield datetime.fromisoformat(event["time"]).timestamp(), event["data"]
        except (ValueError, TypeError, KeyError):
            continue
