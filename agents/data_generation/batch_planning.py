"""Who writes how much: rows by branch, by strategy and by batch, and the training example each is written from."""

from collections.abc import Sequence
from random import Random

from pada_agent.core.records import Batch, Branch, Confusion, Example, GuardedStrategy, Record
from pada_agent.evaluation.task import Task


class BranchShares(Record):
    """Synthetic rows to write in one iteration."""

    n_pattern: int
    n_training_error: int


def split_rows(n_rows: int, *, pattern_share: float, has_patterns: bool, has_training_errors: bool) -> BranchShares:
    """Divide `n_rows` between the branches; one without input gives its share to the other, unless that is switched off.

    A `pattern_share` of 0 switches the pattern branch off, of 1 the training-error branch.
    """
    has_patterns = has_patterns and pattern_share > 0
    has_training_errors = has_training_errors and pattern_share < 1
    if not has_patterns and not has_training_errors:
        return BranchShares(n_pattern=0, n_training_error=0)
    if not has_training_errors:
        return BranchShares(n_pattern=n_rows, n_training_error=0)
    n_pattern = round(n_rows * pattern_share) if has_patterns else 0
    return BranchShares(n_pattern=n_pattern, n_training_error=n_rows - n_pattern)


def split_by_weight(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to `weights` that sum to `total`; what is left over goes to the largest remainders, the first of equals."""
    exact = [total * weight / sum(weights) for weight in weights]
    shares = [int(x) for x in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (round(shares[i] - exact[i], 9), i))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares


def plan_pattern_batches(
    strategies: Sequence[GuardedStrategy],
    training: Sequence[Example],
    *,
    n_rows: int,
    rows_per_call: int,
    iteration: int,
    task: Task,
    rng: Random,
) -> list[Batch]:
    """Rows spread over strategies by weight (paper: evenly), each with a training example drawn for its strategy."""
    if not strategies or not training:
        return []
    batches: list[Batch] = []
    shares = split_by_weight(n_rows, [guarded.strategy.weight for guarded in strategies])
    for number, (guarded, n) in enumerate(zip(strategies, shares, strict=True), start=1):
        sources = draw_sources(training, guarded.strategy.confusions, n=n, task=task, rng=rng)
        batches += _cut(
            sources, f"i{iteration}-s{number}", "pattern", guarded, rows_per_call=rows_per_call, iteration=iteration
        )
    return batches


def plan_error_batches(
    errors: Sequence[Example], *, n_rows: int, rows_per_call: int, iteration: int, rng: Random
) -> list[Batch]:
    """Rows spread evenly over training errors (or what else is written from), in random order."""
    if not errors:
        return []
    sources = _draw_in_rounds(list(errors), n=n_rows, rng=rng)
    return _cut(sources, f"i{iteration}-e", "training_error", None, rows_per_call=rows_per_call, iteration=iteration)


def draw_sources(
    training: Sequence[Example], confusions: Sequence[Confusion], *, n: int, task: Task, rng: Random
) -> list[Example]:
    """Training examples for one strategy.

    With a closed label set, labels the student mixes up are drawn by how often it does: the missed label twice for
    each time the label wrongly given is drawn once, so that both sides of the boundary get examples.
    Otherwise all training examples are equally likely. None is drawn twice before all were drawn once.
    """
    pools = {
        label: pool for label in _labels(confusions) if (pool := [e for e in training if task.closed_label(e) == label])
    }
    if not pools:
        return _draw_in_rounds(list(training), n=n, rng=rng)
    weights = [
        sum(2 * c.count * (c.gold == label) + c.count * (c.predicted == label) for c in confusions) for label in pools
    ]
    drawn = rng.choices(list(pools), weights=weights, k=n)
    rounds = {label: _draw_in_rounds(pool, n=drawn.count(label), rng=rng) for label, pool in pools.items()}
    return [rounds[label].pop() for label in drawn]


def relevant_confusions(source: Example, confusions: Sequence[Confusion], task: Task) -> tuple[Confusion, ...]:
    """Mix-ups on the source's side of the boundary, seen from its label."""
    label = task.closed_label(source)
    missed = [c for c in confusions if c.gold == label]
    mirrored = [
        Confusion(gold=c.predicted, predicted=c.gold, count=c.count) for c in confusions if c.predicted == label
    ]
    return tuple(missed or mirrored)


def _labels(confusions: Sequence[Confusion]) -> list[str]:
    return list(dict.fromkeys([c.gold for c in confusions] + [c.predicted for c in confusions]))


def _draw_in_rounds(pool: list[Example], *, n: int, rng: Random) -> list[Example]:
    drawn: list[Example] = []
    while len(drawn) < n:
        drawn += rng.sample(pool, min(len(pool), n - len(drawn)))
    return drawn


def _cut(
    sources: Sequence[Example],
    prefix: str,
    branch: Branch,
    guarded: GuardedStrategy | None,
    *,
    rows_per_call: int,
    iteration: int,
) -> list[Batch]:
    return [
        Batch(
            id=f"{prefix}-b{number}",
            branch=branch,
            iteration=iteration,
            strategy=guarded,
            source_ids=tuple(source.id for source in sources[start : start + rows_per_call]),
        )
        for number, start in enumerate(range(0, len(sources), rows_per_call), start=1)
    ]
