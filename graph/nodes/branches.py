"""What stands before synthesis in each branch: a person's review, the leak guard, and the planning of batches."""

from random import Random

from pada_agent.agents.data_generation.batch_planning import plan_error_batches, plan_pattern_batches
from pada_agent.agents.data_generation.contrasts import find_contrasts, show_contrasts
from pada_agent.agents.guards.leak_guard import LeakGuard
from pada_agent.agents.pattern_analysis.pattern_tracking import weigh_by_repair
from pada_agent.core.records import Example, ScoredRow
from pada_agent.graph.context import Adapters
from pada_agent.graph.nodes.oracle import take_held_back
from pada_agent.graph.rows import read_protected
from pada_agent.graph.state import BranchState, PartialState


def leak_guard(state: BranchState, adapters: Adapters) -> PartialState:
    """Cut quotations of held-out rows out of the strategies, and plan the batches of the pattern branch."""
    settings, data, iteration = state["settings"], state["data"], state["iteration"]
    training = adapters.store.read_rows(data.train.key, Example)
    guard = LeakGuard(
        read_protected(state, adapters),
        training,
        embedder=adapters.embedder,
        threshold=settings.guard.leak_similarity,
    )
    guarded = [guard.clear(strategy) for strategy in state["drafted"]]
    repaired = state["plan"].repaired
    batches = plan_pattern_batches(
        weigh_by_repair(guarded, state["patterns"][str(iteration)], repaired) if repaired else guarded,
        training,
        n_rows=state["plan"].n_pattern_rows,
        rows_per_call=settings.generation.rows_per_call,
        iteration=iteration,
        task=adapters.task,
        rng=Random(f"pattern-batches/{settings.seed}/{iteration}"),
    )
    cut = [
        f"iteration {iteration}: the leak guard cut held-out text from '{g.strategy.strategy_name}'"
        for g in guarded
        if g.redactions
    ]
    return {"strategies": {str(iteration): guarded}, "planned": batches, "warnings": cut}


def training_errors(state: BranchState, adapters: Adapters) -> PartialState:
    """Plan the batches of the training-error branch; or take real rows, where settings say so."""
    settings, iteration, plan = state["settings"], state["iteration"], state["plan"]
    if settings.generation.sources == "held_back":
        return take_held_back(state, adapters)
    sources = read_sources(state, adapters)
    batches = plan_error_batches(
        sources,
        n_rows=plan.n_training_error_rows,
        rows_per_call=settings.generation.rows_per_call,
        iteration=iteration,
        rng=Random(f"error-batches/{settings.seed}/{iteration}"),
    )
    if plan.training_successes is None:
        return {"planned": batches}
    successes = adapters.store.read_rows(plan.training_successes.key, Example)
    contrasts = find_contrasts(sources, successes, k=settings.generation.n_contrasts, embedder=adapters.embedder)
    return {"planned": [show_contrasts(batch, contrasts) for batch in batches]}


def read_sources(state: BranchState, adapters: Adapters) -> list[Example]:
    """The training rows that the training-error branch writes from."""
    if state["settings"].generation.sources == "training_rows":
        return adapters.store.read_rows(state["data"].train.key, Example)
    return [f.example for f in adapters.store.read_rows(state["plan"].training_failures.key, ScoredRow)]
