"""Follows patterns from one iteration to the next and records what became of each. Pure functions."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from pada_agent.core.records import BatchReport, ErrorPattern, GuardedStrategy, Record, Usage, Verdict

Centroids = Mapping[str, Sequence[float]]
"""Unit vector by pattern id."""

MIN_MATCH = 0.6
"""Minimum mean of centroid cosine and fraction of shared rows for two patterns to count as the same. Our choice,
because the cosines of one task's patterns lie near 1.
"""

MIN_COSINE = 0.85
"""Minimum centroid cosine if the iterations have no analyzed row in common. Our choice."""


class PatternOutcome(Record):
    """What became of one pattern in one iteration: its rows before and after, and the synthetic rows written against it."""

    pattern_id: str
    continues: str | None
    """Id of the previous iteration's pattern that this one continues. None for a new pattern."""
    status: Literal["new", "persisting", "fixed"]
    """`fixed`: the iteration's model gets all its rows right. Otherwise `persisting` if it continues an earlier pattern, else `new`."""
    n_rows: int
    """Number of its validation rows. All were answered wrongly before."""
    n_repaired: int
    """Number of these that are answered correctly after the iteration."""
    broken_ids: tuple[str, ...] = ()
    """Diagnosed rows that were right before and are wrong now, and are nearest to this pattern's rows."""
    n_written: int = 0
    """Number of synthetic rows written against it."""
    n_accepted: int = 0
    """Number of these that joined the training data."""
    usage: Usage = Usage()
    """LLM usage of the generator and the judge for these rows. A resumed run pays for nothing twice."""

    @property
    def accepted_per_repaired(self) -> float | None:
        """Synthetic rows that joined per repaired validation row. None if none was repaired."""
        return self.n_accepted / self.n_repaired if self.n_repaired else None

    @property
    def tokens_per_repaired(self) -> float | None:
        """Input and output tokens per repaired validation row. None if none was repaired."""
        n_tokens = self.usage.input_tokens + self.usage.output_tokens
        return n_tokens / self.n_repaired if self.n_repaired else None


def link_patterns(
    current: Sequence[ErrorPattern],
    previous: Sequence[ErrorPattern],
    *,
    centroids: Centroids,
    previous_centroids: Centroids,
) -> tuple[ErrorPattern, ...]:
    """The patterns with `continues` set. Each previous pattern is continued by at most one.

    Pairs are assigned so that their total similarity is as large as possible (Hungarian method).
    """
    from scipy.optimize import linear_sum_assignment

    if not current or not previous:
        return tuple(current)
    have_rows_in_common = bool(_rows(current) & _rows(previous))
    floor = MIN_MATCH if have_rows_in_common else MIN_COSINE
    likeness = np.array(
        [
            [_likeness(c, p, centroids, previous_centroids, by_rows=have_rows_in_common) for p in previous]
            for c in current
        ]
    )
    pairs = zip(*linear_sum_assignment(-likeness), strict=True)
    continued = {int(i): previous[int(j)].id for i, j in pairs if likeness[i, j] >= floor}
    return tuple(p.model_copy(update={"continues": continued.get(i)}) for i, p in enumerate(current))


def assess_patterns(
    patterns: Sequence[ErrorPattern],
    strategies: Sequence[GuardedStrategy],
    batches: Sequence[BatchReport],
    *,
    after: Mapping[str, Verdict],
    broken: Mapping[str, str],
    joined: Mapping[str, int],
    usage: Mapping[str, Usage],
) -> tuple[PatternOutcome, ...]:
    """What became of each pattern.

    Args:
        batches: reports of the iteration's batches.
        after: verdicts on the iteration's model, by validation row.
        broken: newly wrong rows, each mapped to the id of the nearest pattern.
        joined: number of rows that joined the training data, by batch id.
        usage: LLM usage by batch id.
    """
    aims = {g.strategy.id: g.strategy.pattern_id for g in strategies}
    return tuple(
        _assess(p, [b for b in batches if aims.get(b.strategy_id or "") == p.id], after, broken, joined, usage)
        for p in patterns
    )


def find_broken(before: Sequence[Verdict], after: Sequence[Verdict]) -> tuple[str, ...]:
    """Ids of rows that were right before and are not right after."""
    return tuple(
        a.example_id for b, a in zip(before, after, strict=True) if b.value == "correct" and a.value != "correct"
    )


def nearest_pattern(
    row_ids: Sequence[str], patterns: Sequence[ErrorPattern], vectors: Mapping[str, Sequence[float]]
) -> dict[str, str]:
    """Map each row to the pattern that contains the row nearest to it by cosine.

    Args:
        vectors: unit vector of every row's question, including the patterns' rows.
    """
    members = [(example_id, p.id) for p in patterns for example_id in p.example_ids]
    if not members or not row_ids:
        return {}
    theirs = np.array([vectors[example_id] for example_id, _ in members])
    nearest = (np.array([vectors[i] for i in row_ids]) @ theirs.T).argmax(axis=1)
    return {row: members[int(j)][1] for row, j in zip(row_ids, nearest, strict=True)}


def weigh_by_repair(
    strategies: Sequence[GuardedStrategy], patterns: Sequence[ErrorPattern], repaired: Mapping[str, float]
) -> list[GuardedStrategy]:
    """The strategies, with weights multiplied by the share of rows that the pattern's last strategy repaired.

    Args:
        repaired: values of `repaired_share` by pattern id of the previous iteration. New patterns count as 1/2.
    """
    shares = {p.id: repaired.get(p.continues or "", 0.5) for p in patterns}
    return [
        g.model_copy(
            update={
                "strategy": g.strategy.model_copy(
                    update={"weight": g.strategy.weight * shares.get(g.strategy.pattern_id, 0.5)}
                )
            }
        )
        for g in strategies
    ]


def repaired_share(n_repaired: int, n_rows: int) -> float:
    """Share of repaired rows, smoothed towards 1/2 when there are few rows (Laplace). Never 0, so that no pattern is given up."""
    return (n_repaired + 1) / (n_rows + 2)


def _assess(
    pattern: ErrorPattern,
    batches: Sequence[BatchReport],
    after: Mapping[str, Verdict],
    broken: Mapping[str, str],
    joined: Mapping[str, int],
    usage: Mapping[str, Usage],
) -> PatternOutcome:
    n_repaired = sum(after[i].value == "correct" for i in pattern.example_ids if i in after)
    is_fixed = n_repaired == len(pattern.example_ids)
    return PatternOutcome(
        pattern_id=pattern.id,
        continues=pattern.continues,
        status="fixed" if is_fixed else "persisting" if pattern.continues else "new",
        n_rows=len(pattern.example_ids),
        n_repaired=n_repaired,
        broken_ids=tuple(row for row, pattern_id in broken.items() if pattern_id == pattern.id),
        n_written=sum(b.n_written for b in batches),
        n_accepted=sum(joined.get(b.batch_id, 0) for b in batches),
        usage=sum((usage.get(b.batch_id, Usage()) for b in batches), Usage()),
    )


def _likeness(
    one: ErrorPattern, other: ErrorPattern, centroids: Centroids, other_centroids: Centroids, *, by_rows: bool
) -> float:
    cosine = float(np.dot(centroids[one.id], other_centroids[other.id]))
    if not by_rows:
        return cosine
    shared = len(set(one.example_ids) & set(other.example_ids))
    return (cosine + shared / min(len(one.example_ids), len(other.example_ids))) / 2


def _rows(patterns: Sequence[ErrorPattern]) -> set[str]:
    return {example_id for p in patterns for example_id in p.example_ids}
