"""Contrasts are the nearest rows, however many there are."""

import numpy as np
import pytest

from pada_agent.agents.data_generation import contrasts
from pada_agent.agents.data_generation.contrasts import find_contrasts, find_nearest_rows
from pada_agent.core.records import Example
from tests.toy_world import WordCountEmbedder


@pytest.mark.parametrize("k", [1, 3, 40])
def test_they_are_those_of_sorting_all_rows(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrasts, "AT_ONCE", 2)
    words = ["a red lamp", "a lamp", "the red lamp is red", "a door", "a red door", "lamp", "door lamp door"]
    errors = [Example(id=f"e{n}", prompt=text, answer="") for n, text in enumerate(words)]
    right = [Example(id=f"r{n}", prompt=f"{words[n % 7]} {words[n % 3]}", answer="") for n in range(20)]
    embedder = WordCountEmbedder()
    ours, theirs = (
        np.array(embedder.embed([e.prompt for e in rows]), dtype=np.float32).astype(float) for rows in (errors, right)
    )
    wanted = np.argsort(-(ours @ theirs.T), axis=1, kind="stable")[:, :k]
    found = find_nearest_rows(errors, right, k=k, embedder=embedder)
    assert found == {e.id: tuple(right[i].id for i in row) for e, row in zip(errors, wanted, strict=True)}
    assert find_nearest_rows(errors[:1], [], k=k, embedder=embedder) == {"e0": ()}


def test_a_source_that_is_answered_correctly_is_not_its_own_contrast() -> None:
    texts = ["a red lamp", "a red door", "a blue door", "one two three"]
    rows = [Example(id=f"t{n}", prompt=text, answer="") for n, text in enumerate(texts)]
    found = find_contrasts(rows[:3], rows[1:], k=2, embedder=WordCountEmbedder())
    assert found == {"t0": ("t1", "t2"), "t1": ("t2", "t3"), "t2": ("t1", "t3")}
    assert find_contrasts(rows[1:2], rows[1:2], k=2, embedder=WordCountEmbedder()) == {"t1": ()}
