"""Rows from Parquet files and hub data sets. Needs the extra `data`. Class numbers are replaced by class names."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from pada_agent.app.adapters.storage.slices import split_slice
from pada_agent.app.adapters.storage.text_files import open_bytes
from pada_agent.core.errors import DatasetError
from pada_agent.core.hub_revisions import ROWS, check_location
from pada_agent.evaluation.rows.narrow_floats import Width, shorten

HUB_FORM = "hub:owner/name/split, hub:owner/name:config/split or hub:owner/name@revision:config/split"
_EXTRA = "needs an extra package: pip install 'pada-agent[data]'"

ClassNames = Mapping[str, Sequence[str]]
"""Names of a column's classes, in the order of their numbers, by column."""
Finish = Callable[[Any], Any]
_LONGEST_LIST = 100
"""Longer lists of numbers are vectors, which nobody answers with. They stay as they are."""


def read_parquet(location: str, path: Path, max_bytes: int | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file.

    Raises:
        DatasetError: the extra is not installed, or the file is damaged.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as exc:
        raise DatasetError(f"{location}: Parquet {_EXTRA}") from exc
    try:
        with open_bytes(location, path, max_bytes) as file:
            table = parquet.ParquetFile(file)
            names = _read_class_names(table.schema_arrow.metadata or {})
            rows = (fields for batch in table.iter_batches() for fields in batch.to_pylist())
            yield from _name_classes(_shorten_floats(rows, table.schema_arrow), names)
    except DatasetError:
        raise
    except (OSError, ValueError, pyarrow.ArrowException) as exc:
        raise DatasetError(f"{location}: not a readable Parquet file: {exc}") from exc


def read_hub(location: str, limit: int | None, shuffle: int | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The first `limit` rows of a split, each with its number in it.

    With a seed in `shuffle`, the split is shuffled before a slice (`train[:1000]`) is taken. Slices of one split
    therefore never share a row, and each is a sample of the split.

    Raises:
        DatasetError: there is no such data set or split, it needs a script, its files do not fit together, or there is
            no network.
    """
    parts = ROWS.fullmatch(location)
    if parts is None:
        raise DatasetError(f"{location}: expected {HUB_FORM}")
    try:
        check_location(location)
    except ValueError as exc:
        raise DatasetError(f"{location}: {exc}") from exc
    split, cut = (parts["split"], None) if shuffle is None else split_slice(parts["split"])
    if shuffle is not None and any(sign in split for sign in "+[]"):
        raise DatasetError(f"{location}: with data.shuffle, one split with one slice is expected, such as train[:1000]")
    try:
        import datasets
    except ImportError as exc:
        raise DatasetError(f"{location}: the Hugging Face hub {_EXTRA}") from exc
    options = {"revision": parts["revision"]} if parts["revision"] else {}
    try:
        rows = datasets.load_dataset(parts["repo"], parts["config"], split=split, **options)
        order = draw_order(len(rows), shuffle)
        order = (order if cut is None else cut.take(order))[:limit]
        features = getattr(rows, "features", None) or {}
        chosen = _shorten_floats(rows.select(order), getattr(features, "arrow_schema", ()))
        named = _name_classes(chosen, _list_class_names(features))
        yield from ((i + 1, row) for i, row in zip(order, named, strict=True))
    except DatasetError:
        raise
    except Exception as exc:
        raise DatasetError(f"{location}: cannot be loaded: {_explain(exc)}") from exc


def draw_order(n: int, shuffle: int | None) -> Sequence[int]:
    """The order in which a seed puts `n` rows. Without a seed, their own order."""
    return range(n) if shuffle is None else Random(f"order/{shuffle}").sample(range(n), n)


def _shorten_floats(rows: Iterable[Mapping[str, Any]], columns: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    """The rows with 0.1 where a column of 32 bits holds 0.10000000149011612.

    Args:
        columns: their names and Arrow types.
    """
    finishing = {column.name: finish for column in columns if (finish := _find_finish(column.type)) is not None}
    for row in rows:
        yield {**row, **{name: finish(row[name]) for name, finish in finishing.items() if name in row}}


def _find_finish(kind: Any) -> Finish | None:
    """What shortens the numbers in a value of this Arrow type. None if nothing has to be shortened."""
    from pyarrow import types

    if types.is_float32(kind) or types.is_float16(kind):
        width: Width = "f" if types.is_float32(kind) else "e"
        return lambda value: shorten(value, width) if isinstance(value, float) else value
    if types.is_struct(kind):
        inner = {field.name: finish for field in kind if (finish := _find_finish(field.type)) is not None}
        return (lambda value: _finish_members(value, inner)) if inner else None
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        member = _find_finish(kind.value_type)
        return None if member is None else lambda value: _finish_list(value, member)
    return None


def _finish_members(value: Any, finishing: Mapping[str, Finish]) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: finishing[name](inner) if name in finishing else inner for name, inner in value.items()}


def _finish_list(value: Any, finish: Finish) -> Any:
    return [finish(inner) for inner in value] if isinstance(value, list) and len(value) <= _LONGEST_LIST else value


def _explain(exc: Exception) -> str:
    said = str(exc).strip() or type(exc).__name__
    if exc.__cause__ is not None and str(exc.__cause__) and str(exc.__cause__) not in said:
        said = f"{said} ({exc.__cause__})"
    said = " ".join(said.split())[:600]
    if "script" in said and "no longer supported" in said:
        return (
            "it is a script, and scripts are not run. Many data sets have a Parquet copy: name its revision, as in"
            " hub:owner/name@refs/convert/parquet:config/split"
        )
    if "Config name is missing" in said:
        return f"{said} Name one: hub:owner/name:config/split."
    return f"{said.rstrip('.')}. Check the name, the split and the network."


def _read_class_names(metadata: Mapping[bytes, bytes]) -> ClassNames:
    """Class names that the `datasets` library stores in the schema of a Parquet file."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return _list_class_names(features) if isinstance(features, Mapping) else {}


def _list_class_names(features: Mapping[str, Any]) -> ClassNames:
    found = {column: _find_names(feature) for column, feature in features.items()}
    return {column: names for column, names in found.items() if names}


def _find_names(feature: Any) -> Sequence[str] | None:
    """Names of a class, or of the classes in a list."""
    if isinstance(feature, Mapping):
        names, inner = feature.get("names"), feature.get("feature")
    else:
        names, inner = getattr(feature, "names", None), getattr(feature, "feature", None)
    if isinstance(names, Sequence) and names and not isinstance(names, str):
        return [str(name) for name in names]
    return _find_names(inner) if inner is not None else None


def _name_classes(rows: Iterable[Mapping[str, Any]], names: ClassNames) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {**row, **{c: _name_class(row[c], names[c]) for c in names if c in row}} if names else dict(row)


def _name_class(value: Any, names: Sequence[str]) -> Any:
    """The name of a class. -1 marks a hidden class, which has no name and stays."""
    if isinstance(value, list):
        return [_name_class(member, names) for member in value]
    is_class = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names)
    return names[value] if is_class else value
