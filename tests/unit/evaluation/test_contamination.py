from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pada_agent.core.records import Example, Overlap, Turn
from pada_agent.evaluation.contamination import find_duplicates, find_near, find_overlap
from pada_agent.evaluation.repeats import rouge_l
from pada_agent.evaluation.text_units import units_of
from tests.toy_world import WordCountEmbedder

LONG = "a train leaves the station at noon and travels sixty miles an hour for three full hours before it stops"


def example(id: str, question: str, prompt: str = "") -> Example:
    return Example(id=id, prompt=prompt or question, answer="", reference={"question": question})


def kind_of(row: str, protected: str) -> str | None:
    found = find_overlap([example("new", row)], [example("held out", protected)])
    return found[0].kind if found else None


def test_text_is_normalized_for_comparison() -> None:
    assert units_of("  What’s  the ＡＮＳＷＥＲ,\nthen?! ") == ("what", "s", "the", "answer", "then")
    assert units_of("Straße") == units_of("STRASSE")


@pytest.mark.parametrize(
    ("row", "protected", "kind"),
    [
        ("What feeds the lake?", "What feeds the lake?", "exact"),
        ("what feeds the Lake", "What feeds the lake?", "normalized"),
        (f"Listen: {LONG}. How far did it go?", f"{LONG}. How many miles?", "ngram"),
        (f"So {LONG}!", "the station at noon and travels sixty miles", "ngram"),
        ("What feeds the river?", "What feeds the lake?", None),
        ("So what feeds the lake?", "What feeds the lake?", None),
        ("!?", "...", None),
    ],
)
def test_an_overlap_is_told_by_its_strictest_kind(row: str, protected: str, kind: str | None) -> None:
    assert kind_of(row, protected) == kind


def test_an_overlap_shows_its_evidence() -> None:
    [found] = find_overlap([example("new", f"{LONG} again")], [example("far", "other"), example("held out", LONG)])
    assert (found.example_id, found.protected_id) == ("new", "held out")
    assert len(found.evidence.split()) == 13 and found.evidence in LONG


def test_questions_on_the_same_passage_do_not_overlap() -> None:
    new = example("new", "What feeds the lake?", prompt=f"{LONG}\n\nWhat feeds the lake?")
    assert not find_overlap([new], [example("old", "When does it freeze?", prompt=f"{LONG}\n\nWhen does it freeze?")])


def test_rows_without_a_question_are_compared_by_their_prompt() -> None:
    rows = [Example(id=i, prompt=LONG, answer="") for i in ("new", "old")]
    assert find_overlap(rows[:1], rows[1:])[0].kind == "exact"


@pytest.mark.parametrize(
    ("one", "other", "score"),
    [
        ("police killed the gunman", "police kill the gunman", 0.75),
        ("police killed the gunman", "the gunman kill police", 0.5),
        ("a b c d", "a c d", 6 / 7),
        ("a", "b", 0),
        ("", "a", 0),
        ("", "", 1),
    ],
)
def test_rouge_l_is_that_of_lin_2004(one: str, other: str, score: float) -> None:
    assert rouge_l(one, other) == pytest.approx(score)


def test_near_duplicates_are_found_among_old_and_new_rows() -> None:
    new = [example("a", f"{LONG} now"), example("b", "What feeds the lake?"), example("c", "what feeds the lake")]
    found = find_duplicates(new, [example("old", LONG)], threshold=0.85)
    assert [(o.example_id, o.protected_id, o.kind) for o in found] == [("a", "old", "near"), ("c", "b", "near")]
    assert found[0].evidence == "ROUGE-L 0.98"


def test_a_copy_with_a_sentence_added_is_a_duplicate() -> None:
    old = example("old", "Is a reading from the third still fine if the window closed on the first?")
    added = " If so, would you please tell me which of the two readings you are going to use for my next bill?"
    copied, changed = example("copied", old.prompt + added), example("changed", f"Can I still send the reading?{added}")
    (found,) = find_duplicates([copied, changed], [old], threshold=0.85)
    assert found == Overlap(
        example_id="copied", protected_id="old", kind="near", evidence="holds 15 of its 15 words in order"
    )


words = st.lists(st.sampled_from("abc"), max_size=7)


@given(words, words)
def test_rouge_l_agrees_with_trying_all_subsequences(one: list[str], other: list[str]) -> None:
    shared = {c for n in range(len(one) + 1) for c in combinations(one, n)}
    longest = max(len(c) for c in shared & {c for n in range(len(other) + 1) for c in combinations(other, n)})
    total = len(one) + len(other)
    assert rouge_l(" ".join(one), " ".join(other)) == pytest.approx(2 * longest / total if total else 1)


@given(words, words, st.floats(0.05, 1))
def test_the_shortcuts_lose_no_duplicate(one: list[str], other: list[str], threshold: float) -> None:
    rows = example("new", " ".join(one)), example("old", " ".join(other))
    found = find_duplicates(rows[:1], rows[1:], threshold=threshold)
    assert bool(found) == (rouge_l(rows[0].prompt, rows[1].prompt) >= threshold)


def test_a_row_in_other_words_is_found_by_its_vector_with_the_row_and_the_cosine() -> None:
    held_out = [example("h1", "the lamp in the hall is broken"), example("h2", "where is my parcel today")]
    rows = [example("r1", "today my parcel is where"), example("r2", "do you sell garden chairs")]
    (found,) = find_near(rows, held_out, embedder=WordCountEmbedder(), threshold=0.9)
    assert (found.example_id, found.protected_id, found.kind) == ("r1", "h2", "embedding")
    assert found.similarity == pytest.approx(1.0)
    assert "where is my parcel today" in found.evidence
    assert find_near([], held_out, embedder=WordCountEmbedder(), threshold=0.9) == []
    assert find_near(rows, [], embedder=WordCountEmbedder(), threshold=0.9) == []


BOOKED, SOLD = "Shall I book the table for two at eight?", "Shall I sell the shares today?"


def chat(id: str, before: str, question: str) -> Example:
    history = (Turn(role="user", content="Hello"), Turn(role="assistant", content=before)) if before else ()
    return Example(id=id, prompt=question, answer="", reference={"question": question}, history=history)


@pytest.mark.parametrize("threshold", [0.85, None])
@pytest.mark.parametrize(
    ("new", "old", "is_same"),
    [
        ((BOOKED, "Yes, please."), (BOOKED, "yes please"), True),
        ((BOOKED.upper(), "Yes, please."), (BOOKED, "yes please"), True),
        ((SOLD, "Yes, please."), (BOOKED, "Yes, please."), False),
        (("", "Yes, please."), (BOOKED, "Yes, please."), False),
        ((BOOKED, "No, thank you."), (BOOKED, "Yes, please."), False),
        ((SOLD, LONG), (BOOKED, LONG), True),
        (("", LONG), (BOOKED, LONG), True),
    ],
)
def test_a_short_question_is_the_same_only_after_the_same_turns(
    new: tuple[str, str], old: tuple[str, str], is_same: bool, threshold: float | None
) -> None:
    row, known = chat("new", *new), chat("old", *old)
    assert bool(find_overlap([row], [known])) == is_same
    assert bool(find_duplicates([row], [known], threshold=threshold)) == is_same
    assert bool(find_duplicates([known, row], [], threshold=threshold)) == is_same
    assert bool(find_near([row], [known], embedder=WordCountEmbedder(), threshold=0.9)) == is_same


def test_a_short_question_in_other_words_is_looked_for_after_the_same_turns() -> None:
    held_out = [
        chat("sold", SOLD, "today my parcel is where"),
        chat("booked", BOOKED, "where is my parcel today"),
        chat("long", SOLD, LONG),
    ]
    rows = [
        chat("r1", BOOKED, "my parcel is where today"),
        chat("r2", "", "my parcel is where today"),
        chat("r3", BOOKED, LONG),
    ]
    found = find_near(rows, held_out, embedder=WordCountEmbedder(), threshold=0.9)
    assert [(o.example_id, o.protected_id) for o in found] == [("r1", "booked"), ("r3", "long")]


@pytest.mark.parametrize(
    ("new", "old", "is_same"),
    [
        ("What is 10 + 3?", "What is 10 - 3?", False),
        ("What is 10+3?", "what is 10 + 3", True),
        ("What is 10 - 3?", "What is 10 \u2212 3?", True),
        ("a != b", "a == b", False),
        ("(a) * b", "(a) / b", False),
        ("a**b", "a*b", False),
        ("What is -3?", "What is 3?", False),
        ("Great service \U0001f60d", "Great service \U0001f621", False),
        ("Is the re-opened shop in/out?", "Is the re opened shop in out?", True),
        ("Hello - is **this** true?", "Hello, is this true?", True),
    ],
)
def test_a_short_question_with_other_operators_or_emoji_is_another_one(new: str, old: str, is_same: bool) -> None:
    row, known = example("new", new), example("old", old)
    assert bool(find_overlap([row], [known])) == is_same
    assert bool(find_duplicates([row], [known], threshold=0.85)) == is_same
    assert bool(find_duplicates([row], [known], threshold=None)) == is_same
    assert bool(find_near([row], [known], embedder=WordCountEmbedder(), threshold=0.9)) == is_same


def test_a_short_question_on_another_passage_is_another_one() -> None:
    def ask(id: str, passage: str, question: str) -> Example:
        reference = {"question": question, "passage": passage}
        return Example(id=id, prompt=f"{passage}\n\n{question}", answer="", reference=reference)

    held_out = [ask("tower", "The tower is old.", "Who built it?"), ask("long", "The tower is old.", f"{LONG}?")]
    rows = [ask("r1", "The bridge is new.", "Who built it?"), ask("r2", "the tower is old", "who built it")]
    for found in (find_overlap(rows, held_out), find_duplicates(rows, held_out, threshold=0.85)):
        assert [(o.example_id, o.protected_id) for o in found] == [("r2", "tower")]
    assert find_overlap([ask("r3", "The bridge is new.", f"{LONG}?")], held_out)
