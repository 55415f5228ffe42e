"""The parity gates of the benchmarks let equal results through, and nothing else; a result names its machine."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import generation
from benchmarks.generation import Written
from benchmarks.measuring import BenchmarkError, Outcome, compare, write
from benchmarks.scoring import check_parity
from benchmarks.training import Unsloth, make_job
from pada_agent.core.records import Example
from pada_agent.training.encoding import Encoded


def test_sums_that_differ_by_one_constant_a_row_are_the_same_picks() -> None:
    assert (
        check_parity("t", [[[-1.0, -2.0]], [[-4.0, -5.0]]]) == "t: 1 of 1 picks are the same, 0 are ties within 0.0001"
    )


def test_another_pick_fails_unless_it_is_a_tie() -> None:
    tie = [[[-1.0, -1.00005]], [[-1.00005, -1.0]]]
    assert "0 of 1 picks are the same, 1 are ties" in check_parity("t", tie)
    with pytest.raises(BenchmarkError, match="row 0: picks differ"):
        check_parity("t", [[[-1.0, -1.004]], [[-1.004, -1.0]]])


def test_sums_that_differ_otherwise_fail() -> None:
    with pytest.raises(BenchmarkError, match="by more than a constant"):
        check_parity("t", [[[-1.0, -2.0]], [[-1.0, -2.5]]])


def compare_texts(monkeypatch: pytest.MonkeyPatch, *, n_other: int, gap: float) -> str:
    """Of ten rows, where two best logits lie `gap` apart."""
    monkeypatch.setattr(generation, "measure_gap", lambda *_: gap)
    monkeypatch.setattr(generation, "count_common", lambda *_: 0)
    student: Any = SimpleNamespace(device=torch.device("cpu"))
    encoder: Any = SimpleNamespace(prompt=lambda _: [1])
    rows = [Example(id=f"r{i}", prompt="p", answer="a") for i in range(10)]
    ours = [Written("same", 1)] * 10
    return generation.check_parity(student, encoder, rows, [ours, [Written("other", 1)] * n_other + ours[n_other:]])


def test_texts_may_part_at_ties_but_at_few(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compare_texts(monkeypatch, n_other=1, gap=0.0) == "9 of 10 texts are the same, 1 diverge at a tie"
    with pytest.raises(BenchmarkError, match="row r0: texts differ"):
        compare_texts(monkeypatch, n_other=1, gap=0.1)
    with pytest.raises(BenchmarkError, match="3 of 10 texts diverge at a tie"):
        compare_texts(monkeypatch, n_other=3, gap=0.0)


@pytest.mark.parametrize(
    ("answer", "error"),
    [("[1.0, 1.0]", None), ("[1.0]", "took 1 optimizer steps, ours takes 2"), ("", "process ended")],
)
def test_unsloth_has_to_answer_and_to_take_as_many_steps(answer: str, error: str | None) -> None:
    reply = json.dumps({"seconds": 1.0, "losses": json.loads(answer)}) if answer else ""
    script = f"import sys; sys.stdin.readline(); print({reply!r}, end={chr(10) if answer else ''!r})"
    command = [sys.executable, "-c", script]
    rows = [Encoded(input_ids=[1, 2], labels=[-100, 2])] * 16
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        peer = Unsloth(process)
        if error:
            with pytest.raises(BenchmarkError, match=error):
                peer.train(rows, make_job(), sampling="sequential")
        else:
            assert peer.train(rows, make_job(), sampling="sequential")["seconds"] == 1.0


def test_a_result_file_says_what_was_compared_and_where(tmp_path: Path) -> None:
    row = compare("x", [2.0], [1.0], peer_name="p", unit="s")
    path = write("C9", Outcome(parity="same", rows=[row]), "make bench ONLY=C9", tmp_path)
    value = json.loads(path.read_text())
    assert set(value) == {"id", "parity", "rows", "machine", "versions", "command"}
    assert set(value["rows"][0]) >= {"ours", "peer", "peer_name", "unit", "ratio", "ratio_min", "ratio_max"}
