"""Joins the batches of an iteration into D_syn, checks once more for held-out rows, and counts what is still missing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from pada_agent.agents.data_generation.batch_planning import count_labels, share_rows
from pada_agent.agents.data_generation.quota import Quota, count_vain_rounds, describe_shortfall, plan_round
from pada_agent.agents.data_generation.spare_rows import choose_spare
from pada_agent.agents.guards.guard import NOT_NEEDED, reject
from pada_agent.agents.guards.real_nearness import describe_raised
from pada_agent.agents.guards.row_guards import repeat_threshold
from pada_agent.agents.unusable_answers import are_hopeless, describe_batches
from pada_agent.core.errors import LeakageError
from pada_agent.core.progress import Progress
from pada_agent.core.records import BatchReport, Example, Rejection
from pada_agent.evaluation.contamination import find_duplicates, find_overlap
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.task import Task
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.batch_rounds import read_reports
from pada_agent.graph.nodes.branches import weigh
from pada_agent.graph.reporting import report_progress
from pada_agent.graph.rows import find_similarity_limit, read_protected, read_training
from pada_agent.graph.state import PartialState, RunState
from pada_agent.graph.storing import put_rows

DUPLICATE = "duplicate"
"""Stage of accepted rows that do not join because they repeat another one."""


class United(NamedTuple):
    """What became of the rows that batches accepted."""

    rows: RowSet
    """Rows that join the training data."""
    spare: list[Example]
    """Rows that nobody needs so far. None repeats another, or one that joins."""
    repeated: list[Rejection]
    """Rows that repeat another one."""


def augment(state: RunState, adapters: Adapters) -> PartialState:
    """Unite the accepted rows of both branches, drop repeats between batches, and plan what to request next."""
    iteration, generation = str(state["iteration"]), state["settings"].generation
    batches = batches_of(state, adapters)
    rows, spare, repeated = unite(batches, state, adapters)
    quotas = measure_quotas(state, rows, batches)
    if state.get("top_ups", {}).get(iteration, 0) < generation.max_top_ups and not are_hopeless(batches):
        quotas = plan_round(quotas, max_asked_per_row=generation.max_asked_per_row, min_fill=generation.min_fill)
    n_wanted, n_next = sum(q.n_wanted for q in quotas), sum(q.n_next for q in quotas)
    if not n_next and len(rows) < n_wanted and spare:
        shares = find_shares(state, adapters)
        rows.extend(choose_spare(spare, rows, n_wanted - len(rows), shares=shares, task=adapters.task))
        quotas = measure_quotas(state, rows, batches)
    block_leaks(rows, read_protected(state, adapters))
    joined = {row.id for row in rows}
    left_out = [*repeated, *(_tell_not_needed(row) for row in spare if row.id not in joined)]
    n_left_out = Counter(rejection.stage for rejection in left_out)
    warnings = [] if n_next else describe_end(quotas, batches, n_left_out)
    raised = _tell_raised(state, adapters) if any(batch.n_written for batch in batches) else []
    detail = f"{len(rows)} of {n_wanted} rows" + (f", {n_next} are asked for again" if n_next else "")
    report_progress(Progress(stage="augment", done=1, total=1, detail=detail))
    return {
        "new_rows": put_rows(adapters.store, "synthetic", rows),
        "left_out": {iteration: put_rows(adapters.store, "left-out", left_out)},
        "n_left_out": {iteration: dict(n_left_out)},
        "quotas": {iteration: quotas},
        "warnings": [*raised, *(f"iteration {iteration}: {line}" for line in warnings)],
    }


def _tell_raised(state: RunState, adapters: Adapters) -> list[str]:
    return describe_raised(state["settings"].guard, find_similarity_limit(state, adapters))


def describe_end(quotas: Sequence[Quota], batches: Sequence[BatchReport], n_left_out: Mapping[str, int]) -> list[str]:
    """Warnings about an iteration's rows, once no more are requested.

    Args:
        n_left_out: number of accepted rows that did not join, by stage.
    """
    lost = sum((Counter(b.n_rejected) for b in batches), Counter(n_left_out))
    del lost[NOT_NEEDED]
    shortfall = describe_shortfall(quotas, lost)
    return [*describe_batches(batches), *([shortfall] if shortfall else [])]


def unite(batches: Sequence[BatchReport], state: RunState, adapters: Adapters) -> United:
    """Unite the rows of the iteration's batches, in the order of rounds.

    If two rows repeat each other, the earlier one stays. After each round, spare rows take the place of missing rows, as long as
    no label gets much more than its share. The others wait until no more rows are requested, and so do near duplicates where one
    word can change a question's meaning: they are right, but a student learns more from other questions.
    """
    n_wanted = state["plan"].n_pattern_rows + state["plan"].n_training_error_rows
    shares = find_shares(state, adapters)
    rows, waiting, repeated = RowSet(), list[Example](), list[Rejection]()
    in_order = sorted(batches, key=lambda b: (b.top_up, b.batch_id))
    for _, own in groupby(in_order, key=lambda b: b.top_up):
        spare: list[Example] = []
        for batch in own:
            accepted = adapters.store.read_rows(batch.accepted.key, Example)
            kept, again = split_repeats(accepted[: batch.n_requested], rows, state, adapters.task)
            different, alike = _split_alike(kept, rows, state) if adapters.task.turns_on_a_word else (kept, [])
            rows.extend(different)
            waiting += alike
            repeated += again
            spare += accepted[batch.n_requested :]
        offered, _ = split_repeats(spare, rows, state, adapters.task)
        chosen = choose_spare(offered, rows, n_wanted - len(rows), shares=shares, task=adapters.task, within=n_wanted)
        rows.extend(chosen)
        taken = {row.id for row in chosen}
        waiting += [row for row in spare if row.id not in taken]
    left, again = split_repeats(waiting, rows, state, adapters.task)
    return United(rows=rows, spare=left, repeated=[*repeated, *again])


def _tell_not_needed(row: Example) -> Rejection:
    reason = "passed the checks, but there were enough rows without it"
    return reject(row, NOT_NEEDED, reason, may_be_overruled=True)


def find_shares(state: RunState, adapters: Adapters) -> dict[str | None, int] | None:
    """Number of training rows of each label. None if labels need not keep their shares."""
    is_balanced = state["settings"].generation.balance_labels
    return count_labels(read_training(state, adapters), adapters.task) if is_balanced else None


def measure_quotas(state: RunState, rows: Sequence[Example], batches: Sequence[BatchReport]) -> list[Quota]:
    """How many rows each strategy and the training errors owe, and how many of them have joined."""
    plan = state["plan"]
    strategies = weigh(state.get("strategies", {}).get(str(state["iteration"]), []), state)
    quotas = [
        Quota(
            branch="pattern",
            strategy_id=share.guarded.strategy.id,
            name=f"'{share.guarded.strategy.strategy_name}'",
            n_wanted=share.n_rows,
        )
        for share in share_rows(strategies, plan.n_pattern_rows)
    ]
    if plan.n_pattern_rows and not quotas:
        quotas = [Quota(branch="pattern", name="patterns", n_wanted=plan.n_pattern_rows, capacity=0)]
    if state["settings"].generation.pattern_share < 1:
        quotas.append(_owe_errors(state, rows))
    origins = [row.provenance for row in rows if row.provenance]
    by_batch = Counter(origin.batch_id for origin in origins)
    n_joined = Counter((o.branch, o.strategy_id) for o in origins)
    return [
        q.model_copy(update={"n_joined": n_joined[q.branch, q.strategy_id], **_count_asked(q, batches, by_batch)})
        for q in quotas
    ]


def _count_asked(quota: Quota, batches: Sequence[BatchReport], n_joined: Mapping[str, int]) -> dict[str, Any]:
    """How many rows the quota was asked for, given how many rows of each batch joined."""
    own = [b for b in batches if (b.branch, b.strategy_id) == (quota.branch, quota.strategy_id)]
    by_round = dict.fromkeys([b.top_up for b in own], 0)
    for batch in own:
        by_round[batch.top_up] += n_joined.get(batch.batch_id, 0)
    of_label = Counter[str]()
    for batch in own:
        if batch.label is not None:
            of_label[batch.label] += batch.n_requested
    return {
        "n_drawn": sum(b.n_requested for b in own),
        "n_drawn_of_label": dict(of_label),
        "n_asked": sum(b.n_asked for b in own),
        "n_vain_rounds": count_vain_rounds(by_round),
    }


def batches_of(state: RunState, adapters: Adapters) -> list[BatchReport]:
    """Reports of the current iteration's batches."""
    return read_reports(state.get("batches", {}).values(), adapters.store, iteration=state["iteration"])


def split_repeats(
    rows: Sequence[Example], known: Sequence[Example], state: RunState, task: Task
) -> tuple[list[Example], list[Rejection]]:
    """The rows that repeat neither a known row nor each other, and the others, with what they repeat."""
    threshold = repeat_threshold(task, state["settings"].generation)
    repeated = {o.example_id: o for o in find_duplicates(rows, known, threshold=threshold)}
    rejections = [
        reject(row, DUPLICATE, f"repeats {o.protected_id}: {o.evidence}", may_be_overruled=False, overlap=o)
        for row in rows
        if (o := repeated.get(row.id))
    ]
    return [row for row in rows if row.id not in repeated], rejections


def _split_alike(
    rows: Sequence[Example], known: Sequence[Example], state: RunState
) -> tuple[list[Example], list[Example]]:
    """The rows that are no near duplicates of known rows or of each other, and those that are."""
    threshold = state["settings"].generation.near_duplicate_rouge
    alike = {overlap.example_id for overlap in find_duplicates(rows, known, threshold=threshold)}
    return [row for row in rows if row.id not in alike], [row for row in rows if row.id in alike]


def block_leaks(rows: Sequence[Example], protected: Sequence[Example]) -> None:
    """The last check before training.

    Raises:
        LeakageError: a held-out row would be trained on. Label verification should have dropped it, so this is a bug.
    """
    if overlaps := find_overlap(rows, protected):
        first = overlaps[0]
        raise LeakageError(f"{first.example_id} is also in the held-out data as {first.protected_id}: {first.evidence}")


def _owe_errors(state: RunState, rows: Sequence[Example]) -> Quota:
    plan, sources = state["plan"], state["settings"].generation.sources
    if sources == "held_back":  # all at once: there is nobody to ask for more
        n_real = sum(row.provenance is not None and row.provenance.branch == "held_back" for row in rows)
        return Quota(branch="held_back", name="the real rows", n_wanted=plan.n_training_error_rows, capacity=n_real)
    return Quota(
        branch="training_error",
        name="the training errors" if sources == "training_errors" else "the training rows",
        n_wanted=plan.n_training_error_rows,
        capacity=plan.error_capacity,
    )
