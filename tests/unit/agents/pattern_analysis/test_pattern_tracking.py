"""Patterns keep their identity; what became of them is counted."""

import pytest

from pada_agent.agents.data_generation.quota import split_by_weight
from pada_agent.agents.pattern_analysis.pattern_tracking import (
    assess_patterns,
    find_broken,
    link_patterns,
    nearest_pattern,
    repaired_share,
    weigh_by_repair,
)
from pada_agent.core.records import (
    BatchReport,
    ErrorPattern,
    GuardedStrategy,
    Ref,
    Strategy,
    Usage,
    Verdict,
)

X, Y, NEAR_X = (1.0, 0.0), (0.0, 1.0), (0.96, 0.28)


def pattern(pattern_id: str, *rows: str, continues: str | None = None) -> ErrorPattern:
    return ErrorPattern(
        id=pattern_id,
        category_name=pattern_id,
        error_pattern="x",
        example_ids=rows,
        n_analyzed=len(rows),
        cluster=0,
        continues=continues,
    )


def strategy(pattern_id: str) -> GuardedStrategy:
    return GuardedStrategy(
        strategy=Strategy(
            id=pattern_id.replace("-p", "-s"),
            pattern_id=pattern_id,
            category_name="c",
            strategy_name="n",
            generation_approach="write",
        )
    )


def report(batch_id: str, strategy_id: str | None, n_accepted: int) -> BatchReport:
    ref = Ref(key="k")
    return BatchReport(
        batch_id=batch_id,
        iteration=1,
        branch="pattern",
        strategy_id=strategy_id,
        attempts=1,
        n_requested=5,
        n_written=5,
        n_accepted=n_accepted,
        decision="accepted",
        accepted=ref,
        rejected=ref,
    )


def verdicts(**values: str) -> dict[str, Verdict]:
    return {i: Verdict.model_validate({"example_id": i, "value": v}) for i, v in values.items()}


def link(
    current: list[ErrorPattern],
    previous: list[ErrorPattern],
    now: dict[str, tuple[float, float]],
    before: dict[str, tuple[float, float]],
) -> list[str | None]:
    found = link_patterns(current, previous, centroids=now, previous_centroids=before)
    return [p.continues for p in found]


def test_a_pattern_with_the_same_rows_and_centroid_is_the_same() -> None:
    previous, current = (
        [pattern("i1-p1", "a", "b"), pattern("i1-p2", "c")],
        [pattern("i2-p1", "c"), pattern("i2-p2", "a")],
    )
    now, before = {"i2-p1": Y, "i2-p2": X}, {"i1-p1": X, "i1-p2": Y}
    assert link(current, previous, now, before) == ["i1-p2", "i1-p1"]


def test_alike_words_on_other_rows_are_another_pattern() -> None:
    previous = [pattern("i1-p1", "a", "b"), pattern("i1-p2", "c")]
    current = [pattern("i2-p1", "d", "e"), pattern("i2-p2", "c")]
    now, before = {"i2-p1": NEAR_X, "i2-p2": Y}, {"i1-p1": X, "i1-p2": Y}
    assert link(current, previous, now, before) == [None, "i1-p2"]


@pytest.mark.parametrize(("centroid", "continues"), [(NEAR_X, "i1-p1"), (Y, None)])
def test_without_rows_in_common_the_centroids_alone_decide(
    centroid: tuple[float, float], continues: str | None
) -> None:
    found = link([pattern("i2-p1", "z")], [pattern("i1-p1", "a")], {"i2-p1": centroid}, {"i1-p1": X})
    assert found == [continues]


def test_a_pattern_is_continued_once_by_the_one_most_like_it() -> None:
    previous = [pattern("i1-p1", "a", "b", "c")]
    current = [pattern("i2-p1", "a", "x"), pattern("i2-p2", "b", "c")]
    assert link(current, previous, {"i2-p1": NEAR_X, "i2-p2": X}, {"i1-p1": X}) == [None, "i1-p1"]


def test_without_earlier_patterns_all_are_new() -> None:
    assert link([pattern("i1-p1", "a")], [], {"i1-p1": X}, {}) == [None]


def test_outcomes_count_rows_before_and_after_and_what_was_written_for_them() -> None:
    patterns = [
        pattern("i2-p1", "a", "b", "c", continues="i1-p3"),
        pattern("i2-p2", "d"),
        pattern("i2-p3", "e", "f"),
    ]
    one, two, three = assess_patterns(
        patterns,
        [strategy("i2-p1"), strategy("i2-p2")],
        [report("i2-s1-b1", "i2-s1", 4), report("i2-s1-b2", "i2-s1", 2), report("i2-e-b1", None, 5)],
        after=verdicts(a="correct", b="correct", c="wrong", d="correct", e="wrong", f="unscored"),
        broken={"g": "i2-p1"},
        joined={"i2-s1-b1": 4, "i2-s1-b2": 1, "i2-e-b1": 5},
        usage={"i2-s1-b1": Usage(n_calls=2, input_tokens=700, output_tokens=100, cost_usd=0.5), "i2-e-b1": Usage()},
    )
    assert (one.status, one.continues, one.n_rows, one.n_repaired) == ("persisting", "i1-p3", 3, 2)
    assert (one.n_written, one.n_accepted, one.broken_ids) == (10, 5, ("g",))
    assert (one.accepted_per_repaired, one.tokens_per_repaired) == (2.5, 400.0)
    assert (two.status, two.n_accepted, two.broken_ids) == ("fixed", 0, ())
    assert (three.status, three.n_repaired, three.accepted_per_repaired) == ("new", 0, None)


def test_every_strategy_against_a_pattern_counts_and_those_against_none_count_for_none() -> None:
    added = [
        strategy("i1-p1").strategy.model_copy(update={"id": i, "pattern_id": p})
        for i, p in (("mine", "i1-p1"), ("x", ""))
    ]
    (found,) = assess_patterns(
        [pattern("i1-p1", "a")],
        [strategy("i1-p1"), *(GuardedStrategy(strategy=s) for s in added)],
        [
            report("i1-s1-b1", "i1-s1", 4),
            report("i1-s2-b1", "mine", 2),
            report("i1-s3-b1", "x", 3),
            report("i1-e-b1", None, 5),
        ],
        after={},
        broken={},
        joined={"i1-s1-b1": 4, "i1-s2-b1": 2, "i1-s3-b1": 3, "i1-e-b1": 5},
        usage={"i1-s2-b1": Usage(n_calls=3)},
    )
    assert (found.n_accepted, found.usage.n_calls) == (6, 3)


def test_broken_rows_were_right_and_are_not_any_more() -> None:
    before = list(verdicts(a="correct", b="correct", c="wrong", d="correct").values())
    after = list(verdicts(a="wrong", b="correct", c="wrong", d="unscored").values())
    assert find_broken(before, after) == ("a", "d")


def test_a_broken_row_goes_to_the_pattern_with_the_nearest_row() -> None:
    patterns = [pattern("p1", "a"), pattern("p2", "b", "c")]
    vectors = {"a": X, "b": (-1.0, 0.0), "c": Y, "new": NEAR_X, "other": (0.0, 1.0)}
    assert nearest_pattern(["new", "other"], patterns, vectors) == {"new": "p1", "other": "p2"}
    assert nearest_pattern([], patterns, {}) == {} == nearest_pattern(["new"], [], vectors)


def test_more_rows_go_where_the_last_strategy_repaired_more_and_no_pattern_is_given_up() -> None:
    patterns = [pattern("i2-p1", continues="i1-p1"), pattern("i2-p2", continues="i1-p2"), pattern("i2-p3")]
    repaired = {"i1-p1": repaired_share(6, 6), "i1-p2": repaired_share(0, 6)}
    weighed = weigh_by_repair([strategy(p.id) for p in patterns], patterns, repaired)
    shares = split_by_weight(24, [g.strategy.weight for g in weighed])
    assert shares == [14, 2, 8]
