from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test

from pada_agent.core.records import Verdict
from pada_agent.evaluation.statistics import (
    adjust_holm,
    bootstrap_crossed,
    compare_methods,
    compare_paired,
    mcnemar_exact,
    sign_flip_exact,
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


@given(st.text("+-?", min_size=1, max_size=40))
def test_swapping_the_models_mirrors_the_test(pattern: str) -> None:
    other = "".join(sorted(pattern))
    there, back = compare_paired(verdicts(pattern), verdicts(other)), compare_paired(verdicts(other), verdicts(pattern))
    assert (there.n_fixed, there.difference, there.p_value) == (back.n_broken, -back.difference, back.p_value)
    assert -1 <= there.low <= there.high <= 1


@pytest.mark.parametrize(
    ("given_p", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.001, 0.002, 0.003], [0.003, 0.004, 0.004]),
        ([0.6, 0.7], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holm_has_its_textbook_values(given_p: list[float], adjusted: list[float]) -> None:
    """As R's `p.adjust(p, "holm")`, worked by hand: sorted p times (m, m - 1, ...), then the running maximum, at most 1."""
    assert adjust_holm(given_p) == pytest.approx(adjusted)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_only_raises_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = adjust_holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)


@pytest.mark.parametrize("values", [[1, 1, -1, 0, 2, 2, -2, 1, 2], [0, 0], [3, -1], [1] * 6, [-2, -1, -1, 2]])
def test_the_sign_flip_test_agrees_with_scipys(values: list[int]) -> None:
    def total(*samples: "np.ndarray", axis: int) -> "np.ndarray":  # type: ignore[type-arg]
        return np.sum(samples[0], axis=axis)

    found = permutation_test(
        (np.array(values, dtype=float),), total, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert sign_flip_exact(np.array(values, dtype=float)) == pytest.approx(found.pvalue)


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_sign_flip_test_of_one_seed_is_mcnemars(n_fixed: int, n_broken: int) -> None:
    signs = np.array([1.0] * n_fixed + [-1.0] * n_broken + [0.0])
    assert sign_flip_exact(signs) == pytest.approx(mcnemar_exact(n_fixed, n_broken))


def test_one_seed_speaks_of_adapters_and_agrees_with_the_paired_test() -> None:
    before, after = verdicts("-" * 12 + "+" * 28), verdicts("+" * 10 + "-" * 4 + "+" * 26)
    alone, paired = compare_methods([before], [after]), compare_paired(before, after)
    assert (alone.speaks_of, alone.words) == ("adapters", paired.words)
    assert (alone.p_value, alone.difference) == (pytest.approx(paired.p_value), pytest.approx(paired.difference))
    assert (alone.low, alone.high) == (pytest.approx(paired.low, abs=0.02), pytest.approx(paired.high, abs=0.02))


def test_three_seeds_speak_of_methods_and_show_their_spread() -> None:
    before = [verdicts("-" * 30 + "+" * 30)] * 3
    after = [verdicts("+" * n + "-" * (30 - n) + "+" * 30) for n in (12, 15, 18)]
    test = compare_methods(before, after)
    assert (test.n, test.speaks_of) == (60, "methods")
    assert test.by_seed == pytest.approx((0.2, 0.25, 0.3)) and test.difference == pytest.approx(0.25)
    assert test.low < 0.2 and test.high > 0.3 and test.words == "gained"
    assert test.smallest_shown > test.difference - test.low


def test_adapters_that_disagree_show_no_effect_of_the_method() -> None:
    before = [verdicts("-" * 40 + "+" * 60)] * 3
    after = [verdicts("+" * n + "-" * (40 - n) + "+" * 60) for n in (0, 2, 30)]
    pooled = compare_methods(before[:2], [after[2]] * 2)
    assert pooled.words == "gained"
    assert compare_methods(before, after).words == "not shown"


def test_methods_on_other_rows_or_seeds_do_not_pair() -> None:
    for before, after in (([], []), ([verdicts("+")], [verdicts("+")] * 2), ([verdicts("++")], [verdicts("+")])):
        with pytest.raises(ValueError, match="same rows"):
            compare_methods(before, after)


def test_equal_methods_have_no_difference() -> None:
    same = [verdicts("+-" * 10)] * 3
    test = compare_methods(same, same)
    assert (test.difference, test.p_value, test.words) == (0, 1, "not shown")


def test_the_crossed_bootstrap_agrees_with_the_analysis_of_variance() -> None:
    """Two-way random effects: Var(mean) = (MS_seeds + MS_rows - MS_rest) / (S N)."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(4, 1)) * 0.3 + rng.normal(size=(1, 60)) * 0.5 + rng.normal(size=(4, 60))
    rest = values - values.mean(1, keepdims=True) - values.mean(0, keepdims=True) + values.mean()
    mean_squares = 60 * values.mean(1).var(ddof=1) + 4 * values.mean(0).var(ddof=1) - (rest**2).sum() / (3 * 59)
    assert bootstrap_crossed(values).stderr == pytest.approx((mean_squares / 240) ** 0.5, rel=0.06)
