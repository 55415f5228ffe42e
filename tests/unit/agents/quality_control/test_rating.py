"""What the judge is asked, and its ratings."""

import json

from pada_agent.agents.quality_control.acceptance import word_rating
from pada_agent.agents.quality_control.rating import BatchRating, rate_batch
from pada_agent.core.config import TaskConfig
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example, Provenance, Strategy
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.prompts.prompted_model import PromptedModel
from tests.fakes import ScriptedModel

TASK = make_task(TaskConfig(name="multiple_choice", labels={"a": "first", "b": "second"}))
SOURCE = TASK.read(RawRow(where="t:1", fields={"id": "t1", "question": "where is the key", "answer": "a"}))
ORIGIN = Provenance(branch="training_error", iteration=1, batch_id="i1-e-b1", attempt=1, source_id="t1")


def candidate(row: int) -> Example:
    made = TASK.compose(
        {"question": f"new question {row}"}, source=SOURCE, given={}, example_id=f"syn-i1-e-b1-a1-r{row}"
    )
    assert isinstance(made, Example)
    return made.model_copy(update={"provenance": ORIGIN.model_copy(update={"row": row - 1})})


CANDIDATES = [candidate(1), candidate(2)]


def answer(*scores: int) -> str:
    return json.dumps(
        [{"sample": n, "reason": "because", "utility": s, "relevance": s} for n, s in enumerate(scores, start=1)]
    )


def rate(*replies: str) -> BatchRating:
    judge = PromptedModel(ScriptedModel(list(replies)))
    return rate_batch(CANDIDATES, {"t1": SOURCE}, strategy=None, draw="i1-e-b1/1", task=TASK, judge=judge)


def test_every_candidate_is_rated_and_the_score_is_the_mean() -> None:
    found = rate(answer(8, 5))
    assert [r.mean for r in found.ratings] == [8.0, 5.0]
    assert found.score == 6.5


def test_scores_without_a_reason_or_with_a_short_one_are_ratings() -> None:
    scores = [
        {"sample": 1, "utility": 8, "relevance": 9},
        {"sample": 2, "reason": "正确", "utility": 3, "relevance": 2},
    ]
    found = rate(json.dumps(scores))
    assert [(r.reason, r.mean, word_rating(r)) for r in found.ratings] == [
        ("", 8.5, "rated 8.5"),
        ("正确", 2.5, "rated 2.5: 正确"),
    ]


def test_a_candidate_left_out_by_the_judge_is_unrated() -> None:
    found = rate(answer(8))
    assert [r.example_id for r in found.ratings] == [CANDIDATES[0].id]
    assert not found.unrated


def test_a_judge_that_talks_nonsense_rates_nothing_and_says_so() -> None:
    found = rate("hm", "hm", "hm")
    assert found.score is None and set(found.unrated) == {c.id for c in CANDIDATES} and found.problems


def test_the_judge_is_told_the_bands_of_the_scale_and_the_other_labels() -> None:
    judge = ScriptedModel([answer(8, 5)])
    rate_batch(CANDIDATES, {"t1": SOURCE}, strategy=None, draw="i1-e-b1/1", task=TASK, judge=PromptedModel(judge))
    (prompt,) = judge.prompts
    assert "1 to 3 is poor, 4 to 6 is moderate, 7 to 10 is high" in prompt
    assert "The answers there are: a; b" in prompt
    assert not [score for score in ("score: 10 if", "5 if", "1 if") if score in prompt]


def test_the_judge_is_asked_for_no_more_rows_than_its_answer_has_room_for() -> None:
    judge = ScriptedModel([answer(8), answer(8)])
    small = PromptedModel(judge, max_output_tokens=130)
    rate_batch(CANDIDATES, {"t1": SOURCE}, strategy=None, draw="i1-e-b1/1", task=TASK, judge=small)
    assert [prompt.count("<sample number") for prompt in judge.prompts] == [1, 1]


def test_adherence_is_asked_for_only_where_the_strategy_says_something() -> None:
    def asked(approach: str) -> str:
        strategy = Strategy(
            id="i1-s1", pattern_id="i1-p1", category_name="c", strategy_name="s", generation_approach=approach
        )
        judge = ScriptedModel([answer(8, 5)] * 3)
        rate_batch(
            CANDIDATES, {"t1": SOURCE}, strategy=strategy, draw="i1-e-b1/1", task=TASK, judge=PromptedModel(judge)
        )
        return judge.prompts[0]

    assert "adherence" in asked("write about keys") and "write about keys" in asked("write about keys")
    assert "adherence" not in asked("") and "strategy" not in asked("")
