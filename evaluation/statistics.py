"""Intervals and paired tests. Accuracy counts an unscored answer as not correct, and says how many there were."""

from collections.abc import Sequence
from math import sqrt
from typing import Literal

import numpy as np
from scipy.stats import binomtest, norm

from pada_agent.core.records import Metrics, Record, Verdict

LEVEL = 0.95


class Interval(Record):
    """Bounds of a 95 % confidence interval."""

    low: float
    high: float


class PairedTest(Record):
    """Two models on the same rows."""

    n: int
    n_fixed: int
    """Rows only the second got right."""
    n_broken: int
    """Rows only the first got right."""
    difference: float
    """Accuracy of the second minus that of the first."""
    low: float
    high: float
    p_value: float
    """McNemar's exact test, two-sided."""
    words: Literal["gained", "lost", "not shown"]


def summarize(verdicts: Sequence[Verdict]) -> Metrics:
    """Accuracy with its Wilson interval, and mean F1 where verdicts carry one.

    Raises:
        ValueError: no verdicts.
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
    bounds = binomtest(n_correct, n).proportion_ci(LEVEL, method="wilson")
    return Interval(low=float(bounds.low), high=float(bounds.high))


def compare_paired(before: Sequence[Verdict], after: Sequence[Verdict]) -> PairedTest:
    """McNemar's exact test on two models' verdicts, row by row, and a bootstrap interval of the difference.

    Raises:
        ValueError: the verdicts are not of the same rows in the same order, or there are none.
    """
    if not before or [v.example_id for v in before] != [v.example_id for v in after]:
        raise ValueError("paired verdicts must be of the same rows, in the same order, and not empty")
    signs = np.array([(a.value == "correct") - (b.value == "correct") for b, a in zip(before, after, strict=True)])
    n_fixed, n_broken = int((signs > 0).sum()), int((signs < 0).sum())
    p_value = mcnemar_exact(n_fixed, n_broken)
    difference = float(signs.mean())
    interval = bootstrap_mean(signs)
    shown = p_value < 1 - LEVEL
    return PairedTest(
        n=len(signs),
        n_fixed=n_fixed,
        n_broken=n_broken,
        difference=difference,
        low=interval.low,
        high=interval.high,
        p_value=p_value,
        words="not shown" if not shown else "gained" if difference > 0 else "lost",
    )


def mcnemar_exact(n_fixed: int, n_broken: int) -> float:
    """Two-sided p-value of as uneven a split of the changed rows, were either way equally likely."""
    changed = n_fixed + n_broken
    return float(binomtest(n_fixed, changed).pvalue) if changed else 1.0


def bootstrap_mean(values: "np.ndarray[tuple[int], np.dtype[np.int_]]", *, n_draws: int = 4000) -> Interval:
    """Percentile bootstrap of the mean over `(n,)` values; a fixed seed, so a report can be rebuilt."""
    rng = np.random.default_rng(0)
    n = len(values)
    counts = rng.multinomial(n, [np.mean(values == v) for v in (-1, 0, 1)], size=n_draws)
    low, high = np.quantile((counts[:, 2] - counts[:, 0]) / n, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(low=float(low), high=float(high))


def smallest_detectable_gain(n: int, *, changed_share: float = 0.2, power: float = 0.8) -> float:
    """Smallest true accuracy difference that a paired test on `n` rows finds with this power.

    `changed_share` is the share of rows on which the two models differ. Normal approximation of McNemar's test.
    """
    z = norm.ppf((1 + LEVEL) / 2) + norm.ppf(power)
    return float(min(changed_share, z * sqrt(changed_share / n)))
