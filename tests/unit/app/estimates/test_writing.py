"""The estimated number of calls encloses what a run plans."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pada_agent.agents.data_generation.batch_planning import (
    Round,
    plan_error_batches,
    plan_pattern_batches,
    share_rows,
)
from pada_agent.app.estimates.writing import count_writer_calls, spread
from pada_agent.app.experiment.methods import apply_settings, find_method
from pada_agent.core.config import RunConfig
from pada_agent.core.records import Confusion, Example, GuardedStrategy, Strategy
from pada_agent.evaluation.tasks.registry import make_task
from tests.unit.app.estimates.label_rows import LABELS, make_labelled_rows

N_TRAIN = 60


def configure(arm: str = "pada", **changes: Any) -> RunConfig:
    values = {"task.name": "multiple_choice", "task.labels": LABELS, **changes}
    return apply_settings(RunConfig(), {**find_method(arm).settings, **values}, origin="test")


def count(config: RunConfig, n_rows: int, *, n_errors: int, most: bool) -> int:
    return count_writer_calls(config, n_rows, n_train=N_TRAIN, n_errors=n_errors, row_tokens=20, most=most).n_calls


def make_strategies(rows: list[Example], n: int) -> list[GuardedStrategy]:
    """Each for two mixed up labels."""
    labels = [row.answer for row in rows]
    found = []
    for i in range(n):
        confusion = Confusion(gold=labels[i], predicted=labels[i + 1], count=2)
        strategy = Strategy(
            id=f"s{i}",
            pattern_id=f"p{i}",
            category_name="c",
            strategy_name="s",
            generation_approach="write",
            confusions=(confusion,),
        )
        found.append(GuardedStrategy(strategy=strategy))
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.integers(2, 10), st.integers(1, 8), st.integers(0, 5))
def test_as_many_calls_are_estimated_as_a_run_plans(n_rows: int, n_patterns: int, size: int, seed: int) -> None:
    config = configure("pada", **{"generation.rows_per_call": size})
    task, rows = make_task(config.task), make_labelled_rows(config.task, N_TRAIN)
    n_pattern = round(n_rows * config.generation.pattern_share)
    planned, generation = Round(iteration=1, rows_per_call=size), config.generation
    shares = share_rows(make_strategies(rows, n_patterns), n_pattern)
    batches = plan_pattern_batches(shares, rows, planned, task=task, settings=generation, seed=seed)
    batches += plan_error_batches(rows, planned, n_rows=n_rows - n_pattern, task=task, settings=generation, seed=seed)
    low, high = (count(config, n_rows, n_errors=30, most=most) for most in (False, True))
    assert low <= len(batches)
    assert len(batches) <= high + 2 * n_patterns, "labels are not drawn quite evenly"


def test_a_call_that_rephrases_one_row_is_not_counted_as_full() -> None:
    config = configure("auggpt")
    task, rows = make_task(config.task), make_labelled_rows(config.task, N_TRAIN)
    planned = Round(iteration=1, rows_per_call=5)
    batches = plan_error_batches(rows, planned, n_rows=30, task=task, settings=config.generation, seed=0)
    assert [count(config, 30, n_errors=0, most=most) for most in (False, True)] == [len(batches)] * 2 == [30, 30]
    assert count(configure("auggpt_native"), 6 * N_TRAIN, n_errors=0, most=False) == 2 * N_TRAIN


def test_calls_are_smaller_where_the_reply_has_no_room_and_spare_rows_are_written_too() -> None:
    config = configure("le", **{"task.labels": {}, "task.name": "exact_match", "generation.rows_per_call": 5})
    assert [
        count_writer_calls(config, 20, n_train=9, n_errors=0, row_tokens=n, most=False).n_calls for n in (20, 700)
    ] == [4, 10]
    spare = apply_settings(config, {"generation.spare_rows": 0.5}, origin="test")
    written = count_writer_calls(spare, 18, n_train=9, n_errors=0, row_tokens=20, most=False)
    assert (written.n_calls, written.n_rows) == (4, 20), "two find room"


def test_rows_are_spread_evenly() -> None:
    assert [spread(n, 3, 2) for n in (0, 1, 3, 6, 7, 12)] == [0, 1, 3, 3, 4, 6]
