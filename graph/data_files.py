"""Fetches and reads the files of a run. The `prepare` node and `pada check` both use this."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Literal, NamedTuple

from pada_agent.core.config import DataConfig, RunConfig
from pada_agent.core.errors import ConfigError, DatasetError, PadaError
from pada_agent.core.ports import DatasetSource
from pada_agent.core.raw_rows import RawRow
from pada_agent.evaluation.rows.label_counts import count_labels
from pada_agent.evaluation.rows.reading import ReadFile, Understood, read_files, tell_apart
from pada_agent.evaluation.task import Task

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
FileName = Literal["train", "validation", "test", "held_back"]

LOOK_AHEAD = 20_000
"""Number of rows after a limit whose labels are examined to find out whether a file is sorted."""
MAX_COLUMNS_TOLD = 12


class FilesRead(NamedTuple):
    """The files of a run, as far as they can be read."""

    files: dict[FileName, ReadFile]
    problems: list[PadaError]
    """Why files and rows cannot be read, or which files neither settings nor input name."""


def read_run_files(settings: RunConfig, given: Mapping[str, Any], *, datasets: DatasetSource, task: Task) -> FilesRead:
    """All rows of a run.

    `held_back` are real rows for the oracle. They are read only if the settings use them, and none shares an id with a
    training row.

    Args:
        given: the graph's input. Rows in it replace those of the files.
    """
    raw, problems = _fetch_all(settings, given, datasets)
    all_turns = [name == "train" and settings.task.turns == "all" for name in raw]
    try:
        read = read_files(task, list(raw.values()), all_turns=all_turns)
    except DatasetError as exc:
        return FilesRead({}, [*problems, exc])
    files = dict(zip(raw, read, strict=True))
    if held_back := files.get("held_back"):
        ids = {example.id for example in files["train"].examples} if "train" in files else set()
        files["held_back"] = held_back._replace(examples=tell_apart(held_back.examples, taken=ids))
    return FilesRead(files, [*problems, *(problem for file in read for problem in file.problems)])


def count_labels_further_down(
    settings: RunConfig, given: Mapping[str, Any], *, datasets: DatasetSource, task: Task
) -> dict[Split, dict[str, int]]:
    """Number of rows per label among those that a limit leaves out, by split.

    Only for closed label sets and files that are read in their own order.
    """
    data = settings.data
    found: dict[Split, dict[str, int]] = {}
    for split in SPLITS if settings.task.labels and data.shuffle is None else ():
        limit, location = getattr(data, f"{split}_limit"), getattr(data, split)
        is_drawn = split == "train" and data.train_shuffle is not None
        if (
            not limit
            or not location
            or location.startswith("hub:")
            or not isinstance(given.get(split, ""), str)
            or is_drawn
        ):
            continue
        with suppress(DatasetError):
            rows = datasets.read(location, limit=limit + LOOK_AHEAD)
            _, further = read_files(task, [rows[:limit], rows[limit:]])  # together they show how labels are given
            found[split] = count_labels(task, further.examples)
    return found


def warn_about(files: Mapping[FileName, ReadFile]) -> list[str]:
    """What a person should know about how the files were read, one line each. A line that applies to several files names them all."""
    understood = [file.understood for file in files.values() if file.examples]
    places: dict[str, list[str]] = {}
    for found in understood:
        for note in _list_notes(found):
            places.setdefault(note, []).append(found.location)
    return [f"{', '.join(dict.fromkeys(locations))}: {note}" for note, locations in places.items()]


def _list_notes(found: Understood) -> list[str]:
    names = ", ".join(found.unused[:MAX_COLUMNS_TOLD]) + (", …" if len(found.unused) > MAX_COLUMNS_TOLD else "")
    return [*([f"columns that are not used: {names}"] if found.unused else []), *found.notes]


def _fetch_all(
    settings: RunConfig, given: Mapping[str, Any], datasets: DatasetSource
) -> tuple[dict[FileName, list[RawRow]], list[PadaError]]:
    """The rows of each file, and why files could not be fetched."""
    data = settings.data
    wants_real_rows = settings.generation.sources == "held_back"
    found: dict[FileName, list[RawRow]] = {}
    problems: list[PadaError] = []

    def fetch(name: FileName, fetch_rows: Callable[[], list[RawRow]]) -> None:
        try:
            found[name] = fetch_rows()
        except PadaError as exc:
            problems.append(exc)

    def fetch_train() -> list[RawRow]:
        rows, left_over = _fetch_train(settings, given, datasets)
        if wants_real_rows and not data.held_back:
            found["held_back"] = left_over
        return rows

    fetch("train", fetch_train)
    fetch("validation", lambda: _fetch("validation", data, given, datasets))
    if data.test or not _is_empty(given.get("test")):
        fetch("test", lambda: _fetch("test", data, given, datasets))
    if wants_real_rows and data.held_back:
        fetch("held_back", lambda: datasets.read(data.held_back, shuffle=data.shuffle))
    return found, problems


def _is_empty(rows: object) -> bool:
    """Whether the input gives no rows: nothing, or an empty list. A DataFrame has no truth value."""
    return rows is None or (isinstance(rows, list | tuple) and not rows)


def _fetch_train(
    settings: RunConfig, given: Mapping[str, Any], datasets: DatasetSource
) -> tuple[list[RawRow], list[RawRow]]:
    """Training rows, and the rows left over by the limit if the settings use them as held-back rows."""
    data = settings.data
    wants_left_over = settings.generation.sources == "held_back" and not data.held_back
    if data.train_shuffle is None and not wants_left_over:
        return _fetch("train", data, given, datasets), []
    rows: Sequence[RawRow] = _fetch("train", data.model_copy(update={"train_limit": None}), given, datasets)
    if data.train_shuffle is not None:
        rows = Random(f"train-order/{data.train_shuffle}").sample(rows, len(rows))
    return list(rows[: data.train_limit]), list(rows[data.train_limit :]) if data.train_limit else []


def _fetch(split: Split, data: DataConfig, given: Mapping[str, Any], datasets: DatasetSource) -> list[RawRow]:
    rows, location, limit = given.get(split), getattr(data, split), getattr(data, f"{split}_limit")
    if isinstance(rows, list | tuple):
        return datasets.accept(rows, location=f"input.{split}", limit=limit, shuffle=data.shuffle)
    if rows is not None and not isinstance(rows, str):
        raise ConfigError(
            f"input.{split}: expected a location as text, or a list of rows, but found {type(rows).__name__}. A DataFrame"
            " becomes such a list with .to_dict('records'), a Dataset with .to_list(), and a path with str()"
        )
    if not location:
        raise ConfigError(
            f"data.{split}: no rows given. Set it to a .jsonl, .json, .csv, .tsv or .parquet path or hub:owner/name/split"
        )
    return datasets.read(location, limit=limit, shuffle=data.shuffle)
