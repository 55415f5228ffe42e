"""When two results are the same."""

from random import Random

import pytest

from pada_agent.evaluation.sqlite.reader import Result, Row
from pada_agent.evaluation.verifiers.sql_result import find_difference


def result(*rows: Row) -> Result:
    return Result(n_columns=len(rows[0]) if rows else 1, rows=rows)


@pytest.mark.parametrize(
    ("found", "wanted", "difference"),
    [
        ([(1,)], [(1,)], None),
        ([(1,)], [(1.0,)], None),
        ([(3,), (1,)], [(1,), (3,)], None),
        ([(0.1 + 0.2,)], [(0.3,)], None),
        ([(1e9 + 0.5,), (2.0,)], [(2,), (1e9 + 0.500000001,)], None),
        ([(None,)], [(None,)], None),
        ([(float("inf"),)], [(float("inf"),)], None),
        ([(b"\x00",)], [(b"\x00",)], None),
        ([], [], None),
        ([(1, "a"), (1, "a"), (2, "b")], [(2, "b"), (1, "a"), (1, "a")], None),
        (
            [(1, "a"), (2, "b"), (2, "b")],
            [(2, "b"), (1, "a"), (1, "a")],
            "other values, such as 2, 'b' instead of 1, 'a'",
        ),
        ([("a",)], [("A",)], "other values, such as 'a' instead of 'A'"),
        ([("a ",)], [("a",)], "other values, such as 'a ' instead of 'a'"),
        ([("1",)], [(1,)], "other values, such as '1' instead of 1"),
        ([(None,)], [(0,)], "other values, such as NULL instead of 0"),
        ([("",)], [(None,)], "other values, such as '' instead of NULL"),
        (
            [(1_000_000_000_001,)],
            [(1_000_000_000_000,)],
            "other values, such as 1000000000001 instead of 1000000000000",
        ),
        ([(2**53 + 1,)], [(2**53,)], "other values, such as 9007199254740993 instead of 9007199254740992"),
        ([(0.301,)], [(0.3,)], "other values, such as 0.301 instead of 0.3"),
        ([(1e-7,)], [(2e-7,)], "other values, such as 1e-07 instead of 2e-07"),
        ([(float("inf"),)], [(1.5,)], "other values, such as inf instead of 1.5"),
        ([("b", "a")], [("a", "b")], "other values, such as 'b', 'a' instead of 'a', 'b'"),
        ([(1, 2)], [(1,)], "other number of columns (2, not 1)"),
        ([(1,), (1,)], [(1,)], "other number of rows (2, not 1)"),
        ([], [(1,)], "other number of rows (0, not 1)"),
    ],
)
def test_rows_are_a_multiset_of_exact_texts_and_near_numbers(
    found: list[Row], wanted: list[Row], difference: str | None
) -> None:
    assert find_difference(result(*found), result(*wanted), ordered=False) == difference


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (1.67e-27, 9.1e-31),
        (0.0, 9.1e-31),
        (9.1e-31, 0.0),
        (0, 2.5e-13),
        (1700000001.5, 1700000000.5),
        (1700000000.502, 1700000000.501),
        (2460310.91875, 2460310.9166666665),
        (1e15 + 1, 1e15),
        (0.3000001, 0.3),
    ],
)
def test_numbers_that_no_rounding_brings_together_differ(found: float, wanted: float) -> None:
    assert find_difference(result((found, "a")), result((wanted, "a")), ordered=False) is not None
    assert find_difference(result((found,), (0.5,)), result((wanted,), (0.5,)), ordered=False) is not None


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (0.1 + 0.2, 0.3),
        (sum([0.1] * 10), 1),
        (0.1 + 0.2 - 0.3, 0.0),
        (9.1e-31 * 3 / 3, 9.1e-31),
        (1e20, 1e20 + 2**14),
        (1e308, 1e308),
        (-2.5, -2.5 * (1 + 1e-15)),
    ],
)
def test_numbers_that_differ_by_rounding_are_the_same(found: float, wanted: float) -> None:
    for ordered in (False, True):
        assert (
            find_difference(result((found, "a"), (0.5, "b")), result((wanted, "a"), (0.5, "b")), ordered=ordered)
            is None
        )


def test_values_that_differ_in_the_wanted_column_are_never_taken_for_one_another() -> None:
    chain = [(1.5 * (1 + n * 2e-14),) for n in range(50)]
    for other in (chain[::-1], chain[1:] + chain[:1]):
        assert find_difference(result(*other), result(*chain), ordered=False) is None
        assert find_difference(result(*other), result(*chain), ordered=True) == "the right rows in another order"
    assert find_difference(result(*chain[:2], chain[1]), result(*chain[:2], chain[0]), ordered=False) is not None


def test_order_counts_where_it_is_asked_for() -> None:
    found, wanted = result((1.5,), (2.5,)), result((2.5,), (1.5,))
    assert find_difference(found, wanted, ordered=False) is None
    assert find_difference(found, wanted, ordered=True) == "the right rows in another order"
    assert find_difference(found, result((1.5 + 1e-14,), (2.5,)), ordered=True) is None


def test_near_numbers_pair_whatever_the_order_of_the_rows() -> None:
    rng = Random(0)
    wanted = [(rng.choice([1.1, 2.2, 3.3]), rng.choice([1.1, 2.2, 3.3]), rng.choice("ab")) for _ in range(500)]
    found = [(a * (1 + rng.uniform(-4e-14, 4e-14)), b * (1 + rng.uniform(-4e-14, 4e-14)), c) for a, b, c in wanted]
    rng.shuffle(found)
    assert find_difference(result(*found), result(*wanted), ordered=False) is None
