"""Files that consist of one JSON object: rows in a list under a key, by column or row number as pandas writes them, or under their ids."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pada_agent.core.errors import DatasetError

LISTS = ("data", "rows", "examples", "items", "records", "instances", "train", "validation", "test")
"""Keys under which an object may hold all rows of a file."""

Placed = tuple[str, Any]
"""A value and its place: the line on which it begins, or its position in the object."""


def open_object(location: str, place: str, value: Any) -> Iterator[Placed]:
    """The rows inside a file's only object. The object itself, if it contains none.

    Raises:
        DatasetError: it contains the rows of several splits.
    """
    if not isinstance(value, Mapping):
        return iter([(place, value)])
    lists = [key for key in LISTS if _is_rows(value.get(key))]
    if len(lists) > 1:
        names = ", ".join(map(repr, lists))
        raise DatasetError(
            f"{location}: contains several lists of rows ({names}). A file contains the rows of one split: write each list to a"
            " file of its own"
        )
    if lists:
        rows = value[lists[0]]
        return (part for n, row in enumerate(rows, 1) for part in _open_article(f"{lists[0]}[{n}]", row))
    turned = _turn_columns(value)
    return iter([(place, value)]) if turned is None else ((f"row {n}", row) for n, row in enumerate(turned, 1))


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, Mapping) for row in value)


def _turn_columns(value: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of `{"a": [1, 2], "b": [3, 4]}`, of other forms of pandas' `to_json`, and of rows under their ids. None if it is none of these."""
    parts = list(value.values())
    if value.keys() == {"columns", "index", "data"} and all(isinstance(part, list) for part in parts):
        return _name_cells(value["columns"], value["data"])
    if _are_numbers(value) and all(isinstance(part, Mapping) for part in parts):
        return [dict(part) for part in parts]
    if len(parts) < 2:
        return None
    if all(isinstance(p, Mapping) and _are_numbers(p) and p.keys() == parts[0].keys() for p in parts):
        return [{name: cells[number] for name, cells in value.items()} for number in parts[0]]
    if all(isinstance(p, list) and len(p) == len(parts[0]) > 1 for p in parts) and any(map(_is_plain, parts)):
        return [{name: cells[i] for name, cells in value.items()} for i in range(len(parts[0]))]
    if len(parts) > 2 and all(isinstance(p, Mapping) and len(p) > 1 and p.keys() == parts[0].keys() for p in parts):
        return [{"id": name, **row} for name, row in value.items()]
    return None


def _name_cells(columns: Sequence[Any], rows: Sequence[Any]) -> list[dict[str, Any]] | None:
    if not all(isinstance(c, str) for c in columns) or not all(
        isinstance(r, list) and len(r) == len(columns) for r in rows
    ):
        return None
    return [dict(zip(columns, cells, strict=True)) for cells in rows]


def _are_numbers(keys: Mapping[str, Any]) -> bool:
    return len(keys) > 1 and all(key.isdecimal() for key in keys)


def _is_plain(column: Sequence[Any]) -> bool:
    """Whether there are only plain values, because one row's turns and completion are lists of the same length too."""
    return not any(isinstance(cell, list | Mapping) for cell in column)


def _open_article(place: str, row: Mapping[str, Any]) -> Iterator[Placed]:
    """SQuAD's own files: the questions of an article's paragraphs, each with its passage and a place of its own."""
    paragraphs = row.get("paragraphs")
    if not isinstance(paragraphs, list) or not all(isinstance(p, Mapping) for p in paragraphs):
        yield place, row
        return
    for n, paragraph in enumerate(paragraphs, 1):
        context = {"title": row.get("title"), "context": paragraph.get("context")}
        for k, question in enumerate(paragraph.get("qas") or [], 1):
            yield (
                f"{place}.paragraphs[{n}].qas[{k}]",
                {**context, **question} if isinstance(question, Mapping) else question,
            )
