from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pada_agent.core.records import Verdict
from pada_agent.evaluation.statistics import (
    compare_paired,
    mcnemar_exact,
    smallest_detectable_gain,
    summarize,
    wilson_interval,
)


def verdicts(pattern: str) -> list[Verdict]:
    """`+` correct, `-` wrong, `?` unscored."""
    values: dict[str, Literal["correct", "wrong", "unscored"]] = {"+": "correct", "-": "wrong", "?": "unscored"}
    return [Verdict(example_id=str(i), value=values[sign]) for i, sign in enumerate(pattern)]


@pytest.mark.parametrize(
    ("n_correct", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_the_wilson_interval_has_its_published_values(n_correct: int, n: int, low: float, high: float) -> None:
    """The last is example r = 81, n = 263 of Newcombe (1998), table I."""
    interval = wilson_interval(n_correct, n)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize(
    ("n_fixed", "n_broken", "p_value"),
    [(0, 0, 1), (1, 0, 1), (5, 5, 1), (6, 0, 2 / 2**6), (8, 1, 2 * (1 + 9) / 2**9), (1, 8, 2 * (1 + 9) / 2**9)],
)
def test_mcnemar_is_the_two_sided_binomial(n_fixed: int, n_broken: int, p_value: float) -> None:
    assert mcnemar_exact(n_fixed, n_broken) == pytest.approx(p_value)


def test_unscored_counts_as_not_correct_and_is_told() -> None:
    metrics = summarize(verdicts("++-?"))
    assert (metrics.n, metrics.n_correct, metrics.n_unscored, metrics.accuracy) == (4, 2, 1, 0.5)
    assert metrics.low < 0.5 < metrics.high and metrics.f1 is None


def test_f1_is_the_mean_where_there_is_one() -> None:
    scored = [v.model_copy(update={"f1": f1}) for v, f1 in zip(verdicts("+-"), (1.0, 0.5), strict=True)]
    assert summarize(scored).f1 == 0.75


def test_nothing_to_summarize_is_an_error() -> None:
    with pytest.raises(ValueError, match="no verdicts"):
        summarize([])


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("-" * 10 + "+" * 10, "+" * 20, "gained"),
        ("+" * 20, "-" * 10 + "+" * 10, "lost"),
        ("-" * 5 + "+" * 15, "+" * 20, "not shown"),
        ("+-+-", "+-+-", "not shown"),
        ("+-" * 20, "-+" * 20, "not shown"),
    ],
)
def test_a_difference_is_named_only_when_the_paired_test_shows_it(before: str, after: str, words: str) -> None:
    assert compare_paired(verdicts(before), verdicts(after)).words == words


def test_a_paired_test_counts_what_changed() -> None:
    test = compare_paired(verdicts("++--?-" + "+" * 94), verdicts("+-++--" + "+" * 94))
    assert (test.n, test.n_fixed, test.n_broken, test.difference) == (100, 2, 1, pytest.approx(0.01))
    assert test.low < test.difference < test.high and test.p_value == 1


def test_the_bootstrap_interval_can_be_rebuilt_and_agrees_with_the_normal_one() -> None:
    before, after = "+" * 200 + "-" * 200, "-" * 40 + "+" * 160 + "+" * 100 + "-" * 100
    one, again = (compare_paired(verdicts(before), verdicts(after)) for _ in range(2))
    assert one == again
    half_width = 1.96 * ((140 / 400 - 0.15**2) / 400) ** 0.5
    assert (one.low, one.high) == (
        pytest.approx(0.15 - half_width, abs=0.006),
        pytest.approx(0.15 + half_width, abs=0.006),
    )


@pytest.mark.parametrize(("before", "after"), [("", ""), ("+", "+-")])
def test_verdicts_that_do_not_pair_are_an_error(before: str, after: str) -> None:
    with pytest.raises(ValueError, match="same rows"):
        compare_paired(verdicts(before), verdicts(after))


def test_verdicts_of_other_rows_do_not_pair() -> None:
    with pytest.raises(ValueError, match="same rows"):
        compare_paired(verdicts("++"), list(reversed(verdicts("++"))))


def test_more_rows_show_smaller_gains() -> None:
    gains = [smallest_detectable_gain(n) for n in (50, 500, 5000)]
    assert gains == sorted(gains, reverse=True)
    assert gains[1] == pytest.approx(0.056, abs=0.001)
    assert smallest_detectable_gain(4) <= 0.2


@given(st.text("+-?", min_size=1, max_size=40))
def test_swapping_the_models_mirrors_the_test(pattern: str) -> None:
    other = "".join(sorted(pattern))
    there, back = compare_paired(verdicts(pattern), verdicts(other)), compare_paired(verdicts(other), verdicts(pattern))
    assert (there.n_fixed, there.difference, there.p_value) == (back.n_broken, -back.difference, back.p_value)
    assert -1 <= there.low <= there.high <= 1
