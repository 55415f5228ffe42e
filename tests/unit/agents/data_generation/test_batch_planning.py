"""Who writes how much, and from which training example."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pada_agent.agents.data_generation.batch_planning import (
    draw_sources,
    plan_error_batches,
    plan_pattern_batches,
    relevant_confusions,
    split_by_weight,
    split_rows,
)
from pada_agent.core.config import TaskConfig
from pada_agent.core.ports import RawRow
from pada_agent.core.records import Confusion, Example, GuardedStrategy, Strategy
from pada_agent.evaluation.tasks.registry import make_task

TASK = make_task(TaskConfig(name="multiple_choice", labels={"a": "first", "b": "second", "c": "third"}))
TRAIN = [
    TASK.read(RawRow(where=f"t:{i}", fields={"id": f"t{i}", "question": f"question {i}", "answer": "abc"[i % 3]}))
    for i in range(12)
]


def guarded(number: int, *confusions: Confusion) -> GuardedStrategy:
    strategy = Strategy(
        id=f"i1-s{number}",
        pattern_id=f"i1-p{number}",
        category_name="c",
        strategy_name="s",
        generation_approach="write",
        confusions=confusions,
    )
    return GuardedStrategy(strategy=strategy)


@given(st.integers(0, 5000), st.integers(1, 60))
def test_even_shares_sum_to_the_total_and_differ_by_one_at_most(total: int, parts: int) -> None:
    shares = split_by_weight(total, [1.0] * parts)
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


@given(st.integers(0, 5000), st.lists(st.floats(0.01, 100), min_size=1, max_size=20))
def test_weighted_shares_sum_to_the_total_and_are_within_one_of_the_proportion(
    total: int, weights: list[float]
) -> None:
    shares = split_by_weight(total, weights)
    assert sum(shares) == total
    assert all(abs(n - total * w / sum(weights)) < 1.000001 for n, w in zip(shares, weights, strict=True))


@given(st.integers(0, 1000), st.floats(0, 1, exclude_min=True, exclude_max=True), st.booleans(), st.booleans())
def test_branch_shares_sum_to_the_total_unless_both_are_empty(
    n: int, share: float, patterns: bool, errors: bool
) -> None:
    shares = split_rows(n, pattern_share=share, has_patterns=patterns, has_training_errors=errors)
    assert shares.n_pattern + shares.n_training_error == (n if patterns or errors else 0)
    assert patterns or shares.n_pattern == 0
    assert errors or shares.n_training_error == 0


@pytest.mark.parametrize(("share", "n_pattern", "n_training_error"), [(0, 0, 0), (1, 7, 0)])
def test_a_branch_that_is_switched_off_does_not_take_the_others_share(
    share: float, n_pattern: int, n_training_error: int
) -> None:
    shares = split_rows(7, pattern_share=share, has_patterns=True, has_training_errors=False)
    assert (shares.n_pattern, shares.n_training_error) == (n_pattern, n_training_error)


def test_rows_are_spread_evenly_over_strategies_and_cut_into_batches() -> None:
    strategies = [guarded(1), guarded(2), guarded(3)]
    batches = plan_pattern_batches(strategies, TRAIN, n_rows=11, rows_per_call=3, iteration=1, task=TASK, rng=Random(0))
    by_strategy = [sum(len(b.source_ids) for b in batches if b.strategy == s) for s in strategies]
    assert by_strategy == [4, 4, 3]
    assert [b.id for b in batches] == ["i1-s1-b1", "i1-s1-b2", "i1-s2-b1", "i1-s2-b2", "i1-s3-b1"]


def test_mixed_up_labels_give_the_sources_and_others_do_not() -> None:
    sources = draw_sources(TRAIN, [Confusion(gold="a", predicted="b", count=3)], n=300, task=TASK, rng=Random(0))
    labels = [TASK.closed_label(s) for s in sources]
    assert "c" not in labels
    assert labels.count("a") > labels.count("b") > 0


def test_no_source_is_drawn_twice_before_all_were_drawn_once() -> None:
    sources = draw_sources(TRAIN, [], n=12, task=TASK, rng=Random(0))
    assert len({s.id for s in sources}) == 12


def test_error_batches_cover_every_error_before_repeating_one() -> None:
    batches = plan_error_batches(TRAIN[:4], n_rows=6, rows_per_call=4, iteration=2, rng=Random(0))
    drawn = [source for b in batches for source in b.source_ids]
    assert len(drawn) == 6 and set(drawn[:4]) == {e.id for e in TRAIN[:4]}
    assert [b.id for b in batches] == ["i2-e-b1", "i2-e-b2"]


def test_without_errors_or_strategies_there_is_nothing_to_plan() -> None:
    assert plan_error_batches([], n_rows=5, rows_per_call=2, iteration=1, rng=Random(0)) == []
    assert plan_pattern_batches([], TRAIN, n_rows=5, rows_per_call=2, iteration=1, task=TASK, rng=Random(0)) == []


def test_confusions_are_seen_from_the_source_label() -> None:
    source: Example = TRAIN[1]
    mixed = [Confusion(gold="a", predicted="b", count=2), Confusion(gold="c", predicted="a", count=1)]
    assert relevant_confusions(source, mixed, TASK) == (Confusion(gold="b", predicted="a", count=2),)
