"""Which of the numbered things in a prompt each item of an answer is about."""

from collections.abc import Callable, Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")


def align_items(items: Sequence[ItemT], asked: Sequence[int], number_of: Callable[[ItemT], int]) -> dict[int, ItemT]:
    """The item for each number that was asked about; a number without an item that is certainly its own is left out.

    Models count from 0, or on from the last answer. Numbers that are all off by the same amount are set right, and as many
    items as were asked for are taken in order where their numbers make no sense. Of two items with one number the first counts.
    """
    numbers = [number_of(item) for item in items]
    shift = _find_shift(numbers, asked)
    if shift is None:
        return dict(zip(asked, items, strict=True)) if len(items) == len(asked) else {}
    aligned: dict[int, ItemT] = {}
    for number, item in zip(numbers, items, strict=True):
        if number + shift in asked:
            aligned.setdefault(number + shift, item)
    return aligned


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
