"""Which of the numbered things in a prompt each item of an answer is about."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Numbered:
    """What an answer's items are about: things of which the prompt told the numbers."""

    field: str
    """Of the item, that says its number."""
    asked: tuple[int, ...]


def number_from_one(field: str, n: int) -> Numbered:
    """Things that the prompt numbers from 1 to `n`."""
    return Numbered(field, tuple(range(1, n + 1)))


def align_numbers(numbers: Sequence[int | None], asked: Sequence[int]) -> list[int | None]:
    """The number that was asked about for each item of an answer; None for an item that is not certainly about any.

    Models count from 0, or on from the last answer. Numbers that are all off by the same amount are set right, and as many
    items as were asked for are taken in order where their numbers make no sense. Give the numbers of all items, also of
    those that are good for nothing else: they tell how the model counts.
    """
    known = [number for number in numbers if number is not None]
    shift = _find_shift(known, asked)
    if shift is None:
        return list(asked) if len(numbers) == len(asked) else [None] * len(numbers)
    return [None if n is None or n + shift not in asked else n + shift for n in numbers]


def _find_shift(numbers: Sequence[int], asked: Sequence[int]) -> int | None:
    """What has to be added to `numbers`; None where nothing brings them to those that were asked."""
    wanted, found = set(asked), set(numbers)
    repeats = len(found) < len(numbers)
    if repeats and len(numbers) == len(asked):
        return None
    if found & wanted and not found - wanted:
        return 0
    if found and not repeats:
        counted_from_zero = {n + 1 for n in found} <= wanted
        whole_elsewhere = {n - min(found) + min(wanted) for n in found} == wanted
        if counted_from_zero:
            return 1
        if whole_elsewhere:
            return min(wanted) - min(found)
    # A repeated or stray number among right ones: the right ones stay.
    return 0 if found & wanted and min(found) >= min(wanted) else None
