"""The parity gates of the benchmarks let equal results through, and nothing else; a result names its machine."""

import json
from pathlib import Path

import pytest

from benchmarks.measuring import BenchmarkError, Outcome, compare, write
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


def test_a_result_file_says_what_was_compared_and_where(tmp_path: Path) -> None:
    row = compare("x", [2.0], [1.0], peer_name="p", unit="s")
    path = write("C9", Outcome(parity="same", rows=[row]), "make bench ONLY=C9", tmp_path)
    value = json.loads(path.read_text())
    assert set(value) == {"id", "parity", "rows", "machine", "versions", "command"}
    assert set(value["rows"][0]) >= {"ours", "peer", "peer_name", "unit", "ratio", "ratio_min", "ratio_max"}
