"""Reads what a report shows from a run's folder. What cannot be read is listed as missing."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import Field

from pada_agent.app.adapters.llm.response_cache import read_totals_by_agent
from pada_agent.app.adapters.storage.artifacts import FileArtifactStore
from pada_agent.app.prerequisites import list_roles, list_unpriced
from pada_agent.app.run_folder import layout
from pada_agent.app.run_folder.events import SESSION_START
from pada_agent.app.run_folder.versions import refuse_content
from pada_agent.core.errors import ArtifactError, PadaError
from pada_agent.core.groupings import Sensitivity
from pada_agent.core.ports import ArtifactStore
from pada_agent.core.records import (
    BatchReport,
    ErrorAnalysis,
    Example,
    Rating,
    Record,
    Ref,
    Rejection,
    ScoredRow,
    Usage,
)
from pada_agent.graph.batch_rounds import BatchRound
from pada_agent.graph.summary import RunSummary

RecordT = TypeVar("RecordT", bound=Record)
ReadT = TypeVar("ReadT")


class RunFiles(Record):
    """The contents of a run's folder that a report needs."""

    summary: RunSummary
    is_finished: bool
    measured: dict[str, tuple[ScoredRow, ...]]
    """Every validation row with answer and verdict, by model."""
    analyses: dict[str, tuple[ErrorAnalysis, ...]]
    """Error analyses, by iteration."""
    batches: tuple[BatchReport, ...]
    accepted: dict[str, tuple[Example, ...]]
    """Accepted rows, by batch id."""
    rejected: dict[str, tuple[Rejection, ...]]
    """Rejections, by batch id."""
    ratings: dict[str, tuple[Rating, ...]] = Field(default_factory=dict)
    """The judge's ratings of accepted rows, by batch id. Without batches in which nothing was rated."""
    left_out: dict[str, tuple[Rejection, ...]] = Field(default_factory=dict)
    """Accepted rows that did not join the training data, by iteration."""
    trained: dict[str, tuple[Example, ...]]
    """Rows that each iteration added to the training data. Without iterations that trained nothing."""
    sensitivities: dict[str, Sensitivity] = Field(default_factory=dict)
    """How the grouping of errors changes with other choices, by iteration."""
    usage_by_agent: dict[str, Usage]
    unpriced: tuple[str, ...] = ()
    """Roles that were asked, may cost money and have no price."""
    settings: str
    """Text of `config.yaml`. Empty if there is none."""
    manifest: layout.Manifest | None
    elapsed_seconds: float | None
    """Time during which the run was running. None if unknown."""
    whole_seconds: float | None = None
    """From the first event to the last, with pauses. None if unknown."""
    missing: tuple[str, ...]
    """Why something is not shown, one line each."""


def read_files(
    summary: RunSummary, folder: Path, *, is_finished: bool = True, store: ArtifactStore | None = None
) -> RunFiles:
    """Read everything besides the summary, using the summary's references into the store (None: the objects in the folder)."""
    rows = _Rows(store or FileArtifactStore(folder / "objects"))
    batches = rows.read_reports(summary.batches)
    usage_by_agent: dict[str, Usage] = rows.note(lambda: read_totals_by_agent(folder / layout.CALLS), {})
    manifest = rows.note(lambda: _read_manifest(folder / layout.MANIFEST), None)
    elapsed = read_elapsed(folder / layout.EVENTS)
    return RunFiles(
        summary=summary,
        is_finished=is_finished,
        measured={model.name: rows.read(model.measured, ScoredRow) for model in summary.models if model.measured},
        analyses={iteration: rows.read(ref, ErrorAnalysis) for iteration, ref in summary.analyses.items()},
        batches=batches,
        accepted={batch.batch_id: rows.read(batch.accepted, Example) for batch in batches},
        rejected={batch.batch_id: rows.read(batch.rejected, Rejection) for batch in batches},
        ratings={b.batch_id: rows.read(b.ratings, Rating) for b in batches if b.ratings},
        left_out={iteration: rows.read(ref, Rejection) for iteration, ref in summary.left_out.items()},
        trained={str(a.iteration): rows.read(a.synthetic[-1], Example) for a in summary.models if a.synthetic},
        sensitivities=_read_sensitivities(summary, folder, is_finished=is_finished),
        usage_by_agent=usage_by_agent,
        unpriced=_list_unpriced(folder, summary, usage_by_agent),
        settings=_read_text(folder / layout.CONFIG),
        manifest=manifest,
        elapsed_seconds=elapsed and elapsed.running,
        whole_seconds=elapsed and elapsed.whole,
        missing=tuple(rows.missing),
    )


class _Rows:
    """Reads rows from the store, and notes what is missing, for example in a folder that was copied without its objects."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self.missing: list[str] = []

    def read(self, ref: Ref, kind: type[RecordT]) -> tuple[RecordT, ...]:
        nothing: tuple[RecordT, ...] = ()
        rows = self.note(lambda: tuple(self._store.read_rows(ref.key, kind)), nothing)
        if rows and len(rows) != ref.rows:
            self.missing.append(f"{self._store.rows_path(ref.key)}: damaged ({len(rows)} rows in place of {ref.rows})")
        return rows

    def read_reports(self, rounds: Sequence[BatchRound]) -> tuple[BatchReport, ...]:
        return tuple(chain.from_iterable(self.read(batch_round.reports, BatchReport) for batch_round in rounds))

    def note(self, read: Callable[[], ReadT], otherwise: ReadT) -> ReadT:
        """The result of `read`. If that is missing or damaged, notes this and returns `otherwise`."""
        try:
            return read()
        except ArtifactError as exc:
            self.missing.append(str(exc))
            return otherwise


def sensitivity_path(folder: Path, iteration: int) -> Path:
    """File written by `pada report --embedder` for a finished run. It replaces what the run itself measured, until it publishes again."""
    return folder / "iterations" / str(iteration) / "grouping.json"


def _read_sensitivities(summary: RunSummary, folder: Path, *, is_finished: bool) -> dict[str, Sensitivity]:
    """What the run measured or, for a finished one, what `pada report --embedder` replaced it with."""
    measured = {found.iteration: found.sensitivity for found in summary.patterns}
    for iteration in measured if is_finished else ():
        if text := _read_text(path := sensitivity_path(folder, iteration)):
            try:
                measured[iteration] = Sensitivity.model_validate_json(text)
            except ValueError as exc:
                advice = "Delete it; the report is then written without it."
                raise refuse_content(path, exc, folder=folder, if_damaged=advice) from exc
    return {str(iteration): found for iteration, found in measured.items() if found}


def _list_unpriced(folder: Path, summary: RunSummary, usage_by_agent: Mapping[str, Usage]) -> tuple[str, ...]:
    """Every role counts as asked in an unfinished run, whose calls are known by agent only. Empty if the settings cannot be read."""
    try:
        config = layout.load_run_config(folder)
    except PadaError:
        return ()
    whole = sum(usage_by_agent.values(), Usage())
    return list_unpriced(config, summary.usage or dict.fromkeys(list_roles(config), whole))


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _read_manifest(path: Path) -> layout.Manifest | None:
    text = _read_text(path)
    try:
        return layout.Manifest.model_validate_json(text) if text else None
    except ValueError as exc:
        raise refuse_content(path, exc, folder=path.parent, if_damaged="") from exc


class Elapsed(NamedTuple):
    """Seconds that a run took: those during which it was running, and all, with pauses."""

    running: float
    whole: float


def read_elapsed(path: Path) -> Elapsed | None:
    """From the lines that have a time. A run that was killed may leave half a line.

    What passed before a start or resume was a pause. A clock that is set back costs the time since the last event.
    """
    events = [event for line in _read_text(path).split("\n") if (event := _read_event(line))]
    steps = [(max(0.0, (b.time - a.time).total_seconds()), b.is_start) for a, b in pairwise(events)]
    whole = sum(seconds for seconds, _ in steps)
    return Elapsed(sum(seconds for seconds, is_pause in steps if not is_pause), whole) if whole else None


class _TimedEvent(NamedTuple):
    time: datetime
    is_start: bool
    """Whether a start or resume wrote it."""


def _read_event(line: str) -> _TimedEvent | None:
    try:
        event = json.loads(line)
        time = datetime.fromisoformat(event["time"])
        is_start = event.get("mode") == "custom" and event["data"].get("stage") == SESSION_START
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return _TimedEvent(time if time.tzinfo else time.replace(tzinfo=UTC), is_start)
