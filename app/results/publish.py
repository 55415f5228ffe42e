"""Writes the readable results of a run: its objects under names that people look for."""

import json
import os
import shutil
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pada_agent.app.adapters.storage.artifacts import explain_writing, make_folder, write_atomically
from pada_agent.app.report.document import write_report
from pada_agent.app.results.accepted_rows import explain_rows
from pada_agent.app.results.cards import write_adapter_card
from pada_agent.app.run_folder import layout
from pada_agent.core.durability import sync
from pada_agent.core.errors import ArtifactError
from pada_agent.core.jobs import read_train_metrics
from pada_agent.core.json_lines import to_json_lines
from pada_agent.core.ports import ArtifactStore
from pada_agent.core.records import ErrorAnalysis, Example, Metrics, Rating, Record, Ref, Rejection, ScoredRow
from pada_agent.graph.batch_rounds import read_reports
from pada_agent.graph.summary import ModelResult, RunSummary

RecordT = TypeVar("RecordT", bound=Record)

TEST, VALIDATION = "test.jsonl", "validation.jsonl"
"""In a model's `predictions/`: every row with answer and verdict."""


def publish_run(summary: RunSummary, folder: Path, store: ArtifactStore) -> None:
    """Write `iterations/`, `best/`, `reviews.jsonl` (people's decisions), `report.html` and, last, `summary.json`,
    whose presence marks the run as finished.

    They replace what an earlier run in this folder, such as the one that this run is a fork of, has published. A run that is
    killed meanwhile has no summary, and so publishes again when it is resumed.
    """
    with explain_writing(folder):
        (folder / layout.SUMMARY).unlink(missing_ok=True)
    written = set(_write_iterations(summary, folder / "iterations", store))
    with explain_writing(folder / "iterations"):
        _remove_others(folder / "iterations", written)
    _write_best(summary, folder, store)
    _write_rows(folder / "reviews.jsonl", summary.reviews)
    write_report(summary, folder, store=store)
    write_atomically(folder / layout.SUMMARY, summary.model_dump_json(indent=2) + "\n")


def read_tested(folder: Path, model: ModelResult) -> list[ScoredRow]:
    """Every test row with the model's answer and verdict, from the run in `folder`.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    return _read_scored(folder / "iterations" / _folder_name(model) / "predictions" / TEST, model, model.test)


def read_validated(folder: Path, model: ModelResult) -> list[ScoredRow]:
    """The same for validation rows.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    return _read_scored(
        folder / "iterations" / _folder_name(model) / "predictions" / VALIDATION, model, model.validation
    )


def _read_scored(path: Path, model: ModelResult, measured: Metrics | None) -> list[ScoredRow]:
    if not path.exists():
        raise ArtifactError(f"{path}: missing. '{model.name}' was not measured on these rows")
    rows = layout.read_lines(path, ScoredRow)
    if measured and len(rows) < measured.n:
        raise ArtifactError(
            f"{path}: contains {len(rows)} of {measured.n} rows; the file is damaged. Restore a copy of it."
        )
    return rows


def _folder_name(model: ModelResult) -> str:
    return "untouched" if model.iteration is None else str(model.iteration)


def _write_iterations(summary: RunSummary, folder: Path, store: ArtifactStore) -> Iterator[Path]:
    """Yields the path of each file that was written."""
    for model in summary.models:
        yield from _write_iteration(model, folder / _folder_name(model), store)
    # Also of an iteration that left nothing to train on, and so no model.
    for iteration in {found.iteration for found in summary.patterns} | {
        model.iteration or 0 for model in summary.models
    }:
        if iteration:
            yield from _write_augmentation(iteration, summary, folder / str(iteration), store)


def _remove_others(folder: Path, written: Container[Path]) -> None:
    """Remove everything from the folder but these files, and folders that are left empty."""
    for path in folder.iterdir():
        if path.is_symlink() or not path.is_dir():
            if path not in written:
                path.unlink()
            continue
        _remove_others(path, written)
        if not any(path.iterdir()):
            path.rmdir()


def _write_iteration(model: ModelResult, folder: Path, store: ArtifactStore) -> Iterator[Path]:
    make_folder(folder / "predictions")
    yield write_atomically(folder / "metrics.json", model.model_dump_json(indent=2) + "\n")
    if model.measured:
        yield _write_rows(folder / "predictions" / VALIDATION, store.read_rows(model.measured.key, ScoredRow))
    if model.tested:
        yield _write_rows(folder / "predictions" / TEST, store.read_rows(model.tested.key, ScoredRow))
    if model.adapter:
        yield _link(folder / "adapter", Path(os.path.relpath(_locate(model.adapter, store), folder)))


def _write_augmentation(iteration: int, summary: RunSummary, folder: Path, store: ArtifactStore) -> Iterator[Path]:
    """Write what the agents found and wrote in this iteration."""
    make_folder(folder)
    found = next((p for p in summary.patterns if p.iteration == iteration), None)
    pairs = found.patterns if found else ()
    yield write_atomically(folder / "patterns.json", _to_json([pair.pattern for pair in pairs]))
    yield write_atomically(folder / "strategies.json", _to_json(found.strategies if found else ()))
    if analyses := summary.analyses.get(str(iteration)):
        yield _write_rows(folder / "error_analyses.jsonl", store.read_rows(analyses.key, ErrorAnalysis))
    batches = read_reports(summary.batches, store, iteration=iteration)
    yield _write_rows(folder / "batches.jsonl", batches)
    # What was trained on: without repeats between batches, and as a person left it.
    added = [model.synthetic[-1] for model in summary.models if model.iteration == iteration and model.synthetic]
    trained = _read_all(added, Example, store)
    left_out = summary.left_out.get(str(iteration))
    rejected = _read_all([*(b.rejected for b in batches), *([left_out] if left_out else [])], Rejection, store)
    ratings = {r.example_id: r for r in _read_all([b.ratings for b in batches if b.ratings], Rating, store)}
    by_id = {b.batch_id: b for b in batches}
    rows = explain_rows(trained, by_id, ratings, rejected)
    yield _write_rows(folder / "synthetic.jsonl", rows)
    yield _write_rows(folder / "rejected.jsonl", rejected)


def _write_best(summary: RunSummary, folder: Path, store: ArtifactStore) -> None:
    """Copy the best adapter, so that the folder can be moved away on its own."""
    shutil.rmtree(folder / "best", ignore_errors=True)
    if summary.adapter is None:
        return
    if Path(summary.adapter).parent != Path("objects"):
        raise ArtifactError(
            f"{folder}: its summary names {summary.adapter} as the best adapter, which is not one of its objects"
        )
    adapter = _locate(summary.adapter, store)
    base = read_train_metrics(adapter).base_sha256
    with explain_writing(folder / "best"):
        shutil.copytree(adapter, folder / "best", ignore=shutil.ignore_patterns("README.md"))
    config = layout.load_run_config(folder) if (folder / layout.CONFIG).is_file() else None
    origins = [row.provenance for row in _read_all(summary.best.synthetic, Example, store)]
    n_real = sum(origin is not None and origin.branch == "held_back" for origin in origins)
    card = write_adapter_card(summary, summary.best, base, config, n_real=n_real)
    write_atomically(folder / "best" / "README.md", card)
    with explain_writing(folder / "best"):
        sync(folder / "best")


def _locate(adapter: str, store: ArtifactStore) -> Path:
    """The folder of an adapter that the summary names `objects/KEY`. Unlike `store.folder`, this creates nothing."""
    return store.rows_path(Path(adapter).name).parent


def _read_all(refs: Iterable[Ref], kind: type[RecordT], store: ArtifactStore) -> list[RecordT]:
    return [row for ref in refs for row in store.read_rows(ref.key, kind)]


def _write_rows(path: Path, rows: Sequence[Record]) -> Path:
    return write_atomically(path, to_json_lines(rows))


def _to_json(rows: Sequence[Record]) -> str:
    return json.dumps([row.model_dump(mode="json") for row in rows], ensure_ascii=False, indent=2) + "\n"


def _link(link: Path, target: Path) -> Path:
    """Make a relative link, or a file with the target's name if the system does not allow links."""
    if link.is_dir() and not link.is_symlink():  # the run was copied with what its links point to
        shutil.rmtree(link, ignore_errors=True)
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    except OSError:
        return write_atomically(link.with_suffix(".path"), f"{target}\n")
    return link
