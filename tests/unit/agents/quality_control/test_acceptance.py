"""What becomes of rated rows."""

import pytest

from pada_agent.agents.quality_control.acceptance import accept_unreviewed, decide, explain_acceptance, find_fault
from pada_agent.agents.quality_control.feedback import advise
from pada_agent.agents.quality_control.rating import BatchRating
from pada_agent.core.config import QualityConfig
from pada_agent.core.records import Example, Provenance, Rating

PAPER = QualityConfig(accept="batch", floor=1)
CANDIDATES = [
    Example(
        id=f"syn-i1-e-b1-a1-r{row + 1}",
        prompt=f"new question {row}",
        answer="a",
        provenance=Provenance(
            branch="training_error", iteration=1, batch_id="i1-e-b1", attempt=1, source_id="t1", row=row
        ),
    )
    for row in range(2)
]


def rating(row: int, *scores: int) -> Rating:
    """Utility and relevance, or adherence before them; one score stands for both."""
    *adherence, utility, relevance = scores if len(scores) > 1 else scores * 2
    return Rating(
        example_id=CANDIDATES[row].id,
        reason="because",
        adherence=adherence[0] if adherence else None,
        utility=utility,
        relevance=relevance,
        feedback="mend it",
    )


@pytest.mark.parametrize(
    ("scores", "floor", "fault"),
    [
        ((10, 10, 10), 4, None),
        ((7, 7, 7), 4, None),
        ((10, 1, 10), 4, "utility 1 is below 4"),
        ((1, 10, 10), 4, "adherence 1 is below 4"),
        ((10, 10, 3), 4, "relevance 3 is below 4"),
        ((10, 3, 3), 4, "utility 3, relevance 3 is below 4"),
        ((10, 4, 10), 4, None),
        ((10, 4, 6), 4, "mean 6.7 is below 7"),
        ((10, 1, 10), 1, None),
        ((1, 10), 4, "utility 1 is below 4"),
    ],
)
def test_high_scores_make_up_for_no_score_below_the_floor(
    scores: tuple[int, ...], floor: int, fault: str | None
) -> None:
    assert find_fault(rating(0, *scores), QualityConfig(floor=floor)) == fault


@pytest.mark.parametrize(
    ("quality", "scores", "last", "accepted", "word"),
    [
        (QualityConfig(), (8, 7), False, [0, 1], "accepted: mean 7.5 of 10"),
        (QualityConfig(), (9, 6), False, [0], "accepted 1 of 2 rows: mean 7.5 of 10"),
        (QualityConfig(), (9, 4), False, [0], "accepted 1 of 2 rows: mean 6.5 of 10, below 7"),
        (QualityConfig(), (3, 4), False, [], "sent back: mean 3.5 of 10, below 7"),
        (PAPER, (9, 5), False, [0, 1], "accepted: mean 7.0 of 10"),
        (PAPER, (9, 4), False, [], "sent back: mean 6.5 of 10, below 7"),
        (PAPER, (9, 4), True, [0], "accepted 1 of 2 rows: mean 6.5 of 10, below 7"),
        (PAPER, (3, 4), True, [], "sent back: mean 3.5 of 10, below 7"),
        (QualityConfig(accept="batch"), (10, 3), False, [], "sent back: mean 6.5 of 10, below 7"),
        (QualityConfig(accept="batch", threshold=6), (10, 3), False, [0], "accepted 1 of 2 rows: mean 6.5 of 10"),
    ],
)
def test_rows_are_accepted_one_by_one_or_as_the_paper_does_by_the_batch(
    quality: QualityConfig, scores: tuple[int, int], last: bool, accepted: list[int], word: str
) -> None:
    found = BatchRating(ratings=tuple(rating(row, score) for row, score in enumerate(scores)))
    decision = decide(CANDIDATES, found, quality=quality, is_last_attempt=last)
    assert [e.provenance.row for e in decision.accepted if e.provenance] == accepted
    assert decision.word == word
    assert len(decision.accepted) + len(decision.rejected) == 2
    assert [r.example_id for r in decision.ratings] == [e.id for e in decision.accepted]
    assert all(r.rating for r in decision.rejected)


@pytest.mark.parametrize("quality", [QualityConfig(), PAPER])
def test_an_unrated_row_is_rejected_even_in_an_accepted_batch(quality: QualityConfig) -> None:
    decision = decide(CANDIDATES, BatchRating(ratings=(rating(0, 9),)), quality=quality, is_last_attempt=False)
    assert [e.id for e in decision.accepted] == [CANDIDATES[0].id]
    assert [(r.stage, r.reason) for r in decision.rejected] == [("quality", "the judge did not rate it")]


def test_a_row_below_the_floor_says_so() -> None:
    decision = decide(
        CANDIDATES[:1], BatchRating(ratings=(rating(0, 10, 1, 10),)), quality=QualityConfig(), is_last_attempt=True
    )
    assert decision.rejected[0].reason == "rated 7.0: because (utility 1 is below 4)"


def test_the_reason_for_a_row_is_the_judges_or_says_that_nobody_judged() -> None:
    assert explain_acceptance(rating(0, 8), decision="accepted: mean 7.5 of 10") == "rated 8.0: because"
    off = accept_unreviewed(CANDIDATES)
    assert off.ratings == () and explain_acceptance(None, decision=off.word) == "quality control is off"


def test_the_reason_for_a_row_that_a_person_took_in_says_what_was_overruled() -> None:
    found = BatchRating(ratings=(rating(0, 5), rating(1, 4)))
    (refused, _) = decide(CANDIDATES, found, quality=QualityConfig(), is_last_attempt=True).rejected
    assert explain_acceptance(None, decision="", refused=refused) == "accepted in review; rated 5.0: because"


def test_a_good_row_of_a_weak_batch_is_refused_for_its_batch_and_its_writer_is_told_so() -> None:
    found = BatchRating(ratings=(rating(0, 9), rating(1, 3)))
    decision = decide(CANDIDATES, found, quality=PAPER, is_last_attempt=False)
    good, weak = decision.rejected
    assert good.reason == "rated 9.0: because (good enough on its own, but its batch is not: mean 6.0 is below 7)"
    assert weak.reason == "rated 3.0: because"
    advice = {f.row: f.advice for f in advise(decision.rejected, {})}
    assert advice[0].startswith("nothing by itself") and advice[1] == "mend it"


def test_a_batch_whose_mean_is_the_threshold_passes() -> None:
    scores = [(6, 6, 7), *[(7, 7, 7)] * 4, (7, 8, 8)]
    found = BatchRating(ratings=tuple(rating(0, *three) for three in scores))
    assert found.score == 7, "as fractions of two, it is 6.999999999999999"
