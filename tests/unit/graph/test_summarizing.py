from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pada_agent.agents.quality_control.judge_calibration import JudgeCalibration
from pada_agent.agents.quality_control.rating_spread import RatingSpread
from pada_agent.core.config import RunConfig, TaskConfig
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import BatchReport, Example, Metrics, Prediction, Ref, ScoredRow, Verdict
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.graph.batch_rounds import BatchRound, sum_up
from pada_agent.graph.nodes.finishing import find_majority, find_why_unscored, is_cut_in_thought
from pada_agent.graph.state import RunState
from pada_agent.graph.summarizing import Majority, find_alarms, word_verdict
from pada_agent.graph.summary import ModelResult, RunSummary
from tests.unit.app.summaries import make_summary


@pytest.mark.parametrize(
    ("fine_tuned", "augmented", "ending"),
    [
        (
            100,
            200,
            "It also took more optimizer steps (200 against 100), which may be the only reason: set lora.n_steps, and",
        ),
        (100, None, "How many optimizer steps each took is not known, and more of them may be the only reason."),
        (100, 100, "One seed says something about these two models only; judging the method takes several."),
        (100, 90, "One seed says something about these two models only; judging the method takes several."),
    ],
)
def test_a_gain_is_the_datas_only_if_the_model_took_no_more_steps(
    fine_tuned: int, augmented: int | None, ending: str
) -> None:
    summary = make_summary()
    steps = {"untouched": None, "fine-tuned": fine_tuned, "iteration 1": augmented}
    models = [m.model_copy(update={"n_steps": steps[m.name]}) for m in summary.models]
    words = word_verdict(summary.comparisons, models)
    assert words.startswith(
        "With augmentation the model is better: 'iteration 1' against 'fine-tuned' +10.0 points on test"
    )
    assert f". {ending}" in words and words.count("steps") == 2 * (augmented == 200) + (augmented is None)


def test_a_loss_and_no_effect_are_said_as_such() -> None:
    summary = make_summary()
    lost = [c.model_copy(update={"verdict": "lost"}) for c in summary.comparisons]
    assert word_verdict(lost, summary.models).startswith("With augmentation the model is worse: ")
    unclear = [c.model_copy(update={"verdict": "not shown"}) for c in summary.comparisons]
    assert word_verdict(unclear, summary.models).startswith("No effect of augmentation is shown: ")


@pytest.mark.parametrize(
    ("verdict", "best", "is_told"),
    [
        ("gained", "iteration 1", False),
        ("gained", "fine-tuned", True),
        ("lost", "iteration 1", True),
        ("lost", "fine-tuned", False),
        ("not shown", "fine-tuned", False),
    ],
)
def test_a_published_model_that_did_worse_on_test_is_named(verdict: str, best: str, is_told: bool) -> None:
    summary = make_summary()
    tested = [c.model_copy(update={"verdict": verdict}) for c in summary.comparisons]
    words = word_verdict(tested, summary.models, best=best)
    assert (f"nevertheless chose '{best}', so that is the model in best/." in words) is is_told


def test_a_gain_on_the_rows_that_chose_the_iteration_is_called_too_high() -> None:
    summary = make_summary()
    for verdict in ("gained", "not shown", "lost"):
        chosen = [c.model_copy(update={"split": "selection", "verdict": verdict}) for c in summary.comparisons]
        several = (*summary.models, summary.models[-1].model_copy(update={"name": "iteration 2", "iteration": 2}))
        assert "probably too high: set data.test" in word_verdict(chosen, several)
        assert "too high" not in word_verdict(chosen, summary.models), "nothing was chosen"
    assert "too high" not in word_verdict(summary.comparisons, several), "measured on test"


def model(name: str, iteration: int | None, accuracy: float, *, low: float = 0.0, **changes: object) -> ModelResult:
    measured = Metrics(n=100, n_correct=round(100 * accuracy), accuracy=accuracy, low=low, high=1)
    made = ModelResult(
        name=name, iteration=iteration, n_train_rows=9, n_synthetic=0, validation=measured, selection=measured
    )
    return made.model_copy(update=changes)


def alarms(
    *models: ModelResult,
    judge: JudgeCalibration | None = None,
    ratings: RatingSpread | None = None,
    why_unscored: Mapping[str, str] | None = None,
    majority: Majority | None = None,
    **state: Any,
) -> list[str]:
    untouched = model("untouched", None, 0.25)
    run: RunState = {"settings": RunConfig(), **state}  # type: ignore[typeddict-item]
    return find_alarms(
        [untouched, *models],
        run,
        judge=judge or JudgeCalibration(),
        ratings=ratings or RatingSpread(),
        chance=0.25,
        majority=majority,
        why_unscored=why_unscored or {},
    )


def test_a_good_arm_raises_no_alarm_and_an_untouched_model_may_guess() -> None:
    assert alarms(model("fine-tuned", 0, 0.6, low=0.5)) == []


def test_an_arm_below_the_untouched_model_and_at_chance_raises_two() -> None:
    below, at_chance = alarms(model("fine-tuned", 0, 0.2, low=0.13))
    assert "below the untouched model" in below
    assert (
        at_chance
        == "'fine-tuned' does no better than chance on validation (20.0%, interval from 13.0%; chance is 25.0%)"
    )


def test_an_arm_above_chance_whose_interval_reaches_it_is_at_chance() -> None:
    (alarm,) = alarms(model("fine-tuned", 0, 0.3, low=0.22))
    assert "no better than chance" in alarm


def test_an_arm_no_better_than_one_label_for_all_rows_raises_an_alarm() -> None:
    majority = Majority(label="other", share=0.8)
    (alarm,) = alarms(model("fine-tuned", 0, 0.82, low=0.733), majority=majority)
    assert alarm == (
        "'fine-tuned' is not shown to do better on validation than giving 'other' to every row (82.0%, interval from 73.3%; 80.0% of"
        " the rows have this label)"
    )
    assert alarms(model("fine-tuned", 0, 0.95, low=0.9), majority=majority) == []
    (only_chance,) = alarms(model("fine-tuned", 0, 0.3, low=0.22), majority=majority)
    assert "no better than chance" in only_chance


def test_the_most_frequent_label_is_that_of_the_validation_rows() -> None:
    task = make_task(TaskConfig(labels={"other": "", "fees": ""}))
    fields = [{"question": f"q{i}", "answer": "fees" if i == 3 else "other"} for i in range(4)]
    rows = [
        ScoredRow(
            example=(example := task.read(RawRow(where=f"f:{i}", fields=found))),
            prediction=Prediction(example_id=example.id, response="other"),
            verdict=Verdict(example_id=example.id, value="correct"),
        )
        for i, found in enumerate(fields)
    ]
    assert find_majority(rows, task) == Majority(label="other", share=0.75)
    assert find_majority(rows, make_task(TaskConfig(name="numeric"))) is None


def test_answers_out_of_format_raise_an_alarm_from_five_percent() -> None:
    assert alarms(model("fine-tuned", 0, 0.6, low=0.5, n_without_answer=4)) == []
    (alarm,) = alarms(model("fine-tuned", 0, 0.6, low=0.5, n_without_answer=5))
    assert alarm == "5 of 100 answers of 'fine-tuned' are out of format (5%)"


def test_the_first_answer_that_could_not_be_scored_says_why() -> None:
    def score(value: Any, reason: str) -> ScoredRow:
        verdict = Verdict(example_id="e", value=value, reason=reason)
        example = Example(id="e", prompt="p", answer="a", reference={})
        return ScoredRow(example=example, prediction=Prediction(example_id="e", response="r"), verdict=verdict)

    rows = [score("wrong", "no"), score("unscored", "first"), score("unscored", "second")]
    assert (find_why_unscored(rows), find_why_unscored(rows[:1])) == ("first", "")


def test_an_alarm_about_answers_that_could_not_be_scored_says_why() -> None:
    unscored = model("fine-tuned", 0, 0.6, low=0.5)
    unscored = unscored.model_copy(update={"validation": unscored.validation.model_copy(update={"n_unscored": 2})})
    (alarm,) = alarms(unscored, why_unscored={"fine-tuned": "the judge gave no decision"})
    assert alarm == "2 of 100 answers of 'fine-tuned' could not be scored, the first: the judge gave no decision"


def test_test_answers_that_could_not_be_scored_raise_an_alarm_too() -> None:
    """They count as not correct in the comparison that the verdict is about."""
    measured = model("fine-tuned", 0, 0.6, low=0.5)
    tested = measured.validation.model_copy(update={"n": 50, "n_unscored": 3})
    (alarm,) = alarms(measured.model_copy(update={"test": tested}))
    assert alarm == "3 of 50 test answers of 'fine-tuned' could not be scored, and count as not correct"


def test_answers_that_are_cut_off_raise_an_alarm_from_five_percent() -> None:
    assert alarms(model("fine-tuned", 0, 0.6, low=0.5, n_cut_off=4)) == []
    (alarm,) = alarms(model("fine-tuned", 0, 0.6, low=0.5, n_cut_off=5))
    assert alarm.startswith(
        "5 of 100 answers of 'fine-tuned' were cut off and are not right (5%): is student.max_new_tok"
    )


def test_a_student_that_is_still_thinking_at_the_end_raises_an_alarm_also_untouched() -> None:
    fine = model("fine-tuned", 0, 0.6, low=0.5)
    assert alarms(fine, model("untouched", None, 0.3, n_cut_in_thought=4)) == []
    (alarm,) = alarms(fine, model("untouched", None, 0.3, n_cut_off=90, n_cut_in_thought=80))
    assert alarm.startswith("'untouched' was still thinking on 80 of 100 rows (80%)")
    assert "raise student.max_new_tokens" in alarm
    (alarm,) = alarms(model("fine-tuned", 0, 0.6, low=0.5, n_cut_off=5, n_cut_in_thought=5))
    assert "still thinking" in alarm, "told once, with its cause"


@pytest.mark.parametrize(
    ("response", "truncated", "counts"),
    [
        ("<think>it may be", True, True),
        ("hm</think>it is", True, False),
        ("it is", True, False),
        ("", True, False),
        ("<think>it may be", False, False),
    ],
)
def test_only_a_thought_that_the_limit_cut_counts(response: str, truncated: bool, counts: bool) -> None:
    row = ScoredRow(
        example=Example(id="x", prompt="q", answer="a"),
        prediction=Prediction(example_id="x", response=response, truncated=truncated),
        verdict=Verdict(example_id="x", value="wrong"),
    )
    assert is_cut_in_thought(row) == counts


def told(iteration: int, n_accepted: int) -> BatchRound:
    ref = Ref(key="k")
    report = BatchReport(
        batch_id=f"i{iteration}-s1-b1",
        iteration=iteration,
        branch="pattern",
        attempts=1,
        n_requested=1,
        n_written=1,
        n_accepted=n_accepted,
        decision="x",
        accepted=ref,
        rejected=ref,
    )
    return sum_up([report], ref)


def test_an_iteration_whose_rows_were_all_rejected_is_named() -> None:
    batches = {"i1-pattern": told(1, 2), "i2-pattern": told(2, 0), "i2-training_error": told(2, 0)}
    assert alarms(batches=batches) == ["no synthetic row of iteration 2 was accepted"]


def test_fewer_errors_than_clusters_raise_an_alarm() -> None:
    refs = {"1": Ref(key="a", rows=10), "2": Ref(key="b", rows=9), "3": Ref(key="c", rows=0)}
    (alarm,) = alarms(analyses=refs)
    assert alarm == "iteration 2 has 9 analyzed errors, fewer than the 10 clusters that the settings allow"


def test_a_judge_that_catches_nothing_raises_an_alarm() -> None:
    (alarm,) = alarms(judge=JudgeCalibration(n_bad=3, n_good=2))
    assert "passed all 3 known-bad rows" in alarm
    assert alarms(judge=JudgeCalibration(n_bad=3, n_caught=1, n_caught_by_rating=1)) == []
    (alarm,) = alarms(judge=JudgeCalibration(n_bad=3, n_caught=3, n_caught_by_answer=3))
    assert "its ratings cannot be trusted" in alarm
    assert alarms(judge=JudgeCalibration(n_good=2, n_false_alarms=2)) == []


@pytest.mark.parametrize(
    ("accepted", "raised"),
    [({"10": 42}, True), ({"10": 9}, False), ({"10": 41, "9": 1}, False), ({}, False)],
)
def test_ratings_that_are_all_the_same_raise_an_alarm(accepted: dict[str, int], raised: bool) -> None:
    found = alarms(ratings=RatingSpread(accepted=accepted, refused={"1": 7, "5": 6}))
    assert found == (["all 42 accepted rows have the rating 10: it does not tell them apart"] if raised else [])


def test_the_published_summary_of_the_demo_can_be_read() -> None:
    published = Path(__file__).parents[3] / "docs" / "results" / "demo" / "summary.json"
    summary = RunSummary.model_validate_json(published.read_text(encoding="utf-8"))
    assert [model.name for model in summary.models] == ["untouched", "fine-tuned", "iteration 1"]
    assert summary.best_model == "iteration 1"
