"""Rows of a label are divided among as few strategies as possible."""

import time
from collections import Counter
from random import Random

import pytest

from pada_agent.agents.data_generation.fuller_calls import gather_labels


def test_two_strategies_that_share_two_labels_take_one_each() -> None:
    first = {"billing": ["b1", "b2", "b3"], "refunds": ["r1"]}
    second = {"billing": ["b4"], "refunds": ["r2", "r3"]}
    assert gather_labels([first, second]) == [
        {"billing": ["b1", "b2", "b3", "b4"]},
        {"refunds": ["r1", "r2", "r3"]},
    ]


def test_a_label_stays_divided_if_the_numbers_of_rows_demand_it() -> None:
    groups = [{"a": [1, 2, 3], "b": [4, 5]}, {"a": [6], "b": [7]}]
    assert gather_labels(groups) == [{"a": [1, 2], "b": [4, 5, 7]}, {"a": [3, 6]}]
    assert gather_labels([{"a": [1, 2]}, {"a": [3]}]) == [{"a": [1, 2]}, {"a": [3]}]


def test_of_two_ways_to_exchange_rows_the_one_that_empties_more_cells_is_taken() -> None:
    groups = [{"a": [1, 2, 3], "b": [4]}, {"a": [5], "b": [6]}]
    assert gather_labels(groups) == [{"a": [1, 2, 3, 5]}, {"b": [4, 6]}]


def test_nothing_is_asked_for_without_groups_or_rows() -> None:
    assert gather_labels([]) == []
    assert gather_labels([{}, {"a": []}]) == [{}, {}]


@pytest.mark.parametrize("seed", range(50))
def test_groups_keep_their_numbers_and_labels_their_rows_and_no_cycle_is_left(seed: int) -> None:
    rng, row = Random(seed), iter(range(10_000))
    groups = [
        {label: [next(row) for _ in range(rng.randint(1, 6))] for label in range(9) if rng.random() < 0.6}
        for _ in range(rng.randint(1, 6))
    ]
    found = gather_labels(groups)
    assert [sum(map(len, g.values())) for g in found] == [sum(map(len, g.values())) for g in groups]
    assert all(set(after) <= set(before) for before, after in zip(groups, found, strict=True))
    for label in range(9):
        before = Counter(row for g in groups for row in g.get(label, ()))
        assert Counter(row for g in found for row in g.get(label, ())) == before
    assert all(rows for g in found for rows in g.values())
    assert not has_cycle([set(g) for g in found])


def has_cycle(groups: list[set[int]]) -> bool:
    """Whether groups and labels form a cycle, found by joining the two ends of each cell."""
    root = {
        **{("group", g): ("group", g) for g in range(len(groups))},
        **{("label", n): ("label", n) for n in range(9)},
    }

    def find(node: tuple[str, int]) -> tuple[str, int]:
        while root[node] != node:
            node = root[node]
        return node

    for g, labels in enumerate(groups):
        for label in labels:
            one, other = find(("group", g)), find(("label", label))
            if one == other:
                return True
            root[one] = other
    return False


def test_many_labels_and_strategies_take_a_moment() -> None:
    rng = Random(0)
    groups: list[dict[int, list[int]]] = [{} for _ in range(50)]
    for row in range(5000):
        groups[row % 50].setdefault(rng.randrange(150), []).append(row)
    started = time.thread_time()
    found = gather_labels(groups)
    assert time.thread_time() - started < 5, "seconds of the processor; 1 was measured, and 20 before"
    assert sum(map(len, found)) < 200
