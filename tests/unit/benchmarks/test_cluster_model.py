"""The command that prints the table of a grid."""

import sys
from pathlib import Path

import pytest

from benchmarks import cluster_model
from tests.unit.app.estimates.test_hours import write_files


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["cluster_model", *map(str, arguments)])
    return cluster_model.main()


def test_the_table_for_chosen_numbers_of_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, grid = write_files(tmp_path)
    assert run(monkeypatch, grid, "--gpus", 1, 1000, "--hours-between-failures", 24, "--gpu-price", 2) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("4 runs\n") and "\n  1,000 " in printed and "price" in printed


def test_a_grid_with_a_mistake_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path / "grid.yaml") == 2
    assert "grid.yaml" in capsys.readouterr().err
