"""Which of the rows that calls wrote beyond what was wanted of them join after all, in place of rows that other calls failed to write."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from pada_agent.agents.data_generation.batch_planning import LabelShares, rows_by_label, take_shares
from pada_agent.core.records import Example
from pada_agent.evaluation.task import Task

MOST_OF_SHARE = 1.5
"""With real rows, labels with up to half more or less than the same number of rows were worth as much (docs/adr/0020)."""


def choose_spare(
    spare: Sequence[Example],
    joined: Sequence[Example],
    n: int,
    *,
    shares: Mapping[str | None, int] | None,
    task: Task,
    within: int | None = None,
) -> list[Example]:
    """Up to `n` of the spare rows, those first whose labels are furthest behind their shares of the rows that have joined.

    Args:
        shares: of each label, in any unit. None if labels do not matter: the first rows are then taken.
        within: number of rows of all labels in the end. No label is taken beyond `MOST_OF_SHARE` of its share of these. None for no limit.
    """
    if not shares:
        return list(spare[: max(0, n)])
    rows = rows_by_label(spare, task)
    counts = Counter(task.closed_label(row) for row in joined)
    left = {label: len(own) for label, own in rows.items()}
    if within is not None:
        total = sum(shares.values())
        left = {
            label: max(0, min(own, math.ceil(MOST_OF_SHARE * within * shares.get(label, 0) / total) - counts[label]))
            for label, own in left.items()
        }
    waiting = {label: iter(own) for label, own in rows.items()}
    order = take_shares(left, LabelShares(weights=dict(shares), n_written=dict(counts)), max(0, n))
    return [next(waiting[label]) for label in order]
