"""Starts an iteration: which model's errors are analyzed, and how many rows each branch should write."""

from pada_agent.core.records import Ref
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.pattern_outcomes import find_repaired_shares
from pada_agent.graph.row_division import wish_shares
from pada_agent.graph.state import IterationPlan, PartialState, RunState
from pada_agent.graph.storing import put_rows


def collect_errors(state: RunState, adapters: Adapters) -> PartialState:
    """Open an iteration with the best model's validation failures. The branches ask for its training errors (`divide_rows`)."""
    generation, iteration = state["settings"].generation, state["iteration"] + 1
    best = state["models"][state["best_model"]]
    shares = wish_shares(state, best)
    plan = IterationPlan(
        diagnosed_model=best.name,
        n_pattern_rows=shares.n_pattern,
        n_training_error_rows=shares.n_training_error,
        validation_failures=_to_diagnose(best.validation_failures, generation.pattern_share, adapters),
        training_failures=put_rows(adapters.store, "training-failures", []),
        repaired=find_repaired_shares(state, adapters),
    )
    n_wanted = generation.count_rows(state["data"].train.rows)
    return {"iteration": iteration, "plan": plan, "n_wanted": {str(iteration): n_wanted}}


def _to_diagnose(failures: Ref | None, pattern_share: float, adapters: Adapters) -> Ref:
    """The failures to analyze. Empty if the pattern branch is off, because the analysis would be wasted."""
    return failures if failures and pattern_share else put_rows(adapters.store, "validation-failures", [])
