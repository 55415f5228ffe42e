"""The parity gates of the benchmarks let equal results through, and nothing else."""

import pytest

from benchmarks.measuring import BenchmarkError
from benchmarks.scoring import check_parity


def test_sums_that_differ_by_one_constant_a_row_are_the_same_picks() -> None:
    assert check_parity("t", [[[-1.0, -2.0]], [[-4.0, -5.0]]]) == "t: 1 of 1 picks the same, 0 ties within 0.0001"


def test_another_pick_fails_unless_it_is_a_tie() -> None:
    tie = [[[-1.0, -1.00005]], [[-1.00005, -1.0]]]
    assert "0 of 1 picks the same, 1 ties" in check_parity("t", tie)
    with pytest.raises(BenchmarkError, match="row 0: another pick"):
        check_parity("t", [[[-1.0, -1.004]], [[-1.004, -1.0]]])


def test_sums_that_differ_otherwise_fail() -> None:
    with pytest.raises(BenchmarkError, match="by more than a constant"):
        check_parity("t", [[[-1.0, -2.0]], [[-1.0, -2.5]]])
