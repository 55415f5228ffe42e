"""What the writer is told: which row, what is wrong, what to do; and what it is not told."""

import pytest

from pada_agent.agents.quality_control.feedback import MAX_DRAFT_CHARACTERS, advise, remember
from pada_agent.core.records import Feedback, Overlap, Provenance, Rating, Rejection

DRAFTS = {0: {"question": "first"}, 1: {"question": "second", "answer": "b"}}


def refuse(stage: str, reason: str = "", *, row: int = 1, **values: object) -> Rejection:
    origin = Provenance(branch="pattern", iteration=1, batch_id="b", attempt=1, source_id="t1", row=row)
    return Rejection.model_validate({"stage": stage, "reason": reason, "text": "x", "provenance": origin, **values})


def repeat(protected_id: str) -> Overlap:
    return Overlap(example_id="syn", protected_id=protected_id, kind="near", evidence="ROUGE-L 1.00")


def rate(feedback: str, reason: str = "vague") -> Rating:
    return Rating(example_id="syn", reason=reason, utility=2, relevance=5, feedback=feedback)


@pytest.mark.parametrize(
    ("rejection", "advice"),
    [
        (
            refuse("duplicate", "repeats t1: ROUGE-L 1.00", overlap=repeat("t1")),
            "it copies its real example: write about another person and another case, in other words",
        ),
        (
            refuse("duplicate", "repeats train-067: ROUGE-L 0.9", overlap=repeat("train-067")),
            "it says what another row says already: write about another case, in other words",
        ),
        (refuse("format", "field 'answer' is missing or empty"), "field 'answer' is missing or empty"),
        (
            refuse("verification", "answered on its own it comes out as 'c', not 'b'"),
            "answered on its own it comes out as 'c', not 'b': make the detail that decides plain, or write about another case",
        ),
        (refuse("quality", "rated 3.5: vague", rating=rate("name the meter")), "name the meter"),
        (refuse("quality", "rated 3.5: vague", rating=rate("")), "vague"),
        (refuse("quality", "rated 3.5", rating=rate("", "")), "it was rated 3.5 of 10: write a better one"),
        (refuse("quality", "the judge did not rate it"), "it could not be rated: write it in plain form"),
    ],
)
def test_advice_says_what_to_do_and_shows_the_refused_version(rejection: Rejection, advice: str) -> None:
    assert advise([rejection], DRAFTS) == [Feedback(row=1, draft="question: second; answer: b", advice=advice)]


def test_what_overlaps_held_out_rows_is_neither_quoted_nor_shown_again() -> None:
    (told,) = advise([refuse("contamination", "exact overlap: the secret text")], DRAFTS)
    assert told.draft == "" and "secret" not in told.advice


def test_a_long_version_is_shortened() -> None:
    (told,) = advise([refuse("format", "too long")], {1: {"question": "x" * 5000}})
    assert len(told.draft) == MAX_DRAFT_CHARACTERS


def test_newer_advice_takes_the_place_of_older_and_no_advice_takes_nothings() -> None:
    old = advise([refuse("format", "one", row=0), refuse("format", "two")], DRAFTS)
    new = advise([refuse("format", "three")], DRAFTS)
    assert [(f.row, f.advice) for f in remember(old, new)] == [(0, "one"), (1, "three")]
    assert remember(old, []) == old
