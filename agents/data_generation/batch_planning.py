"""Who writes how much: rows by branch, by strategy and by batch, and the training example each is written from."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from random import Random

from pada_agent.core.records import Batch, Branch, Confusion, Example, GuardedStrategy, Record
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.task import Task

BYTES_PER_TOKEN = 3
"""Of what a generator writes, as UTF-8: on the careful side for prose, about right for code and JSON."""

LONG_ROWS = 0.9
"""Share of the training rows that are no longer than what a written row is given room for."""


class BranchShares(Record):
    """Synthetic rows to write in one iteration."""

    n_pattern: int
    n_training_error: int


class StrategyShare(Record):
    """Rows to write with one strategy in one round."""

    guarded: GuardedStrategy
    number: int
    """1-based place among the iteration's strategies."""
    n_rows: int
    n_drawn: int = 0
    """Sources that earlier rounds of the iteration drew."""


def split_rows(n_rows: int, *, pattern_share: float, has_patterns: bool, error_capacity: int | None) -> BranchShares:
    """Divide `n_rows` between the branches; what one cannot write goes to the other, unless that is switched off.

    A `pattern_share` of 0 switches the pattern branch off, of 1 the training-error branch.

    Args:
        error_capacity: rows that can be written from training errors; None where there is no such limit.
    """
    has_patterns = has_patterns and pattern_share > 0
    n_errors = n_rows if error_capacity is None else min(n_rows, error_capacity)
    if pattern_share == 1 or not n_errors:
        return BranchShares(n_pattern=n_rows if has_patterns else 0, n_training_error=0)
    if not has_patterns:
        return BranchShares(n_pattern=0, n_training_error=n_errors)
    n_training_error = min(n_errors, n_rows - round(n_rows * pattern_share))
    return BranchShares(n_pattern=n_rows - n_training_error, n_training_error=n_training_error)


def split_by_weight(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to `weights` that sum to `total`; what is left over goes to the largest remainders, the first of equals."""
    exact = [total * weight / sum(weights) for weight in weights]
    shares = [int(x) for x in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (round(shares[i] - exact[i], 9), i))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares


def share_rows(strategies: Sequence[GuardedStrategy], n_rows: int) -> list[StrategyShare]:
    """The rows of the pattern branch over its strategies, by weight (paper: evenly)."""
    if not strategies:
        return []
    shares = split_by_weight(n_rows, [guarded.strategy.weight for guarded in strategies])
    return [
        StrategyShare(guarded=guarded, number=number, n_rows=n)
        for number, (guarded, n) in enumerate(zip(strategies, shares, strict=True), start=1)
    ]


def plan_pattern_batches(
    shares: Sequence[StrategyShare],
    training: Sequence[Example],
    *,
    rows_per_call: int,
    iteration: int,
    task: Task,
    seed: int,
    top_up: int = 0,
) -> list[Batch]:
    """Batches for every strategy's rows, each row with a training example drawn for its strategy.

    Args:
        top_up: number of the round that makes up for rows that were refused; 0 for the first.
    """
    batches: list[Batch] = []
    for share in shares if training else ():
        strategy = share.guarded.strategy
        rng = Random(f"pattern-sources/{seed}/{iteration}/{strategy.id}")
        near = set(strategy.source_ids)
        pool = [row for row in training if row.id in near] or training
        drawn = draw_sources(pool, strategy.confusions, n=share.n_drawn + share.n_rows, task=task, rng=rng)
        batches += _cut(
            _group_by_label(drawn[share.n_drawn :], task),
            f"i{iteration}-s{share.number}",
            "pattern",
            share.guarded,
            rows_per_call=rows_per_call,
            iteration=iteration,
            top_up=top_up,
        )
    return batches


def plan_error_batches(
    errors: Sequence[Example],
    *,
    n_rows: int,
    rows_per_call: int,
    iteration: int,
    task: Task,
    seed: int,
    n_drawn: int = 0,
    fed: Mapping[str, int] | None = None,
    max_rows_each: int | None = None,
    one_source_each: bool = False,
    top_up: int = 0,
) -> list[Batch]:
    """Rows spread evenly over training errors (or what else is written from), in random order.

    Args:
        n_drawn: sources that earlier rounds of the iteration drew.
        fed: rows that each source has fed so far.
        max_rows_each: most rows that one source may feed.
        one_source_each: all rows of a batch are written from one source.
    """
    n_fed = Counter(fed or {})
    limit = max_rows_each or n_rows + max(n_fed.values(), default=0)
    n_possible = min(n_rows, sum(max(0, limit - n_fed[e.id]) for e in errors))
    endless = islice(_draw_without_end(errors, Random(f"error-sources/{seed}/{iteration}")), n_drawn, None)
    sources: list[Example] = []
    while len(sources) < n_possible:
        source = next(endless)
        if n_fed[source.id] < limit:
            sources.append(source)
            n_fed[source.id] += 1
    return _cut(
        _group_by_source(sources) if one_source_each else _group_by_label(sources, task),
        f"i{iteration}-e",
        "training_error",
        None,
        rows_per_call=rows_per_call,
        iteration=iteration,
        top_up=top_up,
    )


def draw_sources(
    training: Sequence[Example], confusions: Sequence[Confusion], *, n: int, task: Task, rng: Random
) -> list[Example]:
    """Training examples for one strategy. The first of a larger number are those of a smaller one, with equal `rng`.

    With a closed label set, labels the student mixes up take turns by how often it does: the missed label twice for
    each time the label wrongly given comes up once, so that both sides of the boundary get examples.
    Otherwise all training examples are equally likely. None is drawn twice before all were drawn once.
    """
    by_label = rows_by_label(training, task) if confusions else {}
    pools = {label: pool for label in _labels(confusions) if (pool := by_label.get(label))}
    endless = {
        label: _draw_without_end(pool, Random(rng.random())) for label, pool in (pools or {"": list(training)}).items()
    }
    weights = {
        label: sum(2 * c.count * (c.gold == label) + c.count * (c.predicted == label) for c in confusions)
        for label in pools
    }
    return [next(endless[label]) for label in _take_turns(weights or {"": 1}, n)]


def rows_by_label(training: Sequence[Example], task: Task) -> Mapping[str | None, Sequence[Example]]:
    """The rows of each label of a closed set, in their order; found out once for a `RowSet`."""
    rows = RowSet.of(training)

    def make() -> Mapping[str | None, Sequence[Example]]:
        found: dict[str | None, list[Example]] = {}
        for row in rows:
            found.setdefault(task.closed_label(row), []).append(row)
        return found

    return rows.remember("rows by label", make)


def relevant_confusions(source: Example, confusions: Sequence[Confusion], task: Task) -> tuple[Confusion, ...]:
    """Mix-ups on the source's side of the boundary, seen from its label."""
    label = task.closed_label(source)
    missed = [c for c in confusions if c.gold == label]
    mirrored = [
        Confusion(gold=c.predicted, predicted=c.gold, count=c.count) for c in confusions if c.predicted == label
    ]
    return tuple(missed or mirrored)


def fit_rows_per_call(wanted: int, training: Sequence[Example], task: Task, *, max_output_tokens: int) -> int:
    """How many rows of this length one answer has room for: `wanted` at most, 1 at least."""
    rows = RowSet.of(training)
    lengths = rows.remember(
        "bytes of rows", lambda: sorted(len(json.dumps(task.show(e), ensure_ascii=False).encode()) for e in rows)
    )
    if not lengths:
        return wanted
    n_tokens = lengths[int(LONG_ROWS * (len(lengths) - 1))] / BYTES_PER_TOKEN
    return max(1, min(wanted, int(max_output_tokens / n_tokens)))


def _labels(confusions: Sequence[Confusion]) -> list[str]:
    return list(dict.fromkeys([c.gold for c in confusions] + [c.predicted for c in confusions]))


def _take_turns(weights: Mapping[str, float], n: int) -> list[str]:
    """`n` names in proportion to their weights, whichever is furthest behind its part next."""
    total, given, turns = sum(weights.values()), Counter[str](), list[str]()
    for place in range(1, n + 1):
        turns.append(max(weights, key=lambda name: weights[name] * place / total - given[name]))
        given[turns[-1]] += 1
    return turns


def _draw_without_end(pool: Sequence[Example], rng: Random) -> Iterator[Example]:
    """Round after round, each in its own order."""
    while pool:
        yield from rng.sample(list(pool), len(pool))


def _group_by_label(sources: Sequence[Example], task: Task) -> list[list[Example]]:
    """The rows of each label, in the order in which labels first come up; all of them where labels form no closed set."""
    groups: dict[str | None, list[Example]] = {}
    for source in sources:
        groups.setdefault(task.closed_label(source), []).append(source)
    return list(groups.values())


def _group_by_source(sources: Sequence[Example]) -> list[list[Example]]:
    groups: dict[str, list[Example]] = {}
    for source in sources:
        groups.setdefault(source.id, []).append(source)
    return list(groups.values())


def _cut(
    groups: Sequence[Sequence[Example]],
    prefix: str,
    branch: Branch,
    guarded: GuardedStrategy | None,
    *,
    rows_per_call: int,
    iteration: int,
    top_up: int,
) -> list[Batch]:
    """Batches of one label each: a small writer keeps to one definition in a call, and the call tells it once."""
    prefix = f"{prefix}-t{top_up}" if top_up else prefix
    parts = [g[start : start + rows_per_call] for g in groups for start in range(0, len(g), rows_per_call)]
    return [
        Batch(
            id=f"{prefix}-b{number}",
            branch=branch,
            iteration=iteration,
            top_up=top_up,
            strategy=guarded,
            source_ids=tuple(source.id for source in part),
        )
        for number, part in enumerate(parts, start=1)
    ]
