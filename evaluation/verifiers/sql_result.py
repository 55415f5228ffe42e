"""Compares the results of two queries."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import isfinite

from pada_agent.evaluation.sqlite_reader import Result, Row, Value

TOLERANCE = 1e-9
"""Relative tolerance for numbers with a fraction, which may differ by the order of additions."""
SMALLEST = 1e-3
"""Numbers smaller than this are compared as if they were this large."""


def find_difference(found: Result, wanted: Result, *, ordered: bool) -> str | None:
    """What is wrong with a result, most general first. None if it is the same.

    Rows are compared as a multiset, or as a sequence if `ordered`. Columns are compared by position, whatever their
    names. Texts are compared exactly, numbers by value (`3` equals `3.0`). Whole numbers must be equal; in columns with
    fractions, numbers that differ only by rounding count as equal.
    """
    if found.n_columns != wanted.n_columns:
        return f"other number of columns ({found.n_columns}, not {wanted.n_columns})"
    if len(found.rows) != len(wanted.rows):
        return f"other number of rows ({len(found.rows)}, not {len(wanted.rows)})"
    ours, theirs = _merge_near(found.rows, wanted.rows)
    if ours == theirs:
        return None
    surplus, lacking = Counter(ours) - Counter(theirs), Counter(theirs) - Counter(ours)
    if not surplus:
        return "the right rows in another order" if ordered else None
    one, other = next(iter(surplus)), next(iter(lacking))
    return f"other values, such as {_show(one)} instead of {_show(other)}"


def _merge_near(ours: Sequence[Row], theirs: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The rows with nearly equal numbers in a column made identical, and with values of different kinds told apart."""
    columns = [_merge_column(values) for values in zip(*ours, *theirs, strict=True)]
    rows = list(zip(*columns, strict=True)) if columns else []
    return rows[: len(ours)], rows[len(ours) :]


def _merge_column(values: Sequence[Value]) -> list[Value]:
    numbers = sorted({value for value in values if isinstance(value, int | float)})
    if all(float(number).is_integer() for number in numbers if isfinite(number)):
        return list(values)
    merged: dict[Value, Value] = dict(zip(numbers[:1], numbers[:1], strict=True))
    for low, high in pairwise(numbers):
        near = isfinite(low) and isfinite(high) and high - low <= TOLERANCE * max(SMALLEST, abs(low), abs(high))
        merged[high] = merged[low] if near else high
    return [merged.get(value, value) for value in values]


def _show(row: Row, limit: int = 80) -> str:
    text = ", ".join("NULL" if value is None else repr(value) for value in row)
    return text if len(text) <= limit else text[:limit] + "…"
