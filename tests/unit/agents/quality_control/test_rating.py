"""The judge's ratings and what follows from them."""

import json

import pytest

from pada_agent.agents.quality_control.rating import (
    BatchRating,
    accept_unreviewed,
    decide,
    describe_rejections,
    explain_acceptance,
    rate_batch,
)
from pada_agent.core.config import TaskConfig
from pada_agent.core.ports import RawRow
from pada_agent.core.records import Batch, Example, Provenance, Rating, Rejection
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.prompts.prompted_model import PromptedModel
from tests.fakes import ScriptedModel

TASK = make_task(TaskConfig(name="multiple_choice", labels={"a": "first", "b": "second"}))
SOURCE = TASK.read(RawRow(where="t:1", fields={"id": "t1", "question": "where is the key", "answer": "a"}))
BATCH = Batch(id="i1-e-b1", branch="training_error", iteration=1, source_ids=("t1", "t1"))
ORIGIN = Provenance(branch="training_error", iteration=1, batch_id="i1-e-b1", attempt=1, source_id="t1")


def candidate(row: int) -> Example:
    made = TASK.compose(
        {"question": f"new question {row}"}, source=SOURCE, given={}, example_id=f"syn-i1-e-b1-a1-r{row}"
    )
    assert isinstance(made, Example)
    return made.model_copy(update={"provenance": ORIGIN.model_copy(update={"row": row - 1})})


CANDIDATES = [candidate(1), candidate(2)]


def rating(row: int, score: int) -> Rating:
    return Rating(
        example_id=CANDIDATES[row - 1].id, reason="because", utility=score, relevance=score, feedback="mend it"
    )


def answer(*scores: int) -> str:
    return json.dumps(
        [{"sample": n, "reason": "because", "utility": s, "relevance": s} for n, s in enumerate(scores, start=1)]
    )


def review(*replies: str) -> BatchRating:
    judge = PromptedModel(ScriptedModel(list(replies)))
    return rate_batch(CANDIDATES, {"t1": SOURCE}, batch=BATCH, attempt=1, task=TASK, judge=judge)


def test_every_candidate_is_rated_and_the_score_is_the_mean() -> None:
    found = review(answer(8, 5))
    assert [r.mean for r in found.ratings] == [8.0, 5.0]
    assert found.score == 6.5


def test_a_candidate_left_out_by_the_judge_is_unrated() -> None:
    found = review(answer(8))
    assert found.unrated_ids == (CANDIDATES[1].id,)


def test_a_judge_that_talks_nonsense_rates_nothing_and_says_so() -> None:
    found = review("hm", "hm", "hm")
    assert found.score is None and len(found.unrated_ids) == 2 and found.problem


@pytest.mark.parametrize(
    ("scores", "last", "accepted", "word"),
    [
        ((8, 7), False, 2, "accepted"),
        ((9, 5), False, 2, "accepted"),
        ((9, 4), False, 0, "sent back"),
        ((9, 4), True, 1, "salvaged 1 of 2"),
        ((3, 4), True, 0, "salvaged 0 of 2"),
    ],
)
def test_a_batch_passes_goes_back_or_is_salvaged(scores: tuple[int, int], last: bool, accepted: int, word: str) -> None:
    found = BatchRating(ratings=tuple(rating(n, s) for n, s in enumerate(scores, start=1)))
    decision = decide(CANDIDATES, found, threshold=7, is_last_attempt=last)
    assert len(decision.accepted) == accepted
    assert decision.word.startswith(word)
    assert len(decision.accepted) + len(decision.rejected) == 2


def test_an_unrated_row_is_rejected_even_in_an_accepted_batch() -> None:
    decision = decide(CANDIDATES, BatchRating(ratings=(rating(1, 9),)), threshold=7, is_last_attempt=False)
    assert [e.id for e in decision.accepted] == [CANDIDATES[0].id]
    assert [r.stage for r in decision.rejected] == ["quality"]


def test_feedback_names_the_rows_below_the_threshold() -> None:
    decision = decide(CANDIDATES, BatchRating(ratings=(rating(1, 9), rating(2, 4))), threshold=7, is_last_attempt=False)
    assert decision.feedback == "- row 2 (rated 4.0): mend it"


def test_feedback_on_contamination_does_not_repeat_held_out_text() -> None:
    caught = Rejection(stage="contamination", reason="exact overlap: the secret text", text="x", provenance=ORIGIN)
    assert "secret" not in describe_rejections([caught])


def test_accepted_rows_keep_their_ratings_and_rejected_ones_theirs() -> None:
    found = BatchRating(ratings=(rating(1, 9), rating(2, 4)))
    whole = decide(CANDIDATES, found, threshold=6, is_last_attempt=False)
    assert [(r.example_id, r.mean) for r in whole.ratings] == [(CANDIDATES[0].id, 9.0), (CANDIDATES[1].id, 4.0)]
    salvaged = decide(CANDIDATES, found, threshold=7, is_last_attempt=True)
    assert [r.example_id for r in salvaged.ratings] == [e.id for e in salvaged.accepted] == [CANDIDATES[0].id]
    assert [r.rating for r in salvaged.rejected] == [rating(2, 4)]
    assert decide(CANDIDATES, found, threshold=7, is_last_attempt=False).ratings == ()


def test_the_reason_for_a_row_is_the_judges_or_says_that_nobody_judged() -> None:
    assert explain_acceptance(rating(1, 8), decision="accepted: mean 7.5 of 10") == "rated 8.0: because"
    off = accept_unreviewed(CANDIDATES)
    assert off.ratings == () and explain_acceptance(None, decision=off.word) == "quality control is off"


def test_the_reason_for_a_row_that_a_person_took_in_says_what_was_overruled() -> None:
    (refused, _) = decide(
        CANDIDATES, BatchRating(ratings=(rating(1, 3), rating(2, 4))), threshold=7, is_last_attempt=True
    ).rejected
    assert explain_acceptance(None, decision="", refused=refused) == "accepted in review; rated 3.0: because"
