"""Compares the results of two queries."""

from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from math import isfinite

from pada_agent.evaluation.sqlite.reader import Result, Row, Value

TOLERANCE = 1e-13
"""Relative tolerance for what rounding does to a sum of up to a million numbers. Times in seconds since 1970 that are a
millisecond apart differ by six times as much."""
LEFT_OF_ZERO = (1e-20, 1e-12)
"""Smallest and largest size of what rounding leaves where the exact result is 0."""
WHOLE_UP_TO = 2**53
"""From here on, whole numbers are rounded as well if they are stored as floating-point numbers."""


def find_difference(found: Result, wanted: Result, *, ordered: bool) -> str | None:
    """What is wrong with a result, most general first. None if it is the same.

    Rows are compared as a multiset, or as a sequence if `ordered`. Columns are compared by position, whatever their
    names. Texts are compared exactly, numbers by value (`3` equals `3.0`). Whole numbers must be equal. Other numbers may
    differ by rounding, but two different numbers of a column in `wanted` are never taken for one another.
    """
    if found.n_columns != wanted.n_columns:
        return f"other number of columns ({found.n_columns}, not {wanted.n_columns})"
    if len(found.rows) != len(wanted.rows):
        return f"other number of rows ({len(found.rows)}, not {len(wanted.rows)})"
    ours, theirs = _align(found.rows, wanted.rows), list(wanted.rows)
    if ours == theirs:
        return None
    surplus, lacking = Counter(ours) - Counter(theirs), Counter(theirs) - Counter(ours)
    if not surplus:
        return "the right rows in another order" if ordered else None
    one, other = next(iter(surplus)), next(iter(lacking))
    return f"other values, such as {_show(one)} instead of {_show(other)}"


def _align(ours: Sequence[Row], theirs: Sequence[Row]) -> list[Row]:
    """Our rows, with the nearest number of the same column of `theirs` in place of one that differs only by rounding."""
    columns = [
        _align_column(found, wanted)
        for found, wanted in zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True)
    ]
    return list(zip(*columns, strict=True))


def _align_column(found: Sequence[Value], wanted: Sequence[Value]) -> list[Value]:
    numbers = sorted({value for value in wanted if isinstance(value, int | float) and isfinite(value)})
    nearest: dict[Value, Value] = {number: number for number in numbers}
    for value in set(found).difference(nearest):
        if isinstance(value, int | float) and isfinite(value):
            place = bisect(numbers, value)
            near = [number for number in numbers[max(place - 1, 0) : place + 1] if _differ_by_rounding(value, number)]
            nearest[value] = min(near, key=lambda number: abs(number - value), default=value)
    return [nearest.get(value, value) for value in found]


def _differ_by_rounding(found: float, wanted: float) -> bool:
    if _is_whole(found) and _is_whole(wanted):
        return False
    if not wanted:
        return LEFT_OF_ZERO[0] <= abs(found) <= LEFT_OF_ZERO[1]
    return abs(found - wanted) <= TOLERANCE * abs(wanted)


def _is_whole(number: float) -> bool:
    return isinstance(number, int) or (number.is_integer() and abs(number) < WHOLE_UP_TO)


def _show(row: Row, limit: int = 80) -> str:
    text = ", ".join("NULL" if value is None else repr(value) for value in row)
    return text if len(text) <= limit else text[:limit] + "…"
