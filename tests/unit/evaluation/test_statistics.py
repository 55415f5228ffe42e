from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, permutation_test

from pada_agent.core.records import Verdict
from pada_agent.evaluation import statistics
from pada_agent.evaluation.statistics import (
    adjust_holm,
    bootstrap_crossed,
    bootstrap_mean,
    compare_methods,
    compare_paired,
    expect_spread,
    find_smallest_shown,
    mcnemar_exact,
    melded_interval,
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
    for before, after in (
        ([], []),
        ([[]], [[]]),
        ([verdicts("+")], [verdicts("+")] * 2),
        ([verdicts("++")], [verdicts("+")]),
    ):
        with pytest.raises(ValueError, match="same rows"):
            compare_methods(before, after)


def test_equal_methods_have_no_difference() -> None:
    same = [verdicts("+-" * 10)] * 3
    test = compare_methods(same, same)
    assert (test.difference, test.p_value, test.words) == (0, 1, "not shown")


def spread_signs(n_fixed: int, n_broken: int, n: int) -> "np.ndarray":  # type: ignore[type-arg]
    return np.array([1.0] * n_fixed + [-1.0] * n_broken + [0.0] * (n - n_fixed - n_broken))


def pair_up(n_fixed: int, n_broken: int, n: int) -> tuple[list[Verdict], list[Verdict]]:
    same = "+" * (n - n_fixed - n_broken)
    return verdicts("-" * n_fixed + "+" * n_broken + same), verdicts("+" * n_fixed + "-" * n_broken + same)


@pytest.mark.parametrize(("n_fixed", "n_broken", "n"), [(0, 0, 4), (5, 0, 5), (1, 7, 21), (5, 0, 200), (9, 2, 300)])
def test_the_melded_interval_has_the_quantiles_of_its_definition(n_fixed: int, n_broken: int, n: int) -> None:
    """Fay and Lumbard (2021), section 3: products of draws from the confidence distributions of Clopper and Pearson."""
    rng = np.random.default_rng(5)
    m = n_fixed + n_broken

    def draw(a: int, b: int) -> "np.ndarray":  # type: ignore[type-arg]
        return rng.beta(a, b, 200_000) if a and b else np.full(200_000, float(a > 0))

    shares = [draw(m, n - m + 1), draw(m + 1, n - m)]
    lowest, highest = draw(n_fixed, n_broken + 1), draw(n_fixed + 1, n_broken)
    interval = melded_interval(spread_signs(n_fixed, n_broken, n))
    low = min(float(np.quantile(share * (2 * lowest - 1), 0.025)) for share in shares)
    high = max(float(np.quantile(share * (2 * highest - 1), 0.975)) for share in shares)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=0.004), pytest.approx(high, abs=0.004))


@pytest.mark.parametrize("n", [4, 10, 100])
def test_without_a_change_the_interval_is_that_of_none_of_n(n: int) -> None:
    """1 - 0.025 ** (1 / n) is the upper limit of Clopper and Pearson for 0 of n."""
    test = compare_paired(*pair_up(0, 0, n))
    assert (-test.low, test.high) == (pytest.approx(1 - 0.025 ** (1 / n)), pytest.approx(1 - 0.025 ** (1 / n)))


@pytest.mark.parametrize(("n", "changed"), [(30, range(13)), (300, range(20, 60, 7)), (50, range(46, 51))])
def test_an_interval_contains_zero_if_and_only_if_the_exact_test_does_not_reject(n: int, changed: range) -> None:
    for m in changed:
        for n_fixed in range(m // 2, m + 1):
            before, after = pair_up(n_fixed, m - n_fixed, n)
            test = compare_paired(before, after)
            assert (test.low <= 0 <= test.high) == (test.p_value >= 0.05) == (test.words == "not shown"), (m, n_fixed)
            assert test.low < test.high and test.low <= test.difference <= test.high


@pytest.mark.parametrize("n_seeds", [1, 2])
@pytest.mark.parametrize(
    ("n_fixed", "n_broken", "n"), [(0, 0, 4), (5, 0, 5), (5, 0, 100), (9, 2, 300), (21, 9, 40), (40, 0, 40)]
)
def test_intervals_over_one_or_two_seeds_agree_with_their_test(
    n_seeds: int, n_fixed: int, n_broken: int, n: int
) -> None:
    before, after = pair_up(n_fixed, n_broken, n)
    other = after if n_seeds == 1 else [a if i % 2 else b for i, (b, a) in enumerate(zip(before, after, strict=True))]
    test = compare_methods([before] * n_seeds, [after, other][:n_seeds])
    assert (test.low <= 0 <= test.high) == (test.p_value >= 0.05)
    assert -1 <= test.low < test.high <= 1


@pytest.mark.parametrize("beta", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("theta", [0.02, 0.1, 0.3])
def test_few_changes_are_covered_as_often_as_promised(theta: float, beta: float) -> None:
    """All outcomes of 15 rows, of which a share `theta` changes, and a share `beta` of these for the better."""
    n, covered = 15, 0.0
    for m in range(n + 1):
        for n_fixed in range(m + 1):
            chance = float(binom.pmf(m, n, theta) * binom.pmf(n_fixed, m, beta))
            if chance > 1e-6:
                found = melded_interval(spread_signs(n_fixed, m - n_fixed, n))
                covered += chance * (found.low <= theta * (2 * beta - 1) <= found.high)
    assert covered >= 0.95


def test_many_changes_keep_the_bootstrap_interval() -> None:
    """The figures of finished experiments do not depend on what is done with few changes."""
    test, usual = compare_paired(*pair_up(30, 10, 300)), bootstrap_mean(spread_signs(30, 10, 300))
    assert (test.low, test.high) == (usual.low, usual.high)


@pytest.mark.parametrize("n_seeds", [1, 2, 3, 5])
def test_ties_are_not_certainty_whatever_the_number_of_seeds(n_seeds: int) -> None:
    same = [verdicts("+-" * 5)] * n_seeds
    test = compare_methods(same, same)
    assert (test.difference, test.p_value, test.words) == (0, 1, "not shown")
    assert test.high == pytest.approx(-test.low) and test.high > 0.2 and test.smallest_shown > 0.3


def test_seeds_that_agree_on_few_rows_show_no_more_than_one_of_them() -> None:
    """Three adapters that fix the same 4 of 4 or 5 of 100 rows are no other rows: the exact test of one has p = 0.125 and 0.0625."""
    for n_fixed, n in ((4, 4), (5, 100)):
        before, after = pair_up(n_fixed, 0, n)
        test = compare_methods([before] * 3, [after] * 3)
        assert test.words == "not shown" and test.low <= 0 and test.low < test.difference <= test.high <= 1
    before, after = pair_up(8, 0, 100)
    assert compare_methods([before] * 3, [after] * 3).words == "gained"


@pytest.mark.parametrize("n_seeds", [1, 2, 3])
def test_a_single_row_shows_nothing_and_is_no_error(n_seeds: int) -> None:
    test = compare_methods([verdicts("-")] * n_seeds, [verdicts("+")] * n_seeds)
    assert (test.n, test.difference, test.words) == (1, 1, "not shown") and test.low < 0
    assert test.smallest_shown > 1


def test_the_exact_test_shows_nothing_before_six_rows_change() -> None:
    """2 * 0.5 ** 6 < 0.05: with five rows it cannot reject. With 100, 8 of 10 experiments see six changes if 7.8% change."""
    assert find_smallest_shown(expect_spread(5, 1)) > 1
    assert 0.9 < find_smallest_shown(expect_spread(6, 1)) <= 1
    share = compare_methods(*[[side] for side in pair_up(0, 0, 100)]).smallest_shown
    assert binom.sf(5, 100, share) == pytest.approx(0.8)
    assert find_smallest_shown(expect_spread(400, 1)) == pytest.approx(2.81 * (0.2 / 400) ** 0.5, rel=0.01)


def test_the_crossed_bootstrap_agrees_with_the_analysis_of_variance() -> None:
    """Two-way random effects: Var(mean) = (MS_seeds + MS_rows - MS_rest) / (S N)."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(4, 1)) * 0.3 + rng.normal(size=(1, 60)) * 0.5 + rng.normal(size=(4, 60))
    rest = values - values.mean(1, keepdims=True) - values.mean(0, keepdims=True) + values.mean()
    mean_squares = 60 * values.mean(1).var(ddof=1) + 4 * values.mean(0).var(ddof=1) - (rest**2).sum() / (3 * 59)
    assert bootstrap_crossed(values).stderr == pytest.approx((mean_squares / 240) ** 0.5, rel=0.06)


def test_many_rows_are_compared_without_a_count_for_each_draw_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """70,000 test rows took 9 GB after all runs were done."""
    rng = np.random.default_rng(0)
    alike = rng.choice([-1.0, 0.0, 0.0, 1.0], size=300)
    values = np.where(rng.random((3, 300)) < 0.7, alike, 0.0)
    few = bootstrap_crossed(values)
    monkeypatch.setattr(statistics, "MANY_ROWS", 299)
    many = bootstrap_crossed(values)
    assert many.stderr == pytest.approx(few.stderr, rel=0.05) and many.stderr != few.stderr
    values = np.tile(values, 300)
    assert len(values.T) == 90_000 and bootstrap_crossed(values).stderr < few.stderr
