"""Which of the written rows are trained on."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pada_agent.agents.data_generation.selection import (
    choose_by_influence,
    choose_by_loss,
    cover,
    draw_at_random,
    limit_labels,
)
from pada_agent.core.records import Example
from pada_agent.core.selection import RowInfluence

FAILURES = [Example(id=f"v{i}", prompt="?", answer="a") for i in range(3)]


def make_rows(n: int) -> list[Example]:
    return [Example(id=f"s{i}", prompt="?", answer="a") for i in range(n)]


def make_influences(*cosines: tuple[float, ...], losses: tuple[float | None, ...] = ()) -> list[RowInfluence]:
    return [
        RowInfluence(example_id=f"s{i}", loss=losses[i] if losses else 1.0, cosines=row)
        for i, row in enumerate(cosines)
    ]


def measure(gains: np.ndarray, chosen: tuple[int, ...]) -> float:
    return float(np.sqrt(gains[list(chosen)].sum(axis=0)).sum())


class TestChooseByInfluence:
    def test_a_failure_that_is_covered_counts_less(self) -> None:
        """The two best rows alone are for the same failure."""
        influences = make_influences((0.9, 0, 0), (0.8, 0, 0), (0, 0.3, 0))
        found = choose_by_influence(make_rows(3), [None] * 3, influences, FAILURES, 2)
        assert [row.is_chosen for row in found] == [True, False, True]
        assert found[0].failures[0][0] == "v0" and found[2].failures == (("v1", round(0.3**0.5, 4)),)

    def test_rows_that_work_against_a_failure_count_as_nothing_for_it(self) -> None:
        influences = make_influences((0.5, -0.9, -0.9), (0.1, 0, 0))
        found = choose_by_influence(make_rows(2), [None] * 2, influences, FAILURES, 1)
        assert [row.is_chosen for row in found] == [True, False]

    def test_labels_keep_their_shares(self) -> None:
        influences = make_influences(*[(0.9, 0.9, 0.9)] * 6, *[(0.1, 0, 0)] * 3)
        labels = ["a"] * 6 + ["b"] * 3
        found = choose_by_influence(make_rows(9), labels, influences, FAILURES, 6)
        assert Counter(label for row, label in zip(found, labels, strict=True) if row.is_chosen) == {"a": 4, "b": 2}

    def test_without_failures_the_first_rows_are_taken(self) -> None:
        found = choose_by_influence(make_rows(3), [None] * 3, make_influences((), (), ()), [], 2)
        assert [row.is_chosen for row in found] == [True, True, False]
        assert all(row.failures == () for row in found)


class TestCover:
    @given(st.integers(0, 10_000), st.integers(1, 4))
    def test_it_is_near_the_best_choice(self, seed: int, n: int) -> None:
        gains = np.random.default_rng(seed).random((7, 4)) ** 3
        chosen = tuple(cover(gains, [None] * 7, {None: n}))
        best = max(measure(gains, some) for some in combinations(range(7), n))
        assert len(chosen) == n
        assert measure(gains, chosen) >= (1 - 1 / np.e) * best - 1e-9

    @given(st.integers(0, 10_000))
    def test_each_choice_adds_most_of_all_that_are_left(self, seed: int) -> None:
        """As without the queue of old values."""
        gains = np.random.default_rng(seed).random((8, 3))
        taken: tuple[int, ...] = ()
        for i, added in cover(gains, [None] * 8, {None: 5}).items():
            before = measure(gains, taken)
            others = [measure(gains, (*taken, j)) - before for j in range(8) if j not in taken]
            assert measure(gains, (*taken, i)) - before == pytest.approx(max(others)) == pytest.approx(added.sum())
            taken = (*taken, i)

    def test_it_ends_where_rows_do(self) -> None:
        assert list(cover(np.ones((2, 1)), ["a", "b"], {"a": 5, "b": 0})) == [0]


class TestChooseByLoss:
    def test_the_hardest_rows_of_each_label(self) -> None:
        influences = make_influences((), (), (), (), losses=(1, 2, 9, 8))
        found = choose_by_loss(make_rows(4), ["a", "a", "b", "b"], influences, 2)
        assert [row.is_chosen for row in found] == [False, True, True, False]
        assert [row.loss for row in found] == [1, 2, 9, 8]

    def test_rows_without_a_finite_loss_come_last(self) -> None:
        influences = make_influences((), (), (), losses=(None, 0.1, None))
        found = choose_by_loss(make_rows(3), [None] * 3, influences, 2)
        assert [row.is_chosen for row in found] == [True, True, False]
        assert [row.loss for row in found] == [None, 0.1, None]


class TestDrawAtRandom:
    def test_a_seed_draws_the_same_rows_and_keeps_shares(self) -> None:
        rows, labels = make_rows(40), ["a"] * 30 + ["b"] * 10
        first, again = (draw_at_random(rows, labels, 20, seed="1") for _ in range(2))
        assert first == again != draw_at_random(rows, labels, 20, seed="2")
        chosen = Counter(label for row, label in zip(first, labels, strict=True) if row.is_chosen)
        assert chosen == {"a": 15, "b": 5}


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(0, 40))
def test_limits_add_up_and_no_label_has_more_than_its_rows(labels: list[str], n: int) -> None:
    limits, counts = limit_labels(labels, n), Counter(labels)
    assert sum(limits.values()) == min(n, len(labels))
    assert all(limits[label] <= counts[label or ""] for label in limits)
