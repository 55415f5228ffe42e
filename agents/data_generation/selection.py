"""Chooses which of the rows that passed all checks are trained on. Pure functions."""

import heapq
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

import numpy as np

from pada_agent.agents.data_generation.quota import split_by_weight
from pada_agent.core.records import Example
from pada_agent.core.selection import RowInfluence, Selected

SHOWN_FAILURES = 3
"""Number of failures named for each chosen row, those that it was mostly chosen for."""

Labels = Sequence[str | None]
"""Of each row: its label, if labels form a closed set over all rows, otherwise None."""
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def draw_at_random(rows: Sequence[Example], labels: Labels, n: int, *, seed: str) -> list[Selected]:
    """A seeded draw that keeps the shares of the labels. The control that the other ways to choose have to beat."""
    order = Random(seed).sample(range(len(rows)), len(rows))
    chosen = set(_take_within(order, limit_labels(labels, n), labels))
    return [Selected(example_id=row.id, is_chosen=i in chosen) for i, row in enumerate(rows)]


def choose_by_loss(
    rows: Sequence[Example], labels: Labels, influences: Sequence[RowInfluence], n: int
) -> list[Selected]:
    """The rows that the student is least able to answer, that is, those with the highest loss. Keeps the shares of the labels.

    Rows without a finite loss come last.
    """
    losses = [-math.inf if (loss := influence.loss) is None else loss for influence in influences]
    order = sorted(range(len(rows)), key=lambda i: (-losses[i], i))
    chosen = set(_take_within(order, limit_labels(labels, n), labels))
    return [Selected(example_id=row.id, is_chosen=i in chosen, loss=influences[i].loss) for i, row in enumerate(rows)]


def choose_by_influence(
    rows: Sequence[Example],
    labels: Labels,
    influences: Sequence[RowInfluence],
    failures: Sequence[Example],
    n: int,
) -> list[Selected]:
    """The rows that together do most for all failures, each counted less the more has been done for it. Keeps the shares of the labels."""
    gains = np.array([i.cosines for i in influences], dtype=np.float64).reshape(len(rows), len(failures)).clip(min=0)
    parts = cover(gains, labels, limit_labels(labels, n))
    return [
        Selected(
            example_id=row.id,
            is_chosen=i in parts,
            loss=influences[i].loss,
            failures=_name_most(parts[i], failures) if i in parts else (),
        )
        for i, row in enumerate(rows)
    ]


def cover(gains: Floats, groups: Labels, limits: Mapping[str | None, int]) -> dict[int, Floats]:
    """Choose rows greedily by how much they add to sum over failures of sqrt(sum over chosen rows of the gain).

    The square root makes the sum submodular, so rows for a failure that is already covered count less, and the greedy choice is
    within 1 - 1/e of the best one without groups, and within half of it with them (Fisher, Nemhauser and Wolsey 1978). Values
    are computed again only for the row on top of the queue, because they can only fall (Minoux 1978).

    Args:
        gains: (rows, failures), 0 or more.
        groups: of each row.
        limits: maximum number of rows of each group.

    Returns:
        For each chosen row, in the order of choice: (failures,) what it added for each.
    """
    left, covered = dict(limits), np.zeros(gains.shape[1])
    chosen: dict[int, Floats] = {}
    queue = [(-float(np.sqrt(row).sum()), i) for i, row in enumerate(gains)]
    heapq.heapify(queue)
    while queue and any(left.values()):
        _, i = heapq.heappop(queue)
        if not left.get(groups[i]):
            continue
        added = np.sqrt(covered + gains[i]) - np.sqrt(covered)
        value = (-float(added.sum()), i)
        if queue and value > queue[0]:
            heapq.heappush(queue, value)
            continue
        chosen[i] = added
        covered += gains[i]
        left[groups[i]] -= 1
    return chosen


def limit_labels(labels: Labels, n: int) -> dict[str | None, int]:
    """How many rows of each label are chosen, so that labels keep their shares of the rows. Adds up to `n`, or to all rows if they are fewer."""
    counts = Counter(labels)
    parts = split_by_weight(min(n, len(labels)), list(counts.values())) if counts else []
    return dict(zip(counts, parts, strict=True))


def _take_within(order: Sequence[int], limits: Mapping[str | None, int], labels: Labels) -> list[int]:
    """The first rows of the order, as many of each label as may be taken."""
    left, taken = dict(limits), []
    for i in order:
        if left[labels[i]]:
            left[labels[i]] -= 1
            taken.append(i)
    return taken


def _name_most(added: Floats, failures: Sequence[Example]) -> tuple[tuple[str, float], ...]:
    most = sorted(range(len(failures)), key=lambda j: (-added[j], j))[:SHOWN_FAILURES]
    return tuple((failures[j].id, round(float(added[j]), 4)) for j in most if added[j] > 0)
