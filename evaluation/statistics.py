"""Confidence intervals and paired tests. Accuracy counts an unscored answer as not correct, and reports how many there were.

`scipy.stats` is loaded when it is first used, because that takes half a second at the start of a run.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import floor, log2, sqrt
from typing import Literal, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from pada_agent.core.records import Metrics, Record, Verdict

LEVEL = 0.95
"""Confidence level of all intervals."""
POWER = 0.8
"""Power for `smallest_shown`: 8 of 10 experiments."""
N_DRAWS = 4000
"""Number of bootstrap draws."""
MANY_ROWS = 5000
"""With more rows, it is drawn how many there are of each kind, not which: a count for each of them would take gigabytes."""
N_POINTS = 1000
"""Number of points, an even one, for integrals over a confidence distribution."""
FEW = 25
"""With fewer rows that changed, or fewer that did not change alike, normal and bootstrap intervals are too narrow. The usual bound for an exact
McNemar test."""
DISAGREEMENT = 0.2
"""Share of rows that two methods usually answer differently (docs/results), for `expect_spread`."""
OF_ALL_SEEDS = 0.3
"""Share of that disagreement that is the same for every seed."""
SEED_SD = 0.01
"""Standard deviation of an adapter's accuracy between seeds, beyond what its rows explain."""

Words = Literal["gained", "lost", "not shown"]
"""What a test says in words."""


class Interval(Record):
    """Bounds of a 95% confidence interval."""

    low: float
    high: float


class PairedTest(Record):
    """A paired comparison of two models on the same rows."""

    n: int
    """Number of rows."""
    n_fixed: int
    """Number of rows that only the second model got right."""
    n_broken: int
    """Number of rows that only the first model got right."""
    difference: float
    """Accuracy of the second model minus that of the first, from -1 to 1."""
    low: float
    """Lower bound of its 95% interval. It is above 0, or `high` below 0, if and only if the test rejects at 5%."""
    high: float
    """Upper bound of its 95% interval."""
    p_value: float
    """McNemar's exact test, two-sided."""
    words: Words


class MethodTest(Record):
    """A comparison of two methods on the same rows, each with one adapter per seed."""

    n: int
    """Number of rows."""
    by_seed: tuple[float, ...]
    """For each seed, the accuracy of the second method's adapter minus that of the first's."""
    difference: float
    """Mean of `by_seed`."""
    low: float
    """Lower bound of its 95% interval."""
    high: float
    """Upper bound of its 95% interval."""
    p_value: float
    """Two-sided, for the hypothesis of no difference."""
    smallest_shown: float
    """True difference that this many rows and seeds, with this spread, would show in 8 of 10 experiments. Above 1 if they cannot show any."""
    speaks_of: Literal["adapters", "methods"]
    """`adapters` for up to two seeds, because these say nothing about the spread between adapters. The test is then about these adapters only."""
    words: Words


def summarize(verdicts: Sequence[Verdict]) -> Metrics:
    """Accuracy with its Wilson interval, and mean F1 if the verdicts have one.

    Raises:
        ValueError: there are no verdicts.
    """
    if not verdicts:
        raise ValueError("no verdicts to summarize")
    n_correct = sum(v.value == "correct" for v in verdicts)
    interval = wilson_interval(n_correct, len(verdicts))
    f1s = [v.f1 for v in verdicts if v.f1 is not None]
    return Metrics(
        n=len(verdicts),
        n_correct=n_correct,
        n_unscored=sum(v.value == "unscored" for v in verdicts),
        accuracy=n_correct / len(verdicts),
        low=interval.low,
        high=interval.high,
        f1=sum(f1s) / len(f1s) if f1s else None,
    )


def wilson_interval(n_correct: int, n: int) -> Interval:
    """Wilson score interval of a proportion, without continuity correction."""
    bounds = scipy.stats.binomtest(n_correct, n).proportion_ci(LEVEL, method="wilson")
    return Interval(low=float(bounds.low), high=float(bounds.high))


def compare_paired(before: Sequence[Verdict], after: Sequence[Verdict]) -> PairedTest:
    """McNemar's exact test on two models' verdicts, row by row, and an interval of the difference that agrees with it.

    Raises:
        ValueError: the verdicts are not about the same rows in the same order, or there are none.
    """
    if not before or [v.example_id for v in before] != [v.example_id for v in after]:
        raise ValueError("paired verdicts must be of the same rows, in the same order, and not empty")
    signs = np.array([(a.value == "correct") - (b.value == "correct") for b, a in zip(before, after, strict=True)])
    n_fixed, n_broken = int((signs > 0).sum()), int((signs < 0).sum())
    p_value = mcnemar_exact(n_fixed, n_broken)
    difference = float(signs.mean())
    interval = agree_with_test(bootstrap_mean(signs), signs, p_value)
    return PairedTest(
        n=len(signs),
        n_fixed=n_fixed,
        n_broken=n_broken,
        difference=difference,
        low=interval.low,
        high=interval.high,
        p_value=p_value,
        words=word_difference(difference, p_value),
    )


def word_difference(difference: float, p_value: float) -> Words:
    """What a test shows at the 5% level."""
    if not _is_shown(p_value):
        return "not shown"
    return "gained" if difference > 0 else "lost"


def compare_methods(
    before: Sequence[Sequence[Verdict]], after: Sequence[Sequence[Verdict]], *, n_tests: int = 1
) -> MethodTest:
    """Compare the verdicts on two methods: one sequence per seed, with seeds and rows in the same order.

    With three or more seeds, rows and seeds are both resampled (a crossed bootstrap), so the result holds for other
    rows and other seeds. With one or two, it is an exact sign-flip test over rows; for one seed, this is McNemar's
    test. The interval contains 0 if and only if the test does not reject at 5%.

    Args:
        n_tests: number of comparisons that Holm's procedure corrects for. `smallest_shown` is for the first of its
            steps.

    Raises:
        ValueError: the verdicts do not pair up, or there are none.
    """
    ids = [v.example_id for v in before[0]] if before else []
    if not ids or len(before) != len(after) or any([v.example_id for v in vs] != ids for vs in (*before, *after)):
        raise ValueError(
            "paired verdicts must be of the same rows, in the same order, for the same seeds, and not empty"
        )
    right = [np.array([[v.value == "correct" for v in vs] for vs in side], dtype=float) for side in (before, after)]
    signs = right[1] - right[0]
    compared = _compare_over_rows(signs) if len(before) <= 2 else _compare_over_rows_and_seeds(signs)
    difference = float(signs.mean())
    return MethodTest(
        n=len(ids),
        by_seed=tuple(float(x) for x in signs.mean(axis=1)),
        difference=difference,
        low=max(-1.0, compared.interval.low),
        high=min(1.0, compared.interval.high),
        p_value=compared.p_value,
        smallest_shown=find_smallest_shown(compared.spread, n_tests),
        speaks_of="adapters" if len(before) <= 2 else "methods",
        words=word_difference(difference, compared.p_value),
    )


def find_smallest_shown(spread: "Spread", n_tests: int = 1) -> float:
    """True difference that is shown in 8 of 10 experiments, at the first and hardest step of Holm's procedure over `n_tests`."""
    alpha = (1 - LEVEL) / n_tests
    smallest = (
        float(scipy.stats.t.ppf(1 - alpha / 2, spread.df)) + float(scipy.stats.t.ppf(POWER, spread.df))
    ) * spread.stderr
    return smallest if spread.n_exact is None else max(smallest, _find_least_shown(spread.n_exact, alpha))


def expect_spread(n_rows: int, n_seeds: int) -> "Spread":
    """Expected uncertainty of the mean difference between two methods before they are run, based on past experiments.

    The figures are from the local experiments (docs/results): two methods answer a fifth of the rows differently, three
    tenths of that for every seed alike, and adapters of one method differ by one point beyond what their rows explain.
    """
    from_rows = DISAGREEMENT / n_rows * (OF_ALL_SEEDS + (1 - OF_ALL_SEEDS) / n_seeds)
    if n_seeds <= 2:
        return Spread(stderr=sqrt(from_rows), df=max(1.0, n_rows - 1.0), n_exact=n_rows)
    return Spread(stderr=sqrt(from_rows + 2 * SEED_SD**2 / n_seeds), df=2.0 * (n_seeds - 1))


class Spread(Record):
    """Uncertainty of a mean over rows and seeds."""

    stderr: float
    """Standard error."""
    df: float
    """Degrees of freedom (Satterthwaite)."""
    n_exact: int | None = None
    """Number of rows if these are compared by the exact test, which cannot reject before some of them change. None for the t-test."""


class _Compared(NamedTuple):
    spread: Spread
    p_value: float
    interval: Interval


def bootstrap_crossed(values: NDArray[np.float64]) -> Spread:
    """Standard error of the mean of `(n_seeds, n_rows)` values when rows and seeds are drawn independently.

    Owen's pigeonhole bootstrap (2007, Annals of Applied Statistics 1:2), corrected for two known biases: it counts the
    interaction of rows and seeds three times, and it underestimates the spread of few seeds. The random seed is fixed,
    so that a report can be rebuilt.
    """
    n_seeds, n_rows = values.shape
    by_seed, by_row, mean = values.mean(axis=1), values.mean(axis=0), values.mean()
    rest = values - by_seed[:, None] - by_row[None, :] + mean
    widened = values + (sqrt(n_seeds / (n_seeds - 1)) - 1) * (by_seed - mean)[:, None]
    means = (_sum_drawn_rows(widened) * _draw_counts(n_seeds, 1)).sum(axis=1) / values.size
    df_seeds, df_rows = n_seeds - 1, n_rows - 1
    from_rest = float((rest**2).sum()) / max(df_seeds * df_rows, 1) / values.size
    from_seeds, from_rows = by_seed.var(ddof=1) / n_seeds, by_row.var(ddof=1) / n_rows
    variance = max(float(means.var()) - 2 * from_rest, from_rest, float(from_seeds), 1e-12)
    doubt = from_seeds**2 / df_seeds + from_rows**2 / df_rows + from_rest**2 / (df_seeds * df_rows)
    return Spread(
        stderr=sqrt(variance), df=max(float(df_seeds), variance**2 / float(doubt)) if doubt else float(df_rows)
    )


def sign_flip_exact(values: NDArray[np.float64]) -> float:
    """Two-sided p-value for the sum of whole numbers if every sign were equally likely. For -1, 0 and 1 this is McNemar's test."""
    chances = np.ones(1)
    for size in range(1, int(abs(values).max(initial=0)) + 1):
        n = int((abs(values) == size).sum())
        flipped = np.zeros(2 * n * size + 1)
        flipped[:: 2 * size] = scipy.stats.binom.pmf(np.arange(n + 1), n, 0.5)
        chances = np.convolve(chances, flipped)
    sums = np.arange(len(chances)) - len(chances) // 2
    return min(1.0, float(chances[abs(sums) >= abs(values.sum()) - 1e-9].sum()))


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted by Holm's step-down procedure. If those below 0.05 are called significant, any of them is wrong in at most 5% of cases."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, reached = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = reached
    return adjusted


def mcnemar_exact(n_fixed: int, n_broken: int) -> float:
    """Two-sided p-value of a split at least as uneven among the rows whose verdict changed, if both directions were equally likely."""
    changed = n_fixed + n_broken
    return float(scipy.stats.binomtest(n_fixed, changed).pvalue) if changed else 1.0


def bootstrap_mean(signs: "np.ndarray[tuple[int], np.dtype[np.int_]]") -> Interval:
    """Percentile bootstrap interval of the mean of `(n,)` values of -1, 0 and 1. The random seed is fixed, so that a report can be rebuilt."""
    rng = np.random.default_rng(0)
    n = len(signs)
    counts = rng.multinomial(n, [np.mean(signs == v) for v in (-1, 0, 1)], size=N_DRAWS)
    low, high = np.quantile((counts[:, 2] - counts[:, 0]) / n, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(low=float(low), high=float(high))


def agree_with_test(usual: Interval, sums: NDArray[np.float64], p_value: float, n_seeds: int = 1) -> Interval:
    """The usual interval of the mean of `(n_rows,)` sums over seeds; the melded one if few rows changed, or if the usual one contradicts the exact
    test's p-value."""
    excludes_zero = usual.low > 0 or usual.high < 0
    contradicts = excludes_zero != _is_shown(p_value)
    return melded_interval(sums, n_seeds) if contradicts or is_few(sums) else usual


def is_few(sums: NDArray[np.float64]) -> bool:
    """Whether fewer than `FEW` of the rows differ from the most frequent sum over seeds, which usually is 0: not changed."""
    return len(sums) - int(np.unique(sums, return_counts=True)[1].max()) < FEW


def melded_interval(sums: NDArray[np.float64], n_seeds: int = 1) -> Interval:
    """Interval of the mean of `(n_rows,)` sums of -1, 0 and 1 over one or two seeds that excludes 0 if and only if `sign_flip_exact` rejects.

    Fay and Lumbard (2021, Statistics in Medicine 40:1147): the share of rows that changed, and the share of these that
    changed for the better, each have a confidence distribution (Clopper-Pearson), and the bounds are quantiles of the
    product. For two seeds, which they do not treat, the second is that of the sign-flip test given the sizes of the
    sums. In simulations of 20 and 100 rows, of which 1 to 20% change, at least 96% of the intervals contain the
    difference (20,000 each; for two seeds and 60 rows, 400 each); of the bootstrap's, 13 to 100%.
    """
    n_ones, n_twos = (int((abs(sums) == size).sum()) for size in (1, 2))
    total = int(sums.sum())
    low, low_of_mirrored = (_find_lower_bound(len(sums), n_ones, n_twos, t, n_seeds) for t in (total, -total))
    return Interval(low=low, high=-low_of_mirrored)


def _is_shown(p_value: float) -> bool:
    return p_value < 1 - LEVEL


def _sum_drawn_rows(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of `(n_seeds, n_rows)` values over drawn rows. Shape `(N_DRAWS, n_seeds)`."""
    n_rows = values.shape[1]
    if n_rows <= MANY_ROWS:
        return _draw_counts(n_rows, 0) @ values.T
    kinds, n_each = np.unique(values, axis=1, return_counts=True)
    return np.random.default_rng(0).multinomial(n_rows, n_each / n_rows, size=N_DRAWS) @ kinds.T


@lru_cache(maxsize=4)
def _draw_counts(n: int, seed: int) -> NDArray[np.float64]:
    """How often each of `n` items is drawn. Shape `(N_DRAWS, n)`."""
    drawn = np.random.default_rng(seed).integers(n, size=(N_DRAWS, n)) + n * np.arange(N_DRAWS)[:, None]
    return np.bincount(drawn.ravel(), minlength=n * N_DRAWS).reshape(N_DRAWS, n).astype(float)


def _compare_over_rows(signs: NDArray[np.float64]) -> _Compared:
    """The exact test of `(n_seeds, n_rows)` signs, for one or two seeds."""
    n_seeds, n = signs.shape
    by_row, sums = signs.mean(axis=0), signs.sum(axis=0)
    stderr = float(by_row.std(ddof=1)) / sqrt(n) if n > 1 else 0.0
    spread = Spread(stderr=stderr, df=max(1.0, n - 1.0), n_exact=n)
    p_value = sign_flip_exact(sums)
    usual = _t_interval(float(by_row.mean()), spread)
    return _Compared(spread, p_value, agree_with_test(usual, sums, p_value, n_seeds))


def _compare_over_rows_and_seeds(signs: NDArray[np.float64]) -> _Compared:
    """The t-test of `(n_seeds, n_rows)` signs. If few rows changed, with one more row that all seeds fixed and one that all broke (Bonett and Price
    2012, Journal of Educational and Behavioral Statistics 37:479): without them, ties would pass for certainty."""
    if is_few(signs.sum(axis=0)):
        signs = np.hstack([signs, np.tile([1.0, -1.0], (len(signs), 1))])
    spread, mean = bootstrap_crossed(signs), float(signs.mean())
    p_value = 2 * float(scipy.stats.t.sf(abs(mean) / spread.stderr, spread.df))
    return _Compared(spread, p_value, _t_interval(mean, spread))


def _t_interval(mean: float, spread: Spread) -> Interval:
    half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, spread.df)) * spread.stderr
    return Interval(low=mean - half, high=mean + half)


def _find_least_shown(n_rows: int, alpha: float) -> float:
    """Share of rows that a model without a single loss has to fix so that the exact test rejects in 8 of 10 experiments. Above 1 if there are too few
    rows."""
    n_needed = floor(log2(2 / alpha)) + 1
    if n_rows < n_needed:
        return n_needed / n_rows
    return float(scipy.stats.beta.ppf(POWER, n_needed, n_rows - n_needed + 1))


@lru_cache(maxsize=1024)
def _find_lower_bound(n: int, n_ones: int, n_twos: int, total: int, n_seeds: int) -> float:
    """The lower bound of `melded_interval`. It takes the lower of the two distributions of the changed rows' share if it is above 0."""
    changed = n_ones + n_twos
    size = (n_ones + 2 * n_twos) / changed / n_seeds if changed else 1.0
    better = np.linspace(0, 1, N_POINTS + 1)
    chance = _find_tail(n_ones, n_twos, total, better)
    if chance[0] == 1:  # none changed for the better
        return -size * (float(scipy.stats.beta.ppf((1 + LEVEL) / 2, changed + 1, n - changed)) if changed < n else 1.0)
    is_above = chance[N_POINTS // 2] < (1 - LEVEL) / 2
    shares = _find_shares(changed if is_above else changed + 1, n - changed + is_above)

    def exceed(bound: float) -> float:
        return float(np.interp((bound / shares + 1) / 2, better, chance, left=0, right=1).mean()) - (1 - LEVEL) / 2

    return size * float(scipy.optimize.brentq(exceed, 0 if is_above else -1, 1 if is_above else 0, xtol=1e-6))


def _find_tail(n_ones: int, n_twos: int, total: int, better: NDArray[np.float64]) -> NDArray[np.float64]:
    """How likely a total at least as high is, for each probability that a sum is positive, given how many sums have size 1 and size 2."""
    twos = np.arange(n_twos + 1)[:, None]
    n_at_least = np.ceil((total + n_ones + 2 * n_twos - 4 * twos) / 2)
    binom = scipy.stats.binom
    tail: NDArray[np.float64] = (binom.pmf(twos, n_twos, better) * binom.sf(n_at_least - 1, n_ones, better)).sum(axis=0)
    return tail


@lru_cache(maxsize=64)
def _find_shares(a: int, b: int) -> NDArray[np.float64]:
    """Quantiles of a beta distribution, which is all at 1 if `b` is 0. Shape `(N_POINTS,)`."""
    middles = (np.arange(N_POINTS) + 0.5) / N_POINTS
    shares: NDArray[np.float64] = scipy.stats.beta.ppf(middles, a, b) if b else np.ones(N_POINTS)
    return shares
