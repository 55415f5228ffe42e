"""Who is asked for how many rows when some were refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pada_agent.agents.data_generation.quota import Quota, count_vain_rounds, describe_shortfall, is_dry, plan_round


def owe(name: str, n_wanted: int, n_joined: int = 0, n_asked: int = 0, capacity: int | None = None) -> Quota:
    return Quota(branch="pattern", name=name, n_wanted=n_wanted, n_joined=n_joined, n_asked=n_asked, capacity=capacity)


def next_of(*quotas: Quota, limit: float = 5) -> list[int]:
    return [q.n_next for q in plan_round(quotas, max_asked_per_row=limit)]


def test_each_is_asked_for_what_it_owes() -> None:
    assert next_of(owe("a", 10, 7, 10), owe("b", 10, 10, 10), owe("c", 5, 1, 5)) == [3, 0, 4]


def test_a_full_quota_asks_nobody() -> None:
    assert next_of(owe("a", 10, 10, 12), owe("b", 10, 10, 10)) == [0, 0]
    assert next_of(owe("a", 10, 13, 12), owe("b", 10, 7, 10)) == [0, 0], "the sum counts"


@pytest.mark.parametrize(
    ("n_joined", "min_fill", "n_next"),
    [(57, 0.95, 0), (56, 0.95, 4), (57, 1, 3), (1, 0.01, 0), (27, 0.45, 0), (26, 0.45, 34)],
)
def test_rounds_end_at_the_fraction_that_is_enough(n_joined: int, min_fill: float, n_next: int) -> None:
    (quota,) = plan_round([owe("a", 60, n_joined, 60)], max_asked_per_row=5, min_fill=min_fill)
    assert quota.n_next == n_next


def test_what_one_cannot_give_goes_to_the_others() -> None:
    assert next_of(owe("errors", 10, 3, 3, capacity=3), owe("a", 5, 5, 5), owe("b", 5, 5, 5)) == [0, 4, 3]
    assert next_of(owe("errors", 10, 3, 3, capacity=5), owe("a", 10, 10, 10)) == [2, 5]


def test_one_that_was_asked_in_vain_is_left_alone_and_the_others_write_for_it() -> None:
    assert next_of(owe("vain", 10, 1, 50), owe("good", 10, 10, 10)) == [0, 9]


def test_the_sum_of_what_is_asked_has_a_limit() -> None:
    assert next_of(owe("a", 10, 4, 27), owe("b", 10, 10, 10), limit=2) == [0, 3]
    assert next_of(owe("a", 10, 4, 30), owe("b", 10, 10, 10), limit=2) == [0, 0]


def test_where_all_are_dry_nobody_is_asked() -> None:
    assert next_of(owe("errors", 10, 3, 9, capacity=3)) == [0]
    assert is_dry(owe("a", 10, 0, 50), 5) and not is_dry(owe("a", 10, 10, 50), 5)


def test_who_gave_nothing_in_two_rounds_in_a_row_is_left_alone() -> None:
    def after(n_vain_rounds: int, n_joined: int = 0) -> Quota:
        return owe("q", 3, n_joined, 4).model_copy(update={"n_vain_rounds": n_vain_rounds})

    assert next_of(after(1)) == [3] and next_of(after(2)) == [0]
    assert next_of(after(1, n_joined=2)) == [1] and next_of(after(2, n_joined=2)) == [0]
    assert next_of(after(2), owe("good", 3, 3, 3)) == [0, 3], "the others write for it"


@pytest.mark.parametrize(
    ("joined", "n_vain"),
    [
        ({}, 0),
        ({0: 3}, 0),
        ({0: 0}, 1),
        ({0: 2, 1: 0}, 1),
        ({0: 0, 2: 0}, 2),
        ({2: 0, 0: 1, 1: 0}, 2),
        ({0: 0, 1: 1}, 0),
    ],
)
def test_vain_rounds_are_the_latest_in_a_row(joined: dict[int, int], n_vain: int) -> None:
    assert count_vain_rounds(joined) == n_vain


quotas = st.builds(
    owe,
    st.just("q"),
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(0, 400),
    st.none() | st.integers(0, 80),
)


@given(st.lists(quotas, min_size=1, max_size=6), st.floats(1, 8))
def test_no_more_is_asked_than_is_missing_than_the_limit_allows_or_than_can_join(
    owed: list[Quota], limit: float
) -> None:
    asked = next_of(*owed, limit=limit)
    n_missing = max(0, sum(q.n_wanted - q.n_joined for q in owed))
    n_room = max(0, int(limit * sum(q.n_wanted for q in owed)) - sum(q.n_asked for q in owed))
    assert all(n >= 0 for n in asked) and sum(asked) <= min(n_missing, n_room)
    assert all(q.n_open is None or n <= q.n_open for q, n in zip(owed, asked, strict=True))
    helpers = [q for q in owed if not is_dry(q, limit) and q.capacity is None]
    assert not helpers or sum(asked) == min(n_missing, n_room), "whoever can, fills the quota"


@pytest.mark.parametrize(
    ("owed", "told"),
    [
        ([owe("a", 10, 10, 10)], None),
        ([owe("'x'", 10, 4, 50)], "4 of 10 synthetic rows join the training data: 'x' gave 4 of 10 (50 asked for)"),
        (
            [owe("'x'", 10, 4, 50), owe("'y'", 10, 16, 20)],
            "20 of 20 synthetic rows join the training data: 'x' gave 4 of 10 (50 asked for); to make up for it, 'y' gave 6 more",
        ),
    ],
)
def test_what_is_missing_is_told(owed: list[Quota], told: str | None) -> None:
    assert describe_shortfall(owed) == told


def test_a_shortfall_says_what_most_rows_were_refused_as() -> None:
    lost = {"quality": 0, "format": 12, "duplicate": 38, "contamination": 1, "label": 2}
    told = describe_shortfall([owe("'x'", 10, 4, 50)], lost)
    assert told and told.endswith("; rejected most often: duplicates (38), format (12), wrong labels (2)")
    assert describe_shortfall([owe("'x'", 10, 10, 50)], lost) is None
