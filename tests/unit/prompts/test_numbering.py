"""Numbers of items against the numbers that were asked about."""

import pytest

from pada_agent.prompts.numbering import align_numbers


@pytest.mark.parametrize(
    ("numbers", "asked", "meant"),
    [
        ([1, 2, 3], [1, 2, 3], [1, 2, 3]),
        ([3, 1, 2], [1, 2, 3], [3, 1, 2]),
        ([2], [1, 2, 3], [2]),
        ([0, 1, 2], [1, 2, 3], [1, 2, 3]),
        ([2, 0, 1], [1, 2, 3], [3, 1, 2]),
        ([0, 2], [1, 2, 3], [1, 3]),
        ([0], [1], [1]),
        ([6, 7, 8], [1, 2, 3], [1, 2, 3]),
        ([1, 2], [3, 5], [3, 5]),
        ([7, 9], [3, 5], [3, 5]),
        ([7], [7, 9], [7]),
        ([1, 1, 2], [1, 2], [1, 1, 2]),
        ([1, 1], [1, 2], [1, 2]),
        ([0, 0, 0], [1, 2, 3], [1, 2, 3]),
        ([1, 2, 9], [1, 2, 3], [1, 2, None]),
        ([1, None, 3], [1, 2, 3], [1, None, 3]),
        ([0, None, 2], [1, 2, 3], [1, None, 3]),
        ([None, None], [1, 2], [1, 2]),
        ([0, 0], [1, 2, 3], [None, None]),
        ([0, 1, 2, 3], [1, 2, 3], [None, None, None, None]),
        ([5, 6], [1, 2, 3], [None, None]),
        ([40], [1, 2, 3], [None]),
        ([], [1, 2], []),
    ],
)
def test_each_item_gets_its_number_or_none(
    numbers: list[int | None], asked: list[int], meant: list[int | None]
) -> None:
    assert align_numbers(numbers, asked) == meant
