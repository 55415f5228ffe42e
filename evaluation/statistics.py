"""Confidence intervals and paired tests. Accuracy counts an unscored answer as not correct, and reports how many there were.

`scipy.stats` is loaded when it is first used, because that takes half a second at the start of a run.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import sqrt
from typing import Literal

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
DISAGREEMENT = 0.2
"""Share of rows that two methods usually answer differently (docs/results), for `expect_spread`."""
OF_ALL_SEEDS = 0.3
"""Share of that disagreement that is the same for every seed."""
SEED_SD = 0.01
"""Standard deviation of an adapter's accuracy between seeds, beyond what its rows explain."""

Words = Literal["gained", "lost", "not shown"]
"""What a test says in words."""


class Interval(Record):
    """Bounds of a 95 % confidence interval."""

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
    """Lower bound of its 95 % interval."""
    high: float
    """Upper bound of its 95 % interval."""
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
    """Lower bound of its 95 % interval."""
    high: float
    """Upper bound of its 95 % interval."""
    p_value: float
    """Two-sided, for the hypothesis of no difference."""
    smallest_shown: float
    """True difference that this many rows and seeds, with this spread, would show in 8 of 10 experiments."""
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
    """McNemar's exact test on two models' verdicts, row by row, and a bootstrap interval of the difference.

    Raises:
        ValueError: the verdicts are not about the same rows in the same order, or there are none.
    """
    if not before or [v.example_id for v in before] != [v.example_id for v in after]:
        raise ValueError("paired verdicts must be of the same rows, in the same order, and not empty")
    signs = np.array([(a.value == "correct") - (b.value == "correct") for b, a in zip(before, after, strict=True)])
    n_fixed, n_broken = int((signs > 0).sum()), int((signs < 0).sum())
    p_value = mcnemar_exact(n_fixed, n_broken)
    difference = float(signs.mean())
    interval = bootstrap_mean(signs)
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
    """What a test shows at the 5 % level."""
    if p_value >= 1 - LEVEL:
        return "not shown"
    return "gained" if difference > 0 else "lost"


def compare_methods(
    before: Sequence[Sequence[Verdict]], after: Sequence[Sequence[Verdict]], *, n_tests: int = 1
) -> MethodTest:
    """Compare the verdicts on two methods: one sequence per seed, with seeds and rows in the same order.

    With three or more seeds, rows and seeds are both resampled (a crossed bootstrap), so the result holds for other
    rows and other seeds. With one or two, it is an exact sign-flip test over rows; for one seed, this is McNemar's
    test.

    Args:
        n_tests: number of comparisons that Holm's procedure corrects for. `smallest_shown` is for the first of its
            steps.

    Raises:
        ValueError: the verdicts do not pair up, or are about fewer than two rows.
    """
    ids = [v.example_id for v in before[0]] if before else []
    if len(ids) < 2 or len(before) != len(after) or any([v.example_id for v in vs] != ids for vs in (*before, *after)):
        raise ValueError(
            "paired verdicts must be of the same rows, in the same order, for the same seeds, and at least two"
        )
    right = [np.array([[v.value == "correct" for v in vs] for vs in side], dtype=float) for side in (before, after)]
    signs = right[1] - right[0]
    spread = _measure_spread_of_rows(signs) if len(before) <= 2 else bootstrap_crossed(signs)
    difference = float(signs.mean())
    half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, spread.df)) * spread.stderr
    p_value = sign_flip_exact(signs.sum(axis=0)) if len(before) <= 2 else _t_test(difference, spread)
    return MethodTest(
        n=len(ids),
        by_seed=tuple(float(x) for x in signs.mean(axis=1)),
        difference=difference,
        low=difference - half,
        high=difference + half,
        p_value=p_value,
        smallest_shown=find_smallest_shown(spread, n_tests),
        speaks_of="adapters" if len(before) <= 2 else "methods",
        words=word_difference(difference, p_value),
    )


def find_smallest_shown(spread: "Spread", n_tests: int = 1) -> float:
    """True difference that is shown in 8 of 10 experiments, at the first and hardest step of Holm's procedure over `n_tests`."""
    level = 1 - (1 - LEVEL) / (2 * n_tests)
    return (float(scipy.stats.t.ppf(level, spread.df)) + float(scipy.stats.t.ppf(POWER, spread.df))) * spread.stderr


def expect_spread(n_rows: int, n_seeds: int) -> "Spread":
    """Expected uncertainty of the mean difference between two methods before they are run, based on past experiments.

    The figures are from the local experiments (docs/results): two methods answer a fifth of the rows differently, three
    tenths of that for every seed alike, and adapters of one method differ by one point beyond what their rows explain.
    """
    from_rows = DISAGREEMENT / n_rows * (OF_ALL_SEEDS + (1 - OF_ALL_SEEDS) / n_seeds)
    if n_seeds <= 2:
        return Spread(stderr=sqrt(from_rows), df=max(1.0, n_rows - 1.0))
    return Spread(stderr=sqrt(from_rows + 2 * SEED_SD**2 / n_seeds), df=2.0 * (n_seeds - 1))


class Spread(Record):
    """Uncertainty of a mean over rows and seeds."""

    stderr: float
    """Standard error."""
    df: float
    """Degrees of freedom (Satterthwaite)."""


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
    means = ((_draw_counts(n_rows, 0) @ widened.T) * _draw_counts(n_seeds, 1)).sum(axis=1) / values.size
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
    """P-values adjusted by Holm's step-down procedure. If those below 0.05 are called significant, any of them is wrong in at most 5 % of cases."""
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


@lru_cache(maxsize=4)
def _draw_counts(n: int, seed: int) -> NDArray[np.float64]:
    """How often each of `n` items is drawn. Shape `(N_DRAWS, n)`."""
    drawn = np.random.default_rng(seed).integers(n, size=(N_DRAWS, n)) + n * np.arange(N_DRAWS)[:, None]
    return np.bincount(drawn.ravel(), minlength=n * N_DRAWS).reshape(N_DRAWS, n).astype(float)


def _measure_spread_of_rows(signs: NDArray[np.float64]) -> Spread:
    by_row = signs.mean(axis=0)
    n = len(by_row)
    return Spread(stderr=float(by_row.std(ddof=1)) / sqrt(n) if n > 1 else 0.0, df=max(1.0, n - 1.0))


def _t_test(difference: float, spread: Spread) -> float:
    return 2 * float(scipy.stats.t.sf(abs(difference) / spread.stderr, spread.df))
