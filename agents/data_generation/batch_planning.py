"""Plans who writes how many rows: by branch, strategy and batch, and which training example each row is based on."""

import heapq
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice, pairwise
from random import Random

from pydantic import Field

from pada_agent.agents.data_generation.fuller_calls import gather_labels
from pada_agent.agents.data_generation.quota import Quota, split_by_weight
from pada_agent.agents.data_generation.strategy_binding import bind_to_label, leave_out_text
from pada_agent.core.generation_config import GenerationConfig, StrategyText
from pada_agent.core.recipes import find_recipe
from pada_agent.core.records import Batch, Branch, Confusion, Example, GuardedStrategy, Record, Strategy
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.task import Task

BYTES_PER_TOKEN = 3
"""UTF-8 bytes per token of generated text. A cautious value for prose, and about right for code and JSON."""

LONG_ROWS = 0.9
"""A written row gets as much room as this fraction of the training rows would fit in."""


class BranchShares(Record):
    """Number of synthetic rows that each branch writes in one iteration."""

    n_pattern: int
    n_training_error: int


class LabelShares(Record):
    """How new rows are spread over the labels of a closed set."""

    weights: dict[str | None, int] = Field(default_factory=dict)
    """Share of each label among the new rows, in any unit. 1 if it is not named."""
    n_written: dict[str | None, float] = Field(default_factory=dict)
    """Number of new rows that each label already has."""
    n_drawn: dict[str | None, int] = Field(default_factory=dict)
    """Number of source rows of each label that earlier rounds of the iteration have drawn."""


class Round(Record):
    """What batches that are planned together have in common."""

    iteration: int
    top_up: int = 0
    """Number of the round that replaces rejected rows. 0 for the first round."""
    rows_per_call: int
    """Maximum number of rows in a batch."""
    spare_rows: float = 0
    """Number of spare rows per row wanted (`generation.spare_rows`)."""


class StrategyShare(Record):
    """Number of rows to write with one strategy in one round."""

    guarded: GuardedStrategy
    number: int
    """1-based position among the iteration's strategies."""
    n_rows: int
    n_drawn: int = 0
    """Number of source rows that earlier rounds of the iteration have drawn."""


def split_rows(n_rows: int, *, pattern_share: float, has_patterns: bool, error_capacity: int | None) -> BranchShares:
    """Divide `n_rows` between the branches. Rows that one cannot write go to the other, unless that one is switched off.

    A `pattern_share` of 0 switches off the pattern branch; 1 switches off the training-error branch.

    Args:
        error_capacity: maximum number of rows that can be written from training errors. None means no limit.
    """
    has_patterns = has_patterns and pattern_share > 0
    n_errors = n_rows if error_capacity is None else min(n_rows, error_capacity)
    if pattern_share == 1 or not n_errors:
        return BranchShares(n_pattern=n_rows if has_patterns else 0, n_training_error=0)
    if not has_patterns:
        return BranchShares(n_pattern=0, n_training_error=n_errors)
    n_training_error = min(n_errors, n_rows - round(n_rows * pattern_share))
    return BranchShares(n_pattern=n_rows - n_training_error, n_training_error=n_training_error)


def share_rows(strategies: Sequence[GuardedStrategy], n_rows: int) -> list[StrategyShare]:
    """Divide the rows of the pattern branch among its strategies, by weight (paper: evenly)."""
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
    planned: Round,
    *,
    task: Task,
    settings: GenerationConfig,
    seed: int,
) -> list[Batch]:
    """Batches for the rows of every strategy. Each row is based on a training example that was drawn for a strategy of its label.

    Where calls write several rows, strategies that share labels divide them so that there are fewer and fuller calls, unless all of a
    strategy is shown for each of its labels (paper). A strategy that names training rows itself (`Strategy.source_ids`) is applied to
    these alone.
    """
    groups: list[dict[str | None, list[Example]]] = []
    for share in shares if training else ():
        strategy = share.guarded.strategy
        rng = Random(f"pattern-sources/{seed}/{planned.iteration}/{strategy.id}")
        near = set(strategy.source_ids)
        pool = [row for row in training if row.id in near] or training
        drawn = draw_sources(pool, strategy.confusions, n=share.n_drawn + share.n_rows, task=task, rng=rng)
        groups.append(_group_by_label(drawn[share.n_drawn :], task))
    if planned.rows_per_call > 1 and settings.strategy_text != "whole":
        free = [place for place in range(len(groups)) if _is_bound_to_labels(shares[place].guarded.strategy)]
        for place, gathered in zip(free, gather_labels([groups[place] for place in free]), strict=True):
            groups[place] = gathered
    batches: list[Batch] = []
    for share, by_label in zip(shares, groups, strict=False):  # without training rows there are no groups
        batches += _cut(
            list(by_label.values()),
            f"s{share.number}",
            "pattern",
            [_show_text(share.guarded, group, settings.strategy_text, task) for group in by_label.values()],
            planned,
        )
    return batches


def _is_bound_to_labels(strategy: Strategy) -> bool:
    """Whether it is for any rows of its labels. Without mix-ups, or with rows that it names itself, it is for certain rows."""
    return bool(strategy.confusions) and not strategy.source_ids


def _show_text(guarded: GuardedStrategy, group: Sequence[Example], shown: StrategyText, task: Task) -> GuardedStrategy:
    """The strategy as the writer and the judge of a group's rows see it."""
    if shown == "none":
        return leave_out_text(guarded)
    return guarded if shown == "whole" else bind_to_label(guarded, task.closed_label(group[0]), task.config.labels)


def plan_error_batches(
    errors: Sequence[Example],
    planned: Round,
    *,
    n_rows: int,
    task: Task,
    settings: GenerationConfig,
    seed: int,
    drawn: Quota | None = None,
    fed: Mapping[str, int] | None = None,
    shares: LabelShares | None = None,
) -> list[Batch]:
    """Batches whose rows are spread evenly over the training errors (or other source rows), in random order.

    Args:
        shares: which labels come first (`generation.balance_labels`); within a label, chance decides. None leaves all to chance.
        drawn: what earlier rounds of the iteration have drawn. None if there were none. Not used with `shares`, which say it for each label.
        fed: number of rows already written from each source, by its id.
    """
    n_fed = Counter(fed or {})
    limit = settings.max_rows_per_source or n_rows + max(n_fed.values(), default=0)
    seed_text = f"error-sources/{seed}/{planned.iteration}"
    if shares:
        by_label = rows_by_label(errors, task)
        labels = Random(f"{seed_text}/{planned.top_up}").sample(list(by_label), len(by_label))
        pools = {label: by_label[label] for label in labels}
        draws = {
            label: islice(_draw_without_end(pool, Random(f"{seed_text}/{label}")), shares.n_drawn.get(label, 0), None)
            for label, pool in pools.items()
        }
    else:
        n_drawn = drawn.n_drawn if drawn else 0
        pools, draws = {None: errors}, {None: islice(_draw_without_end(errors, Random(seed_text)), n_drawn, None)}
    left = {label: sum(max(0, limit - n_fed[e.id]) for e in pool) for label, pool in pools.items()}
    sources: list[Example] = []
    for label in take_shares(left, shares or LabelShares(), n_rows):
        source = next(source for source in draws[label] if n_fed[source.id] < limit)
        sources.append(source)
        n_fed[source.id] += 1
    has_one_source = find_recipe(settings.template).has_one_source
    groups = _group_by_source(sources) if has_one_source else list(_group_by_label(sources, task).values())
    return _cut(groups, "e", "training_error", (), planned)


def draw_sources(
    training: Sequence[Example], confusions: Sequence[Confusion], *, n: int, task: Task, rng: Random
) -> list[Example]:
    """Draw `n` training examples for one strategy. With the same `rng` state, a larger draw begins with the smaller one.

    With a closed label set, the labels that the student mixes up take turns in proportion to their counts. The label
    that it missed counts twice as much as the one it gave instead, so that both sides of the boundary get examples.
    Mix-ups whose missed label has no training row do not count, if there are others: only the wrong side would get examples.
    Otherwise all training examples are equally likely. No example is drawn twice before each was drawn once.
    """
    by_label = rows_by_label(training, task) if confusions else {}
    confusions = [c for c in confusions if c.gold in by_label] or confusions
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
    """The rows of each label of a closed set, in their original order. Computed once per `RowSet`."""
    rows = RowSet.of(training)

    def make() -> Mapping[str | None, Sequence[Example]]:
        found: dict[str | None, list[Example]] = {}
        for row in rows:
            found.setdefault(task.closed_label(row), []).append(row)
        return found

    return rows.remember("rows by label", make)


def count_labels(training: Sequence[Example], task: Task) -> dict[str | None, int] | None:
    """Number of rows of each label. None if the labels are not a closed set."""
    counts = {label: len(rows) for label, rows in rows_by_label(training, task).items()}
    return None if set(counts) <= {None} else counts


def relevant_confusions(source: Example, confusions: Sequence[Confusion], task: Task) -> tuple[Confusion, ...]:
    """The mix-ups that involve the label of `source`, with that label as the missed one."""
    label = task.closed_label(source)
    missed = [c for c in confusions if c.gold == label]
    mirrored = [
        Confusion(gold=c.predicted, predicted=c.gold, count=c.count) for c in confusions if c.predicted == label
    ]
    return tuple(missed or mirrored)


def fit_rows_per_call(wanted: int, training: Sequence[Example], task: Task, *, max_output_tokens: int) -> int:
    """How many rows of this length fit into one reply of the generator: at least 1, at most `wanted`."""
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
    """`n` names in proportion to their weights. The next one is always the one furthest behind its share."""
    total, given, turns = sum(weights.values()), Counter[str](), list[str]()
    for place in range(1, n + 1):
        turns.append(max(weights, key=lambda name: weights[name] * place / total - given[name]))
        given[turns[-1]] += 1
    return turns


def take_shares(left: Mapping[str | None, int], shares: LabelShares, n: int) -> Iterator[str | None]:
    """Up to `n` labels, of each no more than are left. The next one is always the one whose share would be least exceeded."""

    def rank(label: str | None, n_taken: int) -> float:
        return (shares.n_written.get(label, 0) + n_taken + 1) / shares.weights.get(label, 1)

    queue = [(rank(label, 0), place, 0, label) for place, (label, n_left) in enumerate(left.items()) if n_left]
    heapq.heapify(queue)
    for _ in range(n if queue else 0):
        _, place, n_taken, label = queue[0]
        yield label
        if n_taken + 1 < left[label]:
            heapq.heapreplace(queue, (rank(label, n_taken + 1), place, n_taken + 1, label))
        else:
            heapq.heappop(queue)
        if not queue:
            return


def _draw_without_end(pool: Sequence[Example], rng: Random) -> Iterator[Example]:
    """Yield the whole pool again and again, reshuffled each time."""
    while pool:
        yield from rng.sample(list(pool), len(pool))


def _group_by_label(sources: Sequence[Example], task: Task) -> dict[str | None, list[Example]]:
    """The rows of each label, ordered by first appearance. A single group, of None, if the labels are not a closed set."""
    groups: dict[str | None, list[Example]] = {}
    for source in sources:
        groups.setdefault(task.closed_label(source), []).append(source)
    return groups


def _group_by_source(sources: Sequence[Example]) -> list[list[Example]]:
    groups: dict[str, list[Example]] = {}
    for source in sources:
        groups.setdefault(source.id, []).append(source)
    return list(groups.values())


def _cut(
    groups: Sequence[Sequence[Example]],
    name: str,
    branch: Branch,
    strategies: Sequence[GuardedStrategy],
    planned: Round,
) -> list[Batch]:
    """Batches with one label each, so that a call states one definition, once, and a small writer keeps to it.

    Batches of one group are of equal size, or nearly so, which leaves room for spare rows in each. Spare rows are based on the
    batch's other rows' sources.

    Args:
        name: what the batches are for, in their ids.
        strategies: one for each group, or none.
    """
    prefix = f"i{planned.iteration}-{name}" + (f"-t{planned.top_up}" if planned.top_up else "")
    each: Sequence[GuardedStrategy | None] = strategies or [None] * len(groups)
    parts = [
        (guarded, part)
        for guarded, group in zip(each, groups, strict=True)
        for part in _divide(group, math.ceil(len(group) / planned.rows_per_call))
    ]
    n_spare = [min(math.ceil(len(part) * planned.spare_rows), planned.rows_per_call - len(part)) for _, part in parts]
    return [
        Batch(
            id=f"{prefix}-b{number}",
            branch=branch,
            iteration=planned.iteration,
            top_up=planned.top_up,
            strategy=guarded,
            source_ids=tuple(source.id for source in islice(cycle(part), len(part) + n)),
            n_spare=n,
        )
        for number, ((guarded, part), n) in enumerate(zip(parts, n_spare, strict=True), start=1)
    ]


def _divide(group: Sequence[Example], n: int) -> Iterator[Sequence[Example]]:
    """The group in `n` parts of equal size, or of sizes that differ by one."""
    ends = [len(group) * i // n for i in range(n + 1)]
    return (group[start:end] for start, end in pairwise(ends))
