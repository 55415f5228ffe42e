"""Which spare rows join: those of labels that are behind their share, and no more than are missing."""

from collections import Counter

import pytest

from pada_agent.agents.data_generation.spare_rows import choose_spare
from pada_agent.core.config import TaskConfig
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example
from pada_agent.evaluation.tasks.registry import make_task

TASK = make_task(TaskConfig(name="multiple_choice", labels={"a": "", "b": "", "c": ""}))
EVEN: dict[str | None, int] = {"a": 10, "b": 10, "c": 10}


def make(*labels: str, prefix: str = "spare") -> list[Example]:
    rows = [{"question": f"{prefix} {n}?", "answer": label} for n, label in enumerate(labels)]
    return [TASK.read(RawRow(where=f"row {n}", fields={"id": f"{prefix}-{n}", **row})) for n, row in enumerate(rows)]


def choose(spare: list[Example], joined: list[Example], n: int, *, within: int | None = None) -> Counter[str | None]:
    chosen = choose_spare(spare, joined, n, shares=EVEN, task=TASK, within=within)
    assert len({row.id for row in chosen}) == len(chosen) and {row.id for row in chosen} <= {row.id for row in spare}
    return Counter(TASK.closed_label(row) for row in chosen)


@pytest.mark.parametrize("within", [None, 9])
def test_the_label_that_is_furthest_behind_comes_first(within: int | None) -> None:
    spare, joined = make(*"aabbcc"), make(*"aaabb", prefix="joined")
    assert choose(spare, joined, 2, within=within) == {"c": 2}
    assert choose(spare, joined, 3, within=within) == {"c": 2, "b": 1}


def test_no_label_takes_much_more_than_its_share_until_the_end() -> None:
    spare, joined = make(*"aaaa"), make(*"aab", prefix="joined")
    assert choose(spare, joined, 6, within=9) == {"a": 3}, "half more than its share of 3"
    assert choose(spare, joined, 6) == {"a": 4}


@pytest.mark.parametrize("n", [0, -3])
@pytest.mark.parametrize("shares", [EVEN, None])
def test_if_nothing_is_missing_none_joins(n: int, shares: dict[str | None, int] | None) -> None:
    assert choose_spare(make(*"abc"), make(*"ab", prefix="joined"), n, shares=shares, task=TASK, within=2) == []


def test_a_label_without_training_rows_waits_for_the_end() -> None:
    shares: dict[str | None, int] = {"a": 1, "b": 1}
    spare = make("c", "a")
    early = choose_spare(spare, [], 2, shares=shares, task=TASK, within=2)
    assert [row.id for row in early] == ["spare-1"]
    assert len(choose_spare(spare, [], 2, shares=shares, task=TASK)) == 2


def test_where_labels_do_not_matter_the_first_ones_join() -> None:
    spare = make(*"abcabc")
    assert choose_spare(spare, [], 4, shares=None, task=TASK, within=5) == spare[:4]
