"""Whether the scores of an answer are on the scale that was asked for.

A judge that keeps to a scale of its own cannot be read score by score: a 1.0 of 1 would count as 1 of 10, and a 10 of 100 as 10 of 10.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_NUMBER = re.compile(r"\s*\d{1,9}(?:\.\d{1,9})?\s*")
_LARGEST = 10**9
"""A larger number is no score of any scale."""
_FAR_BEYOND = 2
"""A score of so many times the best one is on a longer scale. A smaller one, such as 11 of 10, is a slip."""


class Bounds(NamedTuple):
    """The smallest and the largest value of a field. None if it has no bound."""

    least: float | None
    most: float | None


class _Score(NamedTuple):
    name: str
    value: float
    is_decimal: bool
    """Written with a point."""


def find_bounds(field: FieldInfo) -> Bounds:
    least, most = (
        next((getattr(rule, end) for rule in field.metadata if hasattr(rule, end)), None) for end in ("ge", "le")
    )
    return Bounds(least, most)


def find_other_scale(drafts: Iterable[Mapping[str, Any]], item: type[BaseModel]) -> str:
    """What is wrong with the scores of an answer if they are on another scale than asked for. Empty if they are not.

    Shorter, from 0 to 1: no score is larger, and one has a point or is below the asked scale. Longer, such as 0 to 100: one is far beyond it.
    """
    scales = {name: bounds for name, field in item.model_fields.items() if (bounds := _find_scale(field))}
    said: dict[Bounds, list[_Score]] = {bounds: [] for bounds in scales.values()}
    for draft in drafts if scales else ():
        for name, bounds in scales.items():
            said[bounds] += _read(name, draft.get(name))
    return next((problem for bounds, scores in said.items() if (problem := _compare(scores, bounds))), "")


def _find_scale(field: FieldInfo) -> Bounds | None:
    """The bounds of a whole number that has two."""
    bounds = find_bounds(field)
    return bounds if field.annotation is int and None not in bounds else None


def _compare(scores: Sequence[_Score], bounds: Bounds) -> str:
    least, most = bounds
    assert least is not None and most is not None
    shorter = [score for score in scores if score.is_decimal or score.value < least]
    longer = [score for score in scores if score.value >= _FAR_BEYOND * most]
    is_shorter = all(score.value <= 1 <= least for score in scores)
    odd = longer or (shorter if is_shorter else [])
    if not odd:
        return ""
    return f"{odd[0].name} is {odd[0].value:g}: the scores are on another scale than from {least:g} to {most:g}, in whole numbers"


def _read(name: str, value: Any) -> Iterator[_Score]:
    """The number, or the only one in an object such as `{"score": 0.8, "why": "clear"}`."""
    if isinstance(value, dict):
        found = [score for part in value.values() for score in _read(name, part)]
        yield from found if len(found) == 1 else ()
    elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST:
        yield _Score(name, float(value), isinstance(value, float))
    elif isinstance(value, str) and _NUMBER.fullmatch(value):
        yield _Score(name, float(value), "." in value)
