"""What the guards found, in the text at the end of a run."""

from pathlib import Path

from pada_agent.agents.pattern_analysis.pattern_tracking import PatternOutcome
from pada_agent.agents.quality_control.judge_calibration import JudgeCalibration
from pada_agent.agents.quality_control.rating_spread import RatingSpread, spread_ratings
from pada_agent.app.report import tables
from pada_agent.app.terminal.summary import render_summary
from pada_agent.app.text import align_columns
from pada_agent.core.groupings import GroupingByNumber, Sensitivity
from pada_agent.core.records import Metrics, Rating, Usage
from pada_agent.graph.summary import RowCounts
from tests.unit.app.summaries import make_summary


def test_the_judge_on_known_rows() -> None:
    judge = JudgeCalibration(n_bad=5, n_caught=3, n_good=2, n_false_alarms=1, missed={"copy": 2})
    assert tables.describe_judge(judge) == (
        "Judge on known rows: 3 of 5 bad ones caught (missed: copy 2), 1 of 2 good ones rejected."
    )
    assert tables.describe_judge(JudgeCalibration()) == ""
    both = judge.model_copy(update={"n_caught_by_rating": 1, "n_caught_by_answer": 2, "n_answered": 3})
    assert tables.describe_judge(both).endswith(
        "Its ratings alone rejected 1 of the 5 bad ones; of the 3 that it also answered blindly, 2."
    )


def test_how_ratings_spread_and_when_they_say_nothing() -> None:
    ratings = RatingSpread(accepted={"10": 42}, refused={"5": 6, "1": 7})
    assert tables.describe_ratings(ratings) == (
        "Ratings (mean of the scores, 1 to 10): accepted 42 x 10; rejected 6 x 5, 7 x 1."
        " All accepted rows have the same rating: it does not tell them apart."
    )
    assert tables.describe_ratings(RatingSpread(accepted={"9.3": 2, "7": 3})).endswith("accepted 2 x 9.3, 3 x 7.")
    assert tables.describe_ratings(RatingSpread()) == ""


def test_ratings_are_counted_by_their_mean() -> None:
    def rate(*scores: int) -> Rating:
        return Rating(example_id="r", reason="so", adherence=scores[0], utility=scores[1], relevance=scores[2])

    found = spread_ratings(accepted=[rate(10, 10, 8), rate(10, 9, 9), rate(7, 7, 7)], refused=[rate(1, 1, 1)])
    assert (found.accepted, found.refused) == ({"9.3": 2, "7": 1}, {"1": 1})


def test_what_solving_refused_after_the_rating() -> None:
    rows = RowCounts(requested=9, written=9, accepted=6, rejected={"verification": 3}, solved=8)
    text = tables.describe_rows(make_summary(rows=rows))
    assert text.endswith("Of 8 rows that the judge answered by itself, 3 got a different answer and were rejected.")


def test_the_gap_stands_for_every_fine_tuned_model() -> None:
    measured = Metrics(n=50, n_correct=30, accuracy=0.6, low=0.5, high=0.7)
    models = tuple(a.model_copy(update={"diagnosis": measured, "overfitting_gap": 0.1}) for a in make_summary().models)
    lines = align_columns(tables.overfitting_rows(make_summary(models=models))).splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == ["fine-tuned", "iteration 1"]
    assert lines[2].endswith("+10.0")
    assert tables.overfitting_rows(make_summary()) == []
    assert align_columns([]) == ""


def test_what_became_of_each_pattern() -> None:
    (found,) = make_summary().patterns
    outcomes = (
        PatternOutcome(
            pattern_id="p1",
            continues=None,
            status="new",
            n_rows=4,
            n_repaired=2,
            broken_ids=("v9",),
            n_written=8,
            n_accepted=6,
            usage=Usage(input_tokens=2_500, output_tokens=500),
        ),
        PatternOutcome(pattern_id="p2", continues="p0", status="persisting", n_rows=1, n_repaired=0),
    )
    told = found.model_copy(update={"outcomes": outcomes, "silhouette": 0.123, "stability": 0.7})
    text = render_summary(make_summary(patterns=(told,)), Path("runs/r"))
    assert "Patterns, iteration 1 (silhouette 0.12, stability 0.70)" in text
    assert tables.outcome_rows(told)[1:] == [
        ["Refund <b>or</b> return", "new", "4", "2", "1", "6", "3.0", "1,500"],
        ["Other", "persisting", "1", "0", "0", "0", "", ""],
    ]


def test_how_the_groups_move_in_words() -> None:
    few = Sensitivity(n_errors=1, n_clusters=1)
    assert (
        tables.describe_sensitivity(few)
        == "1 error in 1 group. There are too few different errors to group them in other ways."
    )
    two, three = (
        GroupingByNumber(n_clusters=k, inertia=1, silhouette=None, stability=None, agreement=agreement)
        for k, agreement in ((2, 0.5), (3, 1.0))
    )
    told = Sensitivity(n_errors=9, n_clusters=3, by_number=(two, three))
    assert tables.describe_sensitivity(told) == "9 errors in 3 groups. Agreement: 0.50 with 2 groups instead."
    assert tables.number_rows(told)[1:] == [["2", "0.50", "–", "–", "1.00"], ["3 *", "1.00", "–", "–", "1.00"]]
    assert tables.embedder_rows(told)[1][:3] == ["its own *", "3", "1.00"]


def test_a_single_number_of_groups_leaves_nothing_to_compare() -> None:
    only = GroupingByNumber(n_clusters=2, inertia=1, silhouette=None, stability=None, agreement=1.0)
    assert (
        tables.describe_sensitivity(Sensitivity(n_errors=9, n_clusters=2, by_number=(only,))) == "9 errors in 2 groups."
    )
