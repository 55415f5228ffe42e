"""Answers that could not be used are told in one line for each kind of call."""

import pytest

from pada_agent.agents.unusable_answers import (
    GENERATOR,
    JUDGE,
    AnswerCount,
    are_hopeless,
    describe_batches,
    describe_unusable,
)
from pada_agent.core.records import BatchReport, Ref, Unusable


def report(n: int, *, n_written: int = 0, score: float | None = None, **unusable: int) -> BatchReport:
    nothing = Ref(key="none")
    return BatchReport(
        batch_id=f"i1-b{n}",
        iteration=1,
        branch="pattern",
        attempts=1,
        n_requested=2,
        n_written=n_written,
        n_accepted=0,
        score=score,
        decision="",
        accepted=nothing,
        rejected=nothing,
        unusable={kind: Unusable(n=times, first=f"problem {n}") for kind, times in unusable.items()},
    )


@pytest.mark.parametrize(
    ("n_failed", "n_usable", "told"),
    [
        (0, 4, None),
        (2, 0, "2 answers of the analyst could not be used, the first: p0"),
        (3, 1, "3 answers of the analyst could not be used, the first: p0"),
        (3, 0, "the analyst gave no usable answer in any of 3 calls: does this model"),
    ],
)
def test_three_calls_without_any_usable_answer_are_said_to_be_hopeless(
    n_failed: int, n_usable: int, told: str | None
) -> None:
    found = describe_unusable("analyst", [f"p{i}" for i in range(n_failed)], n_usable=n_usable)
    assert (found or "").startswith(told or "") and (found is None) == (told is None)


def test_each_kind_of_call_has_a_line_whatever_the_number_of_batches() -> None:
    batches = [report(n, n_written=0 if n else 2, **{GENERATOR: 2, JUDGE: 1}) for n in range(20)]
    one, other = describe_batches(batches)
    assert one == "40 answers of the generator could not be used, the first: problem 0"
    assert other.startswith("the judge gave no usable answer in any of 20 calls")


def test_more_rounds_are_hopeless_where_rows_or_ratings_never_came() -> None:
    assert are_hopeless([report(n, **{GENERATOR: 1}) for n in range(3)])
    assert are_hopeless([report(n, n_written=2, **{JUDGE: 1}) for n in range(3)])
    assert not are_hopeless([report(n, n_written=2, score=3.0, **{JUDGE: 1, GENERATOR: 1}) for n in range(3)])
    assert not are_hopeless([report(0, **{GENERATOR: 2})])


def fail(count: AnswerCount, kind: str, batch_id: str, label: str | None = None) -> None:
    count.begin(kind, batch_id, label=label)
    count.end(kind, batch_id, is_usable=False)


def test_batches_are_no_longer_begun_once_many_of_several_labels_failed_and_none_succeeded() -> None:
    count = AnswerCount()
    for n in range(30):
        fail(count, GENERATOR, f"b{n}", "rude")
        fail(count, JUDGE, "b0")
    assert not count.is_hopeless, "one label may be refused, and one batch is no sign"
    fail(count, GENERATOR, "b30", "polite")
    assert count.is_hopeless
    count.begin(GENERATOR, "b31", label="polite")
    count.end(GENERATOR, "b31", is_usable=True)
    assert not count.is_hopeless
    for n in range(10):
        fail(count, JUDGE, f"b{n}")
    assert count.is_hopeless, "rows without labels"


def test_batches_that_fail_at_once_say_nothing_while_earlier_ones_are_being_answered() -> None:
    count = AnswerCount()
    count.begin(GENERATOR, "slow", label=None)
    for n in range(30):
        fail(count, GENERATOR, f"too long {n}")
    assert not count.is_hopeless
    count.end(GENERATOR, "slow", is_usable=False)
    assert count.is_hopeless
