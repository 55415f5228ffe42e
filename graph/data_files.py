"""The files of a run, fetched and read in one way: what `prepare` works with, and what a check shows."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Literal

from pada_agent.core.config import DataConfig, RunConfig
from pada_agent.core.errors import ConfigError, DatasetError
from pada_agent.core.ports import DatasetSource, RawRow
from pada_agent.evaluation.rows.reading import ReadFile, Understood, read_files, tell_apart
from pada_agent.evaluation.task import Task

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
FileName = Literal["train", "validation", "test", "held_back"]


def read_run_files(
    settings: RunConfig,
    given: Mapping[str, Any],
    *,
    datasets: DatasetSource,
    task: Task,
    problems: list[DatasetError] | None = None,
) -> dict[FileName, ReadFile]:
    """All rows of a run. `given` is the graph's input, whose rows take the place of files.

    `held_back` are real rows for the oracle, there only where settings take them; none of their ids is one of training.

    Raises:
        ConfigError: settings and input name no rows for training or validation.
        DatasetError: names the row; unless it is told in `problems`.
    """
    raw = _fetch_all(settings, given, datasets)
    all_turns = [name == "train" and settings.task.turns == "all" for name in raw]
    read = dict(zip(raw, read_files(task, list(raw.values()), all_turns=all_turns, problems=problems), strict=True))
    if held_back := read.get("held_back"):
        ids = {example.id for example in read["train"].examples}
        read["held_back"] = held_back._replace(examples=tell_apart(held_back.examples, taken=ids))
    return read


def warn_about(files: Mapping[FileName, ReadFile]) -> list[str]:
    """What a person should know of how the files were read, a line each."""
    understood = {name: file.understood for name, file in files.items() if file.examples}
    return list(dict.fromkeys(line for found in understood.values() for line in _warn_about(found)))


def _warn_about(found: Understood) -> list[str]:
    unused = f"{found.location}: columns that are not used: {', '.join(found.unused)}"
    return ([unused] if found.unused else []) + [f"{found.location}: {note}" for note in found.notes]


def _fetch_all(settings: RunConfig, given: Mapping[str, Any], datasets: DatasetSource) -> dict[FileName, list[RawRow]]:
    data = settings.data
    train, left_over = _fetch_train(settings, given, datasets)
    found: dict[FileName, list[RawRow]] = {"train": train}
    found["validation"] = _fetch("validation", data, given, datasets)
    if data.test or given.get("test"):
        found["test"] = _fetch("test", data, given, datasets)
    if settings.generation.sources == "held_back":
        found["held_back"] = datasets.read(data.held_back, shuffle=data.shuffle) if data.held_back else left_over
    return found


def _fetch_train(
    settings: RunConfig, given: Mapping[str, Any], datasets: DatasetSource
) -> tuple[list[RawRow], list[RawRow]]:
    """Training rows, and those that the limit leaves over where they are wanted (otherwise they are not read)."""
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
    if isinstance(rows, list):
        return datasets.accept(rows, location=f"input.{split}", limit=limit, shuffle=data.shuffle)
    if not location:
        raise ConfigError(
            f"data.{split}: no rows given. Set it to a .jsonl, .json, .csv, .tsv or .parquet path or hub:owner/name/split"
        )
    return datasets.read(location, limit=limit, shuffle=data.shuffle)
