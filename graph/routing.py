"""Decides where the run goes next. Pure functions from state to node name."""

from typing import Literal

from langgraph.types import Send

from pada_agent.core.wording import count
from pada_agent.graph.state import BatchState, RoundState, RunState, open_rows


def why_stop(state: RunState) -> str | None:
    """Why the outer loop ends after an evaluation, or None if it continues."""
    loop, iteration = state["settings"].loop, state["iteration"]
    best = state["models"][state["best_model"]]
    failures = best.validation_failures
    if iteration >= loop.max_iterations:
        return f"iteration limit of {loop.max_iterations} reached"
    if iteration - (best.iteration or 0) >= loop.patience:
        return f"no improvement on the selection part for {count(loop.patience, 'iteration')}"
    if state["settings"].generation.pattern_share and (failures is None or failures.rows == 0):
        n_unscored = best.diagnosis.n_unscored if best.diagnosis else 0
        if n_unscored:
            return f"no errors to diagnose: {count(n_unscored, 'answer')} on the diagnosis part could not be scored, and no other is wrong"
        return "no errors left to diagnose"
    return None


def route_after_evaluation(state: RunState) -> Literal["collect_errors", "finish"]:
    """The outer loop: another iteration, or the end."""
    return "finish" if why_stop(state) else "collect_errors"


def route_after_augmenting(state: RunState) -> Literal["top_up", "review_data"]:
    """Replace rejected rows as long as there is anyone left to ask."""
    return "top_up" if any(q.n_next for q in state["quotas"][str(state["iteration"])]) else "review_data"


def route_after_review(state: RunState) -> Literal["review_cost", "finish"]:
    """End the run if no row was accepted, because then there is nothing to train on."""
    return "review_cost" if state["new_rows"].rows else "finish"


def route_after_cost(state: RunState) -> Literal["fine_tune", "finish"]:
    """End the run if a person stopped it before the fine-tuning."""
    return "finish" if state.get("stop_reason") else "fine_tune"


def route_after_quality_control(state: BatchState) -> Literal["data_generation", "record_batch"]:
    """The regeneration loop: rows that are still open go back as long as attempts are left."""
    attempts_left = state["attempt"] < state["settings"].quality.max_attempts
    return "data_generation" if open_rows(state) and attempts_left else "record_batch"


def fan_out_batches(state: RoundState) -> list[Send]:
    """One synthesis per batch. Batches are independent of each other."""
    diagnosed = state["plan"].diagnosed_model
    shared: dict[str, object] = {
        "settings": state["settings"],
        "iteration": state["iteration"],
        "data": state["data"],
        "plan": state["plan"],
        "models": {diagnosed: state["models"][diagnosed]},
        "n_rows": state["n_rows"],
    }
    if "new_rows" in state:
        shared["new_rows"] = state["new_rows"]
    return [Send("batch", {**shared, "batch": batch}) for batch in state["waiting"]]
