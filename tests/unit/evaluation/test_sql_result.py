"""When two results are the same."""

from random import Random

import pytest

from pada_agent.evaluation.sqlite_reader import Result, Row
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


def test_order_counts_where_it_is_asked_for() -> None:
    found, wanted = result((1.5,), (2.5,)), result((2.5,), (1.5,))
    assert find_difference(found, wanted, ordered=False) is None
    assert find_difference(found, wanted, ordered=True) == "the right rows in another order"
    assert find_difference(found, result((1.5 + 1e-12,), (2.5,)), ordered=True) is None


def test_near_numbers_pair_whatever_the_order_of_the_rows() -> None:
    rng = Random(0)
    wanted = [(rng.choice([1.1, 2.2, 3.3]), rng.choice([1.1, 2.2, 3.3]), rng.choice("ab")) for _ in range(500)]
    found = [(a * (1 + rng.uniform(-1e-13, 1e-13)), b * (1 + rng.uniform(-1e-13, 1e-13)), c) for a, b, c in wanted]
    rng.shuffle(found)
    assert find_difference(result(*found), result(*wanted), ordered=False) is None
