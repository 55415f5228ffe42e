"""Starts an iteration: collects the best model's errors on training and validation rows, and decides how many rows each branch writes."""

from pada_agent.agents.data_generation.batch_planning import split_rows
from pada_agent.core.config import GenerationConfig
from pada_agent.core.recipes import find_recipe
from pada_agent.core.records import Ref
from pada_agent.graph.context import Adapters
from pada_agent.graph.error_sources import ErrorSources, find_sources, most_rows_each
from pada_agent.graph.pattern_outcomes import find_repaired_shares
from pada_agent.graph.state import IterationPlan, PartialState, RunState
from pada_agent.graph.storing import put_rows


def collect_errors(state: RunState, adapters: Adapters) -> PartialState:
    """Find the training rows to write from, and divide the rows to write between the branches."""
    generation, store, iteration = state["settings"].generation, adapters.store, state["iteration"] + 1
    best = state["models"][state["best_model"]]
    has_patterns = best.validation_failures is not None and best.validation_failures.rows > 0
    n_wanted = generation.count_candidates(state["data"].train.rows)
    wished = split_rows(
        n_wanted, pattern_share=generation.pattern_share, has_patterns=has_patterns, error_capacity=None
    )
    reads_errors = reads_training_errors(generation)
    found = find_sources(wished.n_training_error, state, adapters) if reads_errors else ErrorSources()
    capacity = count_capacity(found, generation)
    shares = split_rows(
        n_wanted, pattern_share=generation.pattern_share, has_patterns=has_patterns, error_capacity=capacity
    )
    plan = IterationPlan(
        diagnosed_model=best.name,
        n_pattern_rows=shares.n_pattern,
        n_training_error_rows=shares.n_training_error,
        error_capacity=capacity,
        validation_failures=_to_diagnose(best.validation_failures, shares.n_pattern, adapters),
        training_failures=put_rows(store, "training-failures", found.rows),
        training_successes=(
            put_rows(store, "training-successes", found.right)
            if find_recipe(generation.template).shows_right_rows
            else None
        ),
        repaired=find_repaired_shares(state, adapters),
    )
    told = [found.told, _tell_moved(len(found.rows), wished.n_training_error, plan, n_wanted) if reads_errors else ""]
    return {
        "iteration": iteration,
        "plan": plan,
        "n_wanted": {str(iteration): generation.count_rows(state["data"].train.rows)},
        "warnings": [f"iteration {iteration}: {text}" for text in told if text],
    }


def reads_training_errors(generation: GenerationConfig) -> bool:
    """Whether rows are written from the student's wrong answers on D_train, or from rows that replace them."""
    return generation.sources == "training_errors" and generation.pattern_share < 1


def count_capacity(found: ErrorSources, generation: GenerationConfig) -> int | None:
    """Maximum number of rows that the training-error branch can write. None means no limit."""
    each = most_rows_each(generation)
    if not reads_training_errors(generation):
        return None
    return 0 if not found.rows else each and each * len(found.rows)


def _tell_moved(n_sources: int, n_wished: int, plan: IterationPlan, n_wanted: int) -> str:
    """What happens to the rows that the training errors cannot supply, in words. Empty if they can supply their share."""
    if plan.n_training_error_rows >= n_wished:
        return ""
    n_lost = n_wanted - plan.n_pattern_rows - plan.n_training_error_rows
    whither = f"{n_lost} rows are not written" if n_lost else "the patterns write the rest"
    return f"{n_sources} training row(s) are sources for {plan.n_training_error_rows} of {n_wished} rows: {whither}"


def _to_diagnose(failures: Ref | None, n_pattern: int, adapters: Adapters) -> Ref:
    """The failures to analyze. Empty if the pattern branch writes nothing, because the analysis would be wasted."""
    return failures if failures and n_pattern else put_rows(adapters.store, "validation-failures", [])
