"""Slices of a file's or a split's rows, as in `rows.csv[:60%]` or `train[100:]`."""

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")

_BOUND = r"(?:-?\d+%?)?"
_LOCATION = re.compile(rf"(?P<name>.+)\[(?P<start>{_BOUND}):(?P<stop>{_BOUND})\]", re.DOTALL)


class Slice(NamedTuple):
    """Where a slice begins and ends: row numbers from 0 or percentages, negative ones counted from the end; empty for no bound."""

    start: str = ""
    stop: str = ""

    def take(self, rows: Sequence[T]) -> Sequence[T]:
        """The slice's part of the rows."""
        return rows[_read_bound(self.start, len(rows)) : _read_bound(self.stop, len(rows))]


def split_slice(location: str) -> tuple[str, Slice | None]:
    """The location without its slice, and the slice, if it has one."""
    found = _LOCATION.fullmatch(location)
    return (found["name"], Slice(found["start"], found["stop"])) if found else (location, None)


def _read_bound(text: str, n_rows: int) -> int | None:
    if not text:
        return None
    return round(int(text[:-1]) / 100 * n_rows) if text.endswith("%") else int(text)
