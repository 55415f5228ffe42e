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
        return rows[_find_place(self.start, len(rows), 0) : _find_place(self.stop, len(rows), len(rows))]


def split_slice(location: str) -> tuple[str, Slice | None]:
    """The location without its slice, and the slice, if it has one."""
    found = _LOCATION.fullmatch(location)
    return (found["name"], Slice(found["start"], found["stop"])) if found else (location, None)


def _find_place(bound: str, n_rows: int, default: int) -> int:
    """The bound as a place from 0 to the number of rows. `-30%` is the same place as `70%`, so that no row is lost."""
    if not bound:
        return default
    is_share = bound.endswith("%")
    size, whole = int(bound.removesuffix("%")), 100 if is_share else n_rows
    place = whole + size if bound.startswith("-") else size
    return min(max(0, round(place / 100 * n_rows) if is_share else place), n_rows)
