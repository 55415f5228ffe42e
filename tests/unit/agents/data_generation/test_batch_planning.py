"""Who writes how much, and from which training example."""

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pada_agent.agents.data_generation.batch_planning import (
    LabelShares,
    Round,
    StrategyShare,
    draw_sources,
    fit_rows_per_call,
    plan_error_batches,
    plan_pattern_batches,
    relevant_confusions,
    share_rows,
    split_rows,
)
from pada_agent.agents.data_generation.quota import Quota, split_by_weight
from pada_agent.core.config import TaskConfig
from pada_agent.core.generation_config import GenerationConfig, StrategyText
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Batch, Confusion, Example, GuardedStrategy, Strategy
from pada_agent.evaluation.tasks.registry import make_task

TASK = make_task(TaskConfig(name="multiple_choice", labels={"a": "first", "b": "second", "c": "third"}))
TRAIN = [
    TASK.read(RawRow(where=f"t:{i}", fields={"id": f"t{i}", "question": f"question {i}", "answer": "abc"[i % 3]}))
    for i in range(12)
]

TRAIN_BY_ID = {e.id: e for e in TRAIN}


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


@given(
    st.integers(0, 1000),
    st.floats(0, 1, exclude_min=True, exclude_max=True),
    st.booleans(),
    st.none() | st.integers(0, 1200),
)
def test_branch_shares_sum_to_the_total_unless_nobody_can_write_it(
    n: int, share: float, patterns: bool, capacity: int | None
) -> None:
    shares = split_rows(n, pattern_share=share, has_patterns=patterns, error_capacity=capacity)
    by_errors = n if capacity is None else min(n, capacity)
    assert shares.n_pattern + shares.n_training_error == (n if patterns else by_errors)
    assert patterns or shares.n_pattern == 0
    assert shares.n_training_error <= by_errors


@pytest.mark.parametrize(
    ("share", "capacity", "n_pattern", "n_training_error"), [(0, 0, 0, 0), (0, 3, 0, 3), (1, 0, 7, 0), (1, None, 7, 0)]
)
def test_a_branch_that_is_switched_off_does_not_take_the_others_share(
    share: float, capacity: int | None, n_pattern: int, n_training_error: int
) -> None:
    shares = split_rows(7, pattern_share=share, has_patterns=True, error_capacity=capacity)
    assert (shares.n_pattern, shares.n_training_error) == (n_pattern, n_training_error)


@pytest.mark.parametrize(("capacity", "n_pattern"), [(None, 5), (9, 5), (3, 7), (0, 10)])
def test_rows_that_training_errors_cannot_feed_go_to_the_patterns(capacity: int | None, n_pattern: int) -> None:
    shares = split_rows(10, pattern_share=0.5, has_patterns=True, error_capacity=capacity)
    assert (shares.n_pattern, shares.n_training_error) == (n_pattern, 10 - n_pattern)


def plan_patterns(
    shares: list[StrategyShare], *, rows_per_call: int, top_up: int = 0, strategy_text: StrategyText = "by_label"
) -> list[Batch]:
    planned = Round(iteration=1, top_up=top_up, rows_per_call=rows_per_call)
    settings = GenerationConfig(strategy_text=strategy_text)
    return plan_pattern_batches(shares, TRAIN, planned, task=TASK, settings=settings, seed=0)


def plan_errors(
    errors: list[Example], n_rows: int, *, top_up: int = 0, spare_rows: float = 0, **more: Any
) -> list[Batch]:
    planned = Round(iteration=2, top_up=top_up, rows_per_call=4, spare_rows=spare_rows)
    return plan_error_batches(
        errors, planned, n_rows=n_rows, task=TASK, settings=GenerationConfig(max_rows_per_error=3), seed=0, **more
    )


def sources_of(batches: list[Batch]) -> list[str]:
    return [source for batch in batches for source in batch.source_ids]


def test_rows_are_spread_evenly_over_strategies_and_cut_into_batches() -> None:
    strategies = [guarded(1), guarded(2), guarded(3)]
    batches = plan_patterns(share_rows(strategies, 11), rows_per_call=3)
    by_strategy = [sum(len(b.source_ids) for b in batches if b.strategy == s) for s in strategies]
    assert by_strategy == [4, 4, 3]
    assert {b.id.rpartition("-")[0] for b in batches} == {"i1-s1", "i1-s2", "i1-s3"} and batches[0].id == "i1-s1-b1"
    assert all(len(b.source_ids) <= 3 for b in batches)


def test_a_batch_is_of_one_label() -> None:
    by_id = {e.id: e for e in TRAIN}
    batches = [*plan_patterns(share_rows([guarded(1)], 12), rows_per_call=3), *plan_errors(TRAIN, 12)]
    assert [len({by_id[i].answer for i in b.source_ids}) for b in batches] == [1] * len(batches)
    assert [len(b.source_ids) for b in batches] == [2, 2, 2, 2, 2, 2, 4, 4, 4]


@pytest.mark.parametrize(
    ("n_rows", "spare_rows", "written", "wanted"),
    [
        (1, 0.0, [1], [1]),
        (1, 0.5, [2], [1]),
        (2, 0.5, [3], [2]),
        (3, 0.5, [4], [3]),
        (4, 0.5, [4], [4]),
        (6, 1.0, [4, 4], [3, 3]),
        (1, 10.0, [4], [1]),
    ],
)
def test_spare_rows_fill_a_call_and_come_from_the_sources_of_its_other_rows(
    n_rows: int, spare_rows: float, written: list[int], wanted: list[int]
) -> None:
    errors = [e for e in TRAIN if e.answer == "a"]
    planned = plan_errors(errors, n_rows, spare_rows=spare_rows)
    assert [len(b.source_ids) for b in planned] == written
    assert [b.n_wanted for b in planned] == wanted
    for batch, plain in zip(planned, plan_errors(errors, n_rows), strict=True):
        assert batch.source_ids[: batch.n_wanted] == plain.source_ids
        assert set(batch.source_ids) == set(plain.source_ids)


def test_a_top_up_round_goes_on_where_the_rounds_before_stopped() -> None:
    """Twelve sources in three rounds are twelve different ones; ids of the rounds differ."""
    rounds = [
        plan_patterns([StrategyShare(guarded=guarded(2), number=2, n_rows=4, n_drawn=4 * n)], rows_per_call=4, top_up=n)
        for n in range(3)
    ]
    assert len({source for batches in rounds for source in sources_of(batches)}) == 12
    assert [batches[0].id for batches in rounds] == ["i1-s2-b1", "i1-s2-t1-b1", "i1-s2-t2-b1"]
    assert [{b.top_up for b in batches} for batches in rounds] == [{0}, {1}, {2}]


def test_mixed_up_labels_give_the_sources_and_others_do_not() -> None:
    sources = draw_sources(TRAIN, [Confusion(gold="a", predicted="b", count=3)], n=300, task=TASK, rng=Random(0))
    labels = [TASK.closed_label(s) for s in sources]
    assert "c" not in labels
    assert (labels.count("a"), labels.count("b")) == (200, 100)


def test_a_missed_label_without_training_rows_brings_no_rows_of_the_label_given_instead() -> None:
    mixed = [Confusion(gold="unseen", predicted="c", count=9), Confusion(gold="a", predicted="b", count=1)]
    sources = draw_sources(TRAIN, mixed, n=30, task=TASK, rng=Random(0))
    assert Counter(TASK.closed_label(s) for s in sources) == {"a": 20, "b": 10}


def test_a_small_share_already_has_the_mixture_and_a_larger_one_goes_on_from_it() -> None:
    mixed = [Confusion(gold="a", predicted="b", count=2), Confusion(gold="c", predicted="a", count=1)]
    few, many = (draw_sources(TRAIN, mixed, n=n, task=TASK, rng=Random(0)) for n in (9, 18))
    assert Counter(TASK.closed_label(s) for s in few) == {"a": 5, "b": 2, "c": 2}
    assert many[:9] == few


def test_no_source_is_drawn_twice_before_all_were_drawn_once() -> None:
    sources = draw_sources(TRAIN, [], n=12, task=TASK, rng=Random(0))
    assert len({s.id for s in sources}) == 12


def test_error_batches_cover_every_error_before_repeating_one() -> None:
    batches = plan_errors(TRAIN[:4], 6)
    assert sorted(Counter(sources_of(batches)).values()) == [1, 1, 2, 2]
    assert [b.id for b in batches] == ["i2-e-b1", "i2-e-b2", "i2-e-b3"]


def test_an_error_feeds_no_more_rows_than_the_limit() -> None:
    assert Counter(sources_of(plan_errors(TRAIN[:2], 9))) == {"t0": 3, "t1": 3}
    drawn = Quota(branch="training_error", name="the training errors", n_wanted=9, n_drawn=6)
    assert sources_of(plan_errors(TRAIN[:2], 9, fed={"t0": 2, "t1": 3}, drawn=drawn, top_up=1)) == ["t0"]


def test_without_errors_or_strategies_there_is_nothing_to_plan() -> None:
    assert plan_errors([], 5) == []
    assert share_rows([], 5) == [] == plan_patterns([], rows_per_call=2)


@pytest.mark.parametrize(("max_output_tokens", "n"), [(10_000, 5), (64, 3), (62, 2), (5, 1)])
def test_no_more_rows_are_asked_for_than_an_answer_has_room_for(max_output_tokens: int, n: int) -> None:
    """Nine rows in ten are no longer than 63 bytes of JSON, 21 tokens."""
    assert fit_rows_per_call(5, TRAIN, TASK, max_output_tokens=max_output_tokens) == n


def test_confusions_are_seen_from_the_source_label() -> None:
    source: Example = TRAIN[1]
    mixed = [Confusion(gold="a", predicted="b", count=2), Confusion(gold="c", predicted="a", count=1)]
    assert relevant_confusions(source, mixed, TASK) == (Confusion(gold="b", predicted="a", count=2),)


def test_a_strategy_is_applied_to_its_own_rows_and_to_any_where_it_has_none() -> None:
    strategy = Strategy(
        id="i1-s1",
        pattern_id="i1-p1",
        category_name="c",
        strategy_name="s",
        generation_approach="a",
        source_ids=(TRAIN[1].id, TRAIN[3].id),
    )
    for bound, wanted in (
        (strategy, {TRAIN[1].id, TRAIN[3].id}),
        (strategy.model_copy(update={"source_ids": ()}), {e.id for e in TRAIN}),
    ):
        share = StrategyShare(guarded=GuardedStrategy(strategy=bound), number=1, n_rows=4 * len(TRAIN))
        batches = plan_patterns([share], rows_per_call=5)
        assert {i for batch in batches for i in batch.source_ids} == wanted


def test_a_batch_of_one_label_sees_what_its_strategy_says_about_that_label() -> None:
    task = make_task(
        TaskConfig(name="multiple_choice", labels={"late refund": "money back", "late delivery": "by post"})
    )
    training = [
        task.read(RawRow(where=f"t:{i}", fields={"id": f"t{i}", "question": f"question {i}", "answer": label}))
        for i, label in enumerate(task.config.labels)
    ]
    whole = guarded(1, Confusion(gold="late refund", predicted="late delivery", count=1))
    strategy = whole.strategy.model_copy(update={"generation_approach": "Be brief. Mention the late delivery."})
    shares = share_rows([whole.model_copy(update={"strategy": strategy})], 6)

    def told(text: StrategyText) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        settings, planned = GenerationConfig(strategy_text=text), Round(iteration=1, rows_per_call=2)
        for batch in plan_pattern_batches(shares, training, planned, task=task, settings=settings, seed=0):
            assert batch.strategy is not None
            for source in batch.source_ids:
                found.setdefault(source, set()).add(batch.strategy.strategy.generation_approach)
        return found

    assert told("by_label") == {"t0": {"Be brief."}, "t1": {"Be brief. Mention the late delivery."}}
    assert told("whole") == {row: {"Be brief. Mention the late delivery."} for row in ("t0", "t1")}
    assert told("none") == {row: {""} for row in ("t0", "t1")}


def test_strategies_about_the_same_labels_divide_them_unless_a_call_writes_a_single_row() -> None:
    by_id = {e.id: e for e in TRAIN}
    mixed = (Confusion(gold="a", predicted="b", count=2), Confusion(gold="c", predicted="a", count=1))
    shares = share_rows([guarded(1, *mixed), guarded(2, *mixed), guarded(3, *mixed)], 18)

    def count_rows(rows_per_call: int, strategy_text: StrategyText = "by_label") -> Counter[tuple[str, str]]:
        found = Counter[tuple[str, str]]()
        for batch in plan_patterns(shares, rows_per_call=rows_per_call, strategy_text=strategy_text):
            assert batch.strategy is not None
            found.update((batch.strategy.strategy.id, by_id[i].answer) for i in batch.source_ids)
        return found

    apart, together = count_rows(1), count_rows(9)
    for place in (0, 1):  # each strategy has as many rows as before, and so has each label
        totals = [Counter[str](), Counter[str]()]
        for total, cells in zip(totals, (apart, together), strict=True):
            for key, n in cells.items():
                total[key[place]] += n
        assert totals[0] == totals[1]
    assert (len(apart), len(together)) == (9, 4)
    assert count_rows(9, "whole") == apart, "the paper's strategies are each for all labels of their pattern"


def test_a_strategy_that_names_its_training_rows_is_applied_to_these_alone() -> None:
    mixed = Confusion(gold="a", predicted="b", count=2)
    own = guarded(2, mixed)
    own = own.model_copy(update={"strategy": own.strategy.model_copy(update={"source_ids": ("t0", "t1")})})
    batches = plan_patterns(share_rows([guarded(1, mixed), own, guarded(3, mixed), guarded(4)], 40), rows_per_call=9)
    written = Counter((b.strategy.strategy.id, i) for b in batches if b.strategy for i in b.source_ids)
    assert {i for (name, i) in written if name == "i1-s2"} == {"t0", "t1"}
    assert Counter(name for name, _ in written.elements()) == {f"i1-s{n}": 10 for n in (1, 2, 3, 4)}
    labels = {name: {TRAIN_BY_ID[i].answer for (n, i) in written if n == name} for name in ("i1-s1", "i1-s3")}
    assert sum(map(len, labels.values())) == 3, "the others divide the two labels"


def test_a_batch_can_be_written_from_one_source() -> None:
    planned, settings = Round(iteration=1, rows_per_call=2), GenerationConfig(template="rephrasing")
    batches = plan_error_batches(TRAIN[:3], planned, n_rows=9, task=TASK, settings=settings, seed=0)
    assert all(len(set(batch.source_ids)) == 1 for batch in batches)
    assert sorted(len(batch.source_ids) for batch in batches) == [1, 1, 1, 2, 2, 2]


def plan_labels(
    n_of_label: dict[str, int], *, n_rows: int, written: dict[str | None, int], **settings: Any
) -> Counter[str]:
    """How many rows are planned of each label, for so many errors of each."""
    task = make_task(TaskConfig(name="multiple_choice", labels=list(n_of_label)))
    errors = [
        task.read(RawRow(where=f"{label}{i}", fields={"id": f"{label}{i}", "question": f"{label}{i}", "answer": label}))
        for label, n in n_of_label.items()
        for i in range(n)
    ]
    shares = LabelShares(weights={"a": 4, "b": 4, "c": 8}, n_written=written)
    batches = plan_error_batches(
        errors,
        Round(iteration=1, rows_per_call=3),
        n_rows=n_rows,
        task=task,
        settings=GenerationConfig(**settings),
        seed=0,
        shares=shares,
    )
    return Counter(source[0] for batch in batches for source in batch.source_ids)


def test_labels_with_the_fewest_new_rows_for_their_share_come_first() -> None:
    assert plan_labels({"a": 3, "b": 3, "c": 3}, n_rows=16, written={}) == {"a": 4, "b": 4, "c": 8}
    assert plan_labels({"a": 3, "b": 3, "c": 3}, n_rows=6, written={"a": 9, "c": 4}) == {"b": 3, "c": 3}


def test_a_label_gets_no_more_rows_than_its_errors_may_feed() -> None:
    planned = plan_labels({"a": 1, "b": 5, "c": 1}, n_rows=12, written={}, max_rows_per_error=2)
    assert planned == {"a": 2, "b": 8, "c": 2}
    assert plan_labels({"a": 1, "b": 1, "c": 1}, n_rows=99, written={}, max_rows_per_error=2).total() == 6


def test_every_source_of_a_label_is_used_before_one_is_used_again() -> None:
    task = make_task(TaskConfig(name="multiple_choice", labels=["a", "b"]))
    errors = [
        task.read(RawRow(where=f"{i}", fields={"id": f"{i}", "question": f"q{i}", "answer": "ab"[i % 2]}))
        for i in range(8)
    ]
    planned = Round(iteration=1, rows_per_call=3)
    batches = plan_error_batches(
        errors, planned, n_rows=8, task=task, settings=GenerationConfig(), seed=0, shares=LabelShares()
    )
    assert sorted(i for batch in batches for i in batch.source_ids) == sorted(e.id for e in errors)


def test_a_later_round_goes_on_with_sources_that_no_earlier_one_has_drawn() -> None:
    """However unevenly the labels were drawn."""
    task = make_task(TaskConfig(name="multiple_choice", labels=["a", "b"]))
    errors = [
        task.read(RawRow(where=f"{i}", fields={"id": f"{'ab'[i % 2]}{i}", "question": f"q{i}", "answer": "ab"[i % 2]}))
        for i in range(24)
    ]

    def plan(top_up: int, n_drawn: dict[str | None, int]) -> list[str]:
        shares = LabelShares(weights={"a": 1, "b": 5}, n_drawn=n_drawn, n_written=dict(n_drawn))
        planned = Round(iteration=1, top_up=top_up, rows_per_call=3)
        batches = plan_error_batches(
            errors, planned, n_rows=6, task=task, settings=GenerationConfig(), seed=0, shares=shares
        )
        return [i for batch in batches for i in batch.source_ids]

    first = plan(0, {})
    assert Counter(i[0] for i in first) == {"a": 1, "b": 5}
    second = plan(1, {"a": 1, "b": 5})
    assert len({*first, *second}) == 12
