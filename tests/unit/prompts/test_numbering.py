"""Numbers of items against the numbers that were asked about."""

import pytest

from pada_agent.prompts.numbering import align_items


@pytest.mark.parametrize(
    ("numbers", "asked", "places"),
    [
        ([1, 2, 3], [1, 2, 3], {1: 0, 2: 1, 3: 2}),
        ([3, 1, 2], [1, 2, 3], {3: 0, 1: 1, 2: 2}),
        ([2], [1, 2, 3], {2: 0}),
        ([0, 1, 2], [1, 2, 3], {1: 0, 2: 1, 3: 2}),
        ([0, 2], [1, 2, 3], {1: 0, 3: 1}),
        ([0], [1], {1: 0}),
        ([6, 7, 8], [1, 2, 3], {1: 0, 2: 1, 3: 2}),
        ([1, 2], [3, 5], {3: 0, 5: 1}),
        ([1, 1, 2], [1, 2], {1: 0, 2: 2}),
        ([1, 1], [1, 2], {1: 0, 2: 1}),
        ([1, 2, 9], [1, 2, 3], {1: 0, 2: 1}),
        ([7], [7, 9], {7: 0}),
        ([0, 0, 0], [1, 2, 3], {1: 0, 2: 1, 3: 2}),
        ([0, 0], [1, 2, 3], {}),
        ([40], [1, 2, 3], {}),
        ([], [1, 2], {}),
    ],
)
def test_each_item_goes_to_its_number_or_to_none(numbers: list[int], asked: list[int], places: dict[int, int]) -> None:
    items = list(enumerate(numbers))
    aligned = align_items(items, asked, lambda item: item[1])
    assert {number: item[0] for number, item in aligned.items()} == places
