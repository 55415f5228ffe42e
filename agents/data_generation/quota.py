"""How many rows each strategy and the training-error branch still owe, and which of them is asked next. Pure functions.

What counts is the rows that join the training data, not the rows that were requested.
"""

from collections.abc import Mapping, Sequence

from pydantic import Field

from pada_agent.core.records import Branch, Record

VAIN_ROUNDS = 2
"""After this many rounds in a row in which no row joined, further rounds would cost as much and yield as little."""

ROUNDING = 1e-9
"""A fraction of the rows is as good as reached if it is missed by less."""

SHOWN_STAGES = 3
"""Number of rejection reasons named in a shortfall message, most frequent first."""

STAGE_WORDS = {
    "duplicate": "duplicates",
    "label": "wrong labels",
    "quality": "low quality",
    "unlikely": "unlikely labels",
    "contamination": "too close to held-out rows",
    "verification": "wrong answers",
    "vote": "no majority for an answer",
}
"""How a message names a rejection stage, if not by its own name."""


class Quota(Record):
    """How far one strategy, or the training-error branch, has come with its rows in one iteration."""

    branch: Branch
    strategy_id: str | None = None
    name: str
    """Name for messages: the strategy's name, or a description of the branch."""
    n_wanted: int
    """Its share of the iteration's rows."""
    n_joined: int = 0
    """Number of its rows that have joined the training data so far."""
    n_drawn: int = 0
    """Number of source rows drawn for it so far: one for each place in a batch."""
    n_drawn_of_label: dict[str, int] = Field(default_factory=dict)
    """Of these, the number of each label of a closed set."""
    n_asked: int = 0
    """Number of rows requested from the generator, over all attempts, without spare ones."""
    n_vain_rounds: int = 0
    """Number of its latest rounds in a row that yielded no row."""
    capacity: int | None = None
    """Maximum number of its rows that can join, for example because there are only so many training errors. None means no limit."""
    n_next: int = 0
    """Number of rows to request in the next top-up round."""

    @property
    def n_missing(self) -> int:
        """Number of rows that it still owes."""
        return max(0, self.n_wanted - self.n_joined)

    @property
    def n_open(self) -> int | None:
        """Number of rows that can still join. None means no limit."""
        return None if self.capacity is None else max(0, self.capacity - self.n_joined)


def split_by_weight(total: int, weights: Sequence[float]) -> list[int]:
    """Split `total` into whole numbers proportional to `weights`. The sum is exact: units left over go to the largest
    remainders, and to the first of equal ones.
    """
    exact = [total * weight / sum(weights) for weight in weights]
    shares = [int(x) for x in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (round(shares[i] - exact[i], 9), i))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares


def plan_round(quotas: Sequence[Quota], *, max_asked_per_row: float, min_fill: float = 1) -> list[Quota]:
    """The quotas with `n_next` set. All are 0 once `min_fill` of the rows are there, or once the limit on requested rows is reached.

    Each quota is asked for what it owes. What a quota cannot deliver is divided among the others in proportion to their
    shares. That is the case if it has no source rows left, has been asked `max_asked_per_row` times per row, or has
    yielded nothing in `VAIN_ROUNDS` rounds in a row.
    """
    n_wanted = sum(q.n_wanted for q in quotas)
    n_missing = n_wanted - sum(q.n_joined for q in quotas)
    n_room = int(max_asked_per_row * n_wanted) - sum(q.n_asked for q in quotas)
    n_total = min(n_missing, n_room)
    if n_total <= 0 or n_missing <= (1 - min_fill) * n_wanted + ROUNDING:
        return [q.model_copy(update={"n_next": 0}) for q in quotas]
    asked = [0 if is_dry(q, max_asked_per_row) else _limit(q, q.n_missing) for q in quotas]
    for i, n_more in enumerate(_share_out(quotas, asked, n_missing - sum(asked), max_asked_per_row)):
        asked[i] += n_more
    if sum(asked) > n_total:
        asked = split_by_weight(n_total, asked)
    return [q.model_copy(update={"n_next": n}) for q, n in zip(quotas, asked, strict=True)]


def is_dry(quota: Quota, max_asked_per_row: float) -> bool:
    """Whether the quota is not asked again: it has reached its capacity, or too many requests were in vain."""
    in_vain = quota.n_missing > 0 and quota.n_asked >= max_asked_per_row * quota.n_wanted
    return quota.n_open == 0 or in_vain or quota.n_vain_rounds >= VAIN_ROUNDS


def count_vain_rounds(joined: Mapping[int, int]) -> int:
    """Number of the latest rounds in a row that yielded nothing.

    Args:
        joined: number of rows that joined, by round. Contains only rounds in which rows were requested.
    """
    latest_first = [joined[number] for number in sorted(joined, reverse=True)]
    return next((n for n, n_rows in enumerate(latest_first) if n_rows), len(latest_first))


def describe_shortfall(quotas: Sequence[Quota], lost: Mapping[str, int] | None = None) -> str | None:
    """One line on what is missing, who made up for whom, and why most rows were lost. None if every quota is filled.

    Args:
        lost: number of rows that did not join, by rejection stage.
    """
    short = [q for q in quotas if q.n_missing]
    if not short:
        return None
    n_wanted, n_joined = sum(q.n_wanted for q in quotas), sum(q.n_joined for q in quotas)
    gaps = ", ".join(f"{q.name} gave {q.n_joined} of {q.n_wanted} ({q.n_asked} asked for)" for q in short)
    helpers = ", ".join(f"{q.name} gave {q.n_joined - q.n_wanted} more" for q in quotas if q.n_joined > q.n_wanted)
    helped = f"; to make up for it, {helpers}" if helpers else ""
    return f"{n_joined} of {n_wanted} synthetic rows join the training data: {gaps}{helped}{_describe_lost(lost or {})}"


def _describe_lost(lost: Mapping[str, int]) -> str:
    most = sorted(((n, stage) for stage, n in lost.items() if n), key=lambda pair: (-pair[0], pair[1]))[:SHOWN_STAGES]
    reasons = ", ".join(f"{STAGE_WORDS.get(s, s)} ({n})" for n, s in most)
    return f"; rejected most often: {reasons}" if most else ""


def _limit(quota: Quota, n: int) -> int:
    return n if quota.n_open is None else min(n, quota.n_open)


def _share_out(quotas: Sequence[Quota], asked: Sequence[int], n: int, max_asked_per_row: float) -> list[int]:
    """Divide `n` more rows among the quotas that are not dry, in proportion to their shares and up to what each can deliver."""
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
