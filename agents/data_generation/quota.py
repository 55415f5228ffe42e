"""How many rows each strategy and the training errors still owe, and who is asked next. Pure.

What counts is the rows that join the training data, not those that were asked for.
"""

from collections.abc import Mapping, Sequence

from pada_agent.agents.data_generation.batch_planning import split_by_weight
from pada_agent.core.records import Branch, Record

VAIN_ROUNDS = 2
"""So many rounds in a row without a row that joined show that more would cost as much and give as little."""

SHOWN_STAGES = 3
"""Reasons that a shortfall names, the most frequent first."""

STAGE_WORDS = {
    "duplicate": "duplicates",
    "label": "wrong labels",
    "quality": "low quality",
    "unlikely": "unlikely labels",
    "contamination": "too near to held-out rows",
    "verification": "wrong answers",
}
"""Stages of rejection in the words of a sentence, where they differ."""


class Quota(Record):
    """The rows of one strategy, or of the training-error branch, in one iteration."""

    branch: Branch
    strategy_id: str | None = None
    name: str
    """Of the strategy, or what else stands for it in messages."""
    n_wanted: int
    """Its part of the iteration's rows."""
    n_joined: int = 0
    """Rows of it that join the training data so far."""
    n_drawn: int = 0
    """Places in batches that it was given so far, each with a source row."""
    n_asked: int = 0
    """Rows that the generator was asked for, over all attempts."""
    n_vain_rounds: int = 0
    """Latest rounds in a row in which it was asked, and no row of it joined."""
    capacity: int | None = None
    """Most rows that can join, such as those for which there are training errors; None where there is no such limit."""
    n_next: int = 0
    """Rows to ask for in the next top-up round."""

    @property
    def n_missing(self) -> int:
        return max(0, self.n_wanted - self.n_joined)

    @property
    def n_open(self) -> int | None:
        """Rows that can still join; None where there is no limit."""
        return None if self.capacity is None else max(0, self.capacity - self.n_joined)


def plan_round(quotas: Sequence[Quota], *, max_asked_per_row: float) -> list[Quota]:
    """The quotas with what each is asked for next; nothing where all rows are there, or as many were asked for as may be.

    Each is asked for what it owes. What one cannot give, because it has no source left, or was asked in vain as often as may
    be (`max_asked_per_row` times for every row, or in `VAIN_ROUNDS` rounds in a row), goes to the others by their shares.
    """
    n_missing = sum(q.n_wanted for q in quotas) - sum(q.n_joined for q in quotas)
    n_room = int(max_asked_per_row * sum(q.n_wanted for q in quotas)) - sum(q.n_asked for q in quotas)
    n_total = min(n_missing, n_room)
    if n_total <= 0:
        return [q.model_copy(update={"n_next": 0}) for q in quotas]
    asked = [0 if is_dry(q, max_asked_per_row) else _limit(q, q.n_missing) for q in quotas]
    for i, n_more in enumerate(_share_out(quotas, asked, n_missing - sum(asked), max_asked_per_row)):
        asked[i] += n_more
    if sum(asked) > n_total:
        asked = split_by_weight(n_total, asked)
    return [q.model_copy(update={"n_next": n}) for q, n in zip(quotas, asked, strict=True)]


def is_dry(quota: Quota, max_asked_per_row: float) -> bool:
    """Whether it is not asked again: it can give no more, or was asked in vain as often as may be."""
    in_vain = quota.n_missing > 0 and quota.n_asked >= max_asked_per_row * quota.n_wanted
    return quota.n_open == 0 or in_vain or quota.n_vain_rounds >= VAIN_ROUNDS


def count_vain_rounds(joined: Mapping[int, int]) -> int:
    """The latest rounds in a row that gave nothing.

    Args:
        joined: rows that joined, by the number of each round in which somebody was asked.
    """
    latest_first = [joined[number] for number in sorted(joined, reverse=True)]
    return next((n for n, n_rows in enumerate(latest_first) if n_rows), len(latest_first))


def describe_shortfall(quotas: Sequence[Quota], lost: Mapping[str, int] | None = None) -> str | None:
    """What is missing, who wrote what for whom, and why most rows were lost; None where each wrote its own.

    Args:
        lost: rows that did not join, by what they were refused as.
    """
    short = [q for q in quotas if q.n_missing]
    if not short:
        return None
    n_wanted, n_joined = sum(q.n_wanted for q in quotas), sum(q.n_joined for q in quotas)
    told = ", ".join(f"{q.name} gave {q.n_joined} of {q.n_wanted} ({q.n_asked} asked for)" for q in short)
    helpers = ", ".join(f"{q.name} {q.n_joined - q.n_wanted} more" for q in quotas if q.n_joined > q.n_wanted)
    helped = f"; in their place {helpers}" if helpers else ""
    return f"{n_joined} of {n_wanted} synthetic rows join the training data: {told}{helped}{_describe_lost(lost or {})}"


def _describe_lost(lost: Mapping[str, int]) -> str:
    most = sorted(((n, stage) for stage, n in lost.items() if n), key=lambda pair: (-pair[0], pair[1]))[:SHOWN_STAGES]
    return "; most were refused as " + ", ".join(f"{STAGE_WORDS.get(s, s)} ({n})" for n, s in most) if most else ""


def _limit(quota: Quota, n: int) -> int:
    return n if quota.n_open is None else min(n, quota.n_open)


def _share_out(quotas: Sequence[Quota], asked: Sequence[int], n: int, max_asked_per_row: float) -> list[int]:
    """`n` rows more, over those that are not dry, by their shares and as far as they can give them."""
    given, left = [0] * len(quotas), n

    def has_room(i: int) -> bool:
        room = quotas[i].n_open
        return not is_dry(quotas[i], max_asked_per_row) and (room is None or asked[i] + given[i] < room)

    while left > 0 and (takers := [i for i in range(len(quotas)) if has_room(i)]):
        parts = split_by_weight(left, [max(quotas[i].n_wanted, 1) for i in takers])
        for i, part in zip(takers, parts, strict=True):
            room = quotas[i].n_open
            n_more = part if room is None else min(part, room - asked[i] - given[i])
            given[i] += n_more
            left -= n_more
    return given
