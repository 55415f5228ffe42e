"""Exact match and F1 on SQuAD rows against an independent implementation of the official script (torchmetrics)."""

import json
from pathlib import Path
from random import Random

import pytest

from pada_agent.evaluation.verifiers.span import exact_match, normalize_span, token_f1

DATA = Path(__file__).parents[3] / "shared" / "data" / "squad" / "validation.jsonl"
N_ROWS = 500

pytestmark = pytest.mark.skipif(not DATA.is_file(), reason=f"no SQuAD rows in {DATA}")


def read_golds() -> list[list[str]]:
    return [json.loads(line)["answers"]["text"] for line in DATA.read_text(encoding="utf-8").splitlines()[:N_ROWS]]


def perturb(golds: list[str], others: list[str], rng: Random) -> str:
    """A prediction as a student might write it: right, right but for its form, partly right, or wrong."""
    answer = rng.choice(golds)
    words = answer.split()
    forms = [
        answer,
        f"The {answer.upper()}!",
        f" {answer},  ",
        f"It was {answer} in the end",
        " ".join(words[1:]) or answer,
        " ".join([*words, words[0]]),
        "-".join(words),
        rng.choice(others),
        "",
    ]
    return rng.choice(forms)


def test_exact_match_and_f1_are_those_of_the_official_script_on_every_row() -> None:
    squad = pytest.importorskip(
        "torchmetrics.functional.text", reason="needs the extra: pip install -e '.[bench]'"
    ).squad
    rng, golds = Random(0), read_golds()
    predictions = [perturb(answers, golds[i - 1], rng) for i, answers in enumerate(golds)]
    assert len(predictions) == N_ROWS
    assert all(normalize_span(gold) for answers in golds for gold in answers)  # the peer scores empty ones as SQuAD 2.0
    ours, theirs = [], []
    for i, (prediction, answers) in enumerate(zip(predictions, golds, strict=True)):
        found = squad(
            {"prediction_text": prediction, "id": str(i)},
            {"answers": {"answer_start": [0] * len(answers), "text": answers}, "id": str(i)},
        )
        ours.append((exact_match(prediction, answers), token_f1(prediction, answers)))
        theirs.append((found["exact_match"].item() == 100, found["f1"].item() / 100))
    assert [em for em, _ in ours] == [em for em, _ in theirs]
    assert [f1 for _, f1 in ours] == pytest.approx([f1 for _, f1 in theirs], abs=1e-6)
    assert 100 < sum(em for em, _ in ours) < 400
    assert sum(0 < f1 < 1 for _, f1 in ours) > 50
