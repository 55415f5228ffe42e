"""What indexes find is what looking at all rows finds, however the rows came together."""

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest

from pada_agent.core.records import Example, Turn
from pada_agent.evaluation.contamination import find_duplicates, find_overlap
from pada_agent.evaluation.row_set import RowSet
from tests.unit.evaluation import plain_comparison as plain

PREAMBLE = "You are a careful clerk of the town library and you answer each question in one short sentence: "
ENDING = " Please answer in one word only and give no reason for it at all, thank you."
FEW = ("a", "b", "c", "d", "e", "f", "g")
SCRIPTS = ("ein", "Straße", "ＡＢＣ", "猫", "がとまる", "ไม่มีน้ำ", "مرحبا", "don't", "É")
N_WORLDS = 30
BOOK = Random("book").choices(FEW, k=60)


def draw_rows(rng: Random, name: str, n: int, kind: str) -> list[Example]:
    """Rows that have much in common: short ones of few words, passages under few questions, or long instructions."""
    words = FEW if kind != "scripts" else SCRIPTS
    rows = []
    for i in range(n):
        length = rng.choice((0, 1, 2, 3, 8, 9, 14, 20)) if kind != "long" else rng.randint(13, 40)
        page = rng.randrange(len(BOOK))
        joint = rng.choice((" + ", " - ")) if kind == "sums" else " "
        text = joint.join(BOOK[page : page + length] if kind == "long" else rng.choices(words, k=length))
        if kind in ("passages", "forms"):
            question = rng.choice(("Is it true?", "Who?", f"{text}?"))
            if kind == "forms":
                text = PREAMBLE + text
                question = "Who?" if rng.random() < 0.3 else f"{text}\n"
            rows.append(
                Example(id=f"{name}{i}", prompt=f"{text}\n{question}", answer="", reference={"question": question})
            )
            continue
        if kind == "instructions":
            text = (PREAMBLE if rng.random() < 0.95 else PREAMBLE[:60]) + text + (ENDING if rng.random() < 0.9 else "")
        options = ("x", rng.choice("yz")) if kind == "options" else ()
        turns = [Turn(role="user", content=rng.choice("AB")), Turn(role="assistant", content="x")]
        history = tuple(turns * rng.randrange(3)) if kind == "chats" else ()
        rows.append(Example(id=f"{name}{i}", prompt=text, answer="", options=options, history=history))
    return rows


KINDS = ("few", "scripts", "long", "passages", "instructions", "options", "forms", "chats", "sums")


@pytest.mark.parametrize("kind", KINDS)
def test_overlaps_are_those_that_looking_at_all_rows_finds(kind: str) -> None:
    n_found = 0
    for seed in range(N_WORLDS):
        rng = Random(f"{kind}/{seed}")
        held_out, rows = draw_rows(rng, "h", rng.randint(0, 12), kind), draw_rows(rng, "r", 8, kind)
        found = find_overlap(rows, held_out)
        assert found == plain.find_overlap(rows, held_out) == find_overlap(rows, RowSet(held_out))
        n_found += len(found)
    assert n_found


@pytest.mark.parametrize("kind", KINDS)
def test_repeats_are_those_that_looking_at_all_rows_finds(kind: str) -> None:
    n_found = 0
    for seed in range(N_WORLDS):
        rng = Random(f"{kind}/{seed}")
        threshold = rng.choice((0.05, 0.5, 0.7, 0.85, 1.0))
        parts = [draw_rows(rng, name, rng.randint(0, 8), kind) for name in "abc"]
        rows, known = draw_rows(rng, "r", 8, kind), [row for part in parts for row in part]
        found = plain.find_duplicates(rows, known, threshold=threshold)
        assert find_duplicates(rows, known, threshold=threshold) == found
        grown, further = RowSet(), RowSet(parts[0])
        for part in parts:
            grown.extend(part)
            find_duplicates(rows, grown, threshold=threshold)  # an index that is in use grows too
        for part in parts[1:]:
            find_duplicates(rows, further, threshold=threshold)
            further = RowSet(part, beyond=further)
        assert find_duplicates(rows, grown, threshold=threshold) == found
        assert find_duplicates(rows, further, threshold=threshold) == found
        n_found += len(found)
    assert n_found


def test_a_set_is_the_sequence_of_its_rows() -> None:
    first, second = draw_rows(Random(0), "a", 3, "few"), draw_rows(Random(1), "b", 2, "few")
    rows = RowSet(second, beyond=RowSet(first))
    assert list(rows) == [*first, *second] and len(rows) == 5
    assert [rows[i] for i in (0, 2, 3, -1)] == [first[0], first[2], second[0], second[1]]
    assert rows[1:4] == [*first[1:], second[0]]
    assert Random(5).sample(rows, 3) == Random(5).sample([*first, *second], 3)
    with pytest.raises(IndexError):
        rows[5]
    assert RowSet.of(rows) is rows
    assert rows.by_id["b1"] == second[1]


def test_the_rows_nearest_to_a_text_come_nearest_first_and_earlier_ones_first_among_equals() -> None:
    rows = [Example(id=text, prompt=text, answer="x") for text in ("a", "b", "ab", "b", "c")]

    class Letters:
        def embed(self, texts: Sequence[str]) -> np.ndarray:
            return np.array([[float(letter in text) for letter in "abc"] for text in texts], dtype=np.float32)

    known = RowSet(rows)
    found = known.find_nearest_to(["b", "c"], 3, Letters())
    assert [[rows.index(row) for row in near] for near in found] == [[1, 2, 1], [4, 0, 1]]
    among = known.find_nearest_to(["b"], 3, Letters(), among=[0, 4, 2])
    assert [[row.id for row in near] for near in among] == [["ab", "a", "c"]]
    assert known.find_nearest_to(["b"], 0, Letters()) == [[]]
