"""The nodes before synthesis in each branch: they run the leak guard and plan batches."""

from collections import Counter
from collections.abc import Mapping, Sequence

from pada_agent.agents.data_generation.batch_planning import (
    LabelShares,
    Round,
    StrategyShare,
    count_labels,
    fit_rows_per_call,
    plan_error_batches,
    plan_pattern_batches,
    share_rows,
)
from pada_agent.agents.data_generation.contrasts import find_contrasts, show_contrasts
from pada_agent.agents.data_generation.quota import Quota
from pada_agent.agents.data_generation.solved_rows import choose_solved
from pada_agent.agents.data_generation.varied_answers import vary_answers
from pada_agent.agents.guards.leak_guard import LeakGuard
from pada_agent.agents.pattern_analysis.pattern_tracking import weigh_by_repair
from pada_agent.core.records import Batch, Example, GuardedStrategy, ScoredRow
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.nodes.oracle import take_held_back
from pada_agent.graph.reporting import report_progress
from pada_agent.graph.row_division import divide_rows
from pada_agent.graph.rows import kept_synthetic, read_protected, read_training
from pada_agent.graph.state import BranchState, PartialState, RunState
from pada_agent.graph.storing import put_rows


def leak_guard(state: BranchState, adapters: Adapters) -> PartialState:
    """Cut what held-out rows say out of the strategies, and plan the batches of the pattern branch."""
    settings, iteration = state["settings"], state["iteration"]
    division = divide_rows(state, adapters)
    training, protected = read_training(state, adapters), read_protected(state, adapters)
    is_read = settings.generation.strategy_text != "none"  # else no sentence of a strategy reaches the writer
    threshold = settings.guard.leak_similarity if is_read else None
    guard = protected.remember(
        ("leak guard", state["data"].train.key, threshold),
        lambda: LeakGuard(protected, training, embedder=adapters.embedder, threshold=threshold),
    )
    guarded = [guard.clear(strategy) for strategy in state["drafted"]]
    shares = share_rows(weigh(guarded, state), division.plan.n_pattern_rows)
    cut = [f"iteration {iteration}: {line}" for line in tell_cuts(guarded, settings.generation.pattern_share)]
    planned = put_rows(adapters.store, "planned", plan_patterns(shares, state, adapters))
    warnings = [*division.warnings, *cut]
    return {"plan": division.plan, "strategies": {str(iteration): guarded}, "planned": planned, "warnings": warnings}


def tell_cuts(guarded: Sequence[GuardedStrategy], pattern_share: float) -> list[str]:
    """One line for each strategy that held-out text was cut from, and what that means for its rows."""
    if any(not g.says_nothing for g in guarded):
        consequence = "its rows go to the other strategies"
    else:
        consequence = "its rows go to the training errors" if pattern_share < 1 else "its rows are not written"
    emptied = f", and nothing is left to write from: {consequence}"
    return [
        f"the leak guard cut held-out text from '{g.strategy.strategy_name}'{emptied if g.says_nothing else ''}"
        for g in guarded
        if g.redactions
    ]


def training_errors(state: BranchState, adapters: Adapters) -> PartialState:
    """Plan the batches of the training-error branch, or take real rows if the settings say so."""
    if state["settings"].generation.sources == "held_back":
        return take_held_back(state, adapters)
    plan, warnings = (division := divide_rows(state, adapters)).plan, list(division.warnings)
    planned = plan_errors(plan.n_training_error_rows, {**state, "plan": plan}, adapters)
    return {"plan": plan, "planned": put_rows(adapters.store, "planned", planned), "warnings": warnings}


def plan_top_up(state: BranchState, adapters: Adapters) -> PartialState:
    """Plan batches for the missing rows, based on source rows that have not been drawn before."""
    iteration = str(state["iteration"])
    top_up = state.get("top_ups", {}).get(iteration, 0) + 1
    quotas = state["quotas"][iteration]
    guarded = {g.strategy.id: g for g in state.get("strategies", {}).get(iteration, []) if not g.says_nothing}
    numbers = {strategy_id: n for n, strategy_id in enumerate(guarded, start=1)}
    shares = [
        StrategyShare(guarded=guarded[i], number=numbers[i], n_rows=quota.n_next, n_drawn=quota.n_drawn)
        for quota in quotas
        if (i := quota.strategy_id or "") in guarded and quota.n_next
    ]
    planned = plan_patterns(shares, state, adapters, top_up=top_up)
    for quota in quotas:
        if quota.branch == "training_error" and quota.n_next:
            planned += plan_errors(quota.n_next, state, adapters, drawn=quota, top_up=top_up)
    return {"planned": put_rows(adapters.store, "planned", planned), "top_ups": {iteration: top_up}}


def plan_patterns(
    shares: Sequence[StrategyShare], state: BranchState, adapters: Adapters, *, top_up: int = 0
) -> list[Batch]:
    """Batches that follow strategies."""
    training = read_training(state, adapters)
    batches = plan_pattern_batches(
        shares,
        training,
        describe_round(training, state, adapters, top_up=top_up),
        task=adapters.task,
        settings=state["settings"].generation,
        seed=state["settings"].seed,
    )
    return fix_answers(batches, state, adapters, top_up=top_up)


def fix_answers(batches: list[Batch], state: BranchState, adapters: Adapters, *, top_up: int) -> list[Batch]:
    """The batches, with how their answers come about if it is not the writer who gives each with its question: by vote, or by code."""
    settings, training = state["settings"], read_training(state, adapters)
    batches = choose_solved(batches, training, task=adapters.task, settings=settings.generation)
    if not settings.generation.vary_answers:
        return batches
    refs = kept_synthetic(settings, state["models"][state["plan"].diagnosed_model])
    known = [*refs, state["new_rows"]] if top_up else refs
    return vary_answers(
        batches,
        training,
        [row for ref in known for row in adapters.store.read_rows(ref.key, Example)],
        task=adapters.task,
        seed=settings.seed,
        threshold=settings.generation.near_duplicate_rouge,
        report=report_progress,
    )


def plan_errors(
    n_rows: int, state: BranchState, adapters: Adapters, *, drawn: Quota | None = None, top_up: int = 0
) -> list[Batch]:
    """Batches based on training errors, with the contrasts to show next to them."""
    settings, plan, store = state["settings"], state["plan"], adapters.store
    sources = read_sources(state, adapters)
    batches = plan_error_batches(
        sources,
        describe_round(sources, state, adapters, top_up=top_up),
        n_rows=n_rows,
        task=adapters.task,
        settings=settings.generation,
        seed=settings.seed,
        drawn=drawn,
        fed=count_fed(state, adapters) if drawn else {},
        shares=share_labels(state, adapters, drawn=drawn) if settings.generation.balance_labels else None,
    )
    batches = fix_answers(batches, state, adapters, top_up=top_up)
    if plan.training_successes is None:
        return batches
    successes = store.read_rows(plan.training_successes.key, Example)
    contrasts = find_contrasts(sources, successes, k=settings.generation.n_contrasts, embedder=adapters.embedder)
    return [show_contrasts(batch, contrasts) for batch in batches]


def share_labels(state: BranchState, adapters: Adapters, *, drawn: Quota | None) -> LabelShares | None:
    """Each label's share of the training rows, and how many new rows it has. None if labels are not a closed set.

    New rows are those kept from earlier iterations and, in a top-up round, those of both branches that have joined in this
    one. A row of this branch that was asked for and has not joined counts half, and fully after a round in which no row
    joined: its label comes first for a while, but does not use up all rounds.
    """
    task = adapters.task
    weights = count_labels(read_training(state, adapters), task)
    if weights is None:
        return None
    refs = [
        *kept_synthetic(state["settings"], state["models"][state["plan"].diagnosed_model]),
        *([state["new_rows"]] if drawn else []),
    ]
    rows = [row for ref in refs for row in adapters.store.read_rows(ref.key, Example)]
    n_written, n_drawn = Counter(task.closed_label(row) for row in rows), drawn.n_drawn_of_label if drawn else {}
    n_joined = Counter(
        task.closed_label(row)
        for row in rows
        if (origin := row.provenance) and (origin.branch, origin.iteration) == ("training_error", state["iteration"])
    )
    part = 1 if drawn and drawn.n_vain_rounds else 0.5
    n_lost = {label: max(0, n - n_joined[label]) for label, n in n_drawn.items()}
    return LabelShares(
        weights=weights,
        n_written={label: n_written[label] + part * n_lost.get(label or "", 0) for label in weights},
        n_drawn=dict(n_drawn),
    )


def count_fed(state: BranchState, adapters: Adapters) -> Mapping[str, int]:
    """For each training error, by id, the number of rows written from it that have joined the training data in this iteration."""
    rows = adapters.store.read_rows(state["new_rows"].key, Example)
    origins = [row.provenance for row in rows if row.provenance]
    return Counter(origin.source_id for origin in origins if origin.branch == "training_error")


def describe_round(rows: Sequence[Example], state: BranchState, adapters: Adapters, *, top_up: int) -> Round:
    """A round that writes from these rows: `generation.rows_per_call` at a time, or fewer if the generator's reply has no room for that many."""
    wanted, n_tokens = state["settings"].generation.rows_per_call, adapters.generator.max_output_tokens
    n = fit_rows_per_call(wanted, rows, adapters.task, max_output_tokens=n_tokens)
    return Round(
        iteration=state["iteration"], top_up=top_up, rows_per_call=n, spare_rows=state["settings"].generation.spare_rows
    )


def weigh(guarded: list[GuardedStrategy], state: BranchState | RunState) -> list[GuardedStrategy]:
    """The strategies that still say something, with the weights by which the branch's rows are divided."""
    guarded = [g for g in guarded if not g.says_nothing]
    repaired = state["plan"].repaired
    return weigh_by_repair(guarded, state["patterns"][str(state["iteration"])], repaired) if repaired else guarded


def read_sources(state: BranchState, adapters: Adapters) -> Sequence[Example]:
    """The training rows that the training-error branch writes from."""
    if state["settings"].generation.sources == "training_rows":
        return read_training(state, adapters)
    return [f.example for f in adapters.store.read_rows(state["plan"].training_failures.key, ScoredRow)]
