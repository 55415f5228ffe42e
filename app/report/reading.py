"""Reads what a report shows from a run's folder. What cannot be read is listed as missing."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from pada_agent.app.adapters.llm.response_cache import read_totals_by_agent
from pada_agent.app.adapters.storage.artifacts import FileArtifactStore
from pada_agent.app.run_folder import layout
from pada_agent.core.damage import word_damage
from pada_agent.core.errors import ArtifactError
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
from pada_agent.core.selection import Selected
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
    trained: dict[str, tuple[Example, ...]]
    """Rows that each iteration added to the training data. Without iterations that trained nothing."""
    selected: dict[str, tuple[Selected, ...]] = Field(default_factory=dict)
    """Which rows were chosen for training, by iteration. Without iterations that trained on all."""
    sensitivities: dict[str, Sensitivity] = Field(default_factory=dict)
    """How the grouping of errors changes with other choices, by iteration."""
    usage_by_agent: dict[str, Usage]
    settings: str
    """Text of `config.yaml`. Empty if there is none."""
    manifest: layout.Manifest | None
    elapsed_seconds: float | None
    """From the first event to the last, including pauses. None if unknown."""
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
    return RunFiles(
        summary=summary,
        is_finished=is_finished,
        measured={model.name: rows.read(model.measured, ScoredRow) for model in summary.models if model.measured},
        analyses={iteration: rows.read(ref, ErrorAnalysis) for iteration, ref in summary.analyses.items()},
        batches=batches,
        accepted={batch.batch_id: rows.read(batch.accepted, Example) for batch in batches},
        rejected={batch.batch_id: rows.read(batch.rejected, Rejection) for batch in batches},
        ratings={b.batch_id: rows.read(b.ratings, Rating) for b in batches if b.ratings},
        trained={str(a.iteration): rows.read(a.synthetic[-1], Example) for a in summary.models if a.synthetic},
        selected={iteration: rows.read(ref, Selected) for iteration, ref in summary.selections.items()},
        sensitivities=_read_sensitivities(summary, folder, is_finished=is_finished),
        usage_by_agent=usage_by_agent,
        settings=_read_text(folder / layout.CONFIG),
        manifest=manifest,
        elapsed_seconds=_read_elapsed(folder / layout.EVENTS),
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
        return tuple(chain.from_iterable(self.read(told.reports, BatchReport) for told in rounds))

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
                raise ArtifactError(
                    f"{path}: damaged ({word_damage(exc)}). Delete it; the report is then written without it."
                ) from exc
    return {str(iteration): found for iteration, found in measured.items() if found}


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _read_manifest(path: Path) -> layout.Manifest | None:
    text = _read_text(path)
    try:
        return layout.Manifest.model_validate_json(text) if text else None
    except ValueError as exc:
        raise ArtifactError(f"{path}: damaged ({word_damage(exc)})") from exc


def _read_elapsed(path: Path) -> float | None:
    """Time between the first and the last line that has a time. A run that was killed may leave half a line."""
    lines = _read_text(path).split("\n")
    start = next(filter(None, map(_read_time, lines)), None)
    end = next(filter(None, map(_read_time, reversed(lines))), None)
    return (end - start).total_seconds() if start and end and start != end else None


def _read_time(line: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(json.loads(line)["time"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
