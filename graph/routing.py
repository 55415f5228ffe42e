"""Where the run goes next. Pure: state in, node name out."""

from typing import Literal

from langgraph.types import Send

from pada_agent.graph.state import BatchState, BranchState, RunState, open_rows


def why_stop(state: RunState) -> str | None:
    """The reason to end the outer loop after an evaluation, or None to go on."""
    loop, iteration = state["settings"].loop, state["iteration"]
    best = state["models"][state["best_model"]]
    failures = best.validation_failures
    if iteration >= loop.max_iterations:
        return f"iteration limit of {loop.max_iterations} reached"
    if iteration - (best.iteration or 0) >= loop.patience:
        return f"no improvement on the selection part for {loop.patience} iteration(s)"
    if failures is None or failures.rows == 0:
        return "no errors left to diagnose"
    return None


def route_after_evaluation(state: RunState) -> Literal["collect_errors", "finish"]:
    """The outer loop."""
    return "finish" if why_stop(state) else "collect_errors"


def route_after_augmenting(state: RunState) -> Literal["top_up", "review_data"]:
    """Rows that were refused are made up for, as long as somebody is asked for some."""
    return "top_up" if any(q.n_next for q in state["quotas"][str(state["iteration"])]) else "review_data"


def route_after_review(state: RunState) -> Literal["review_cost", "finish"]:
    """Nothing accepted, nothing to train on."""
    return "review_cost" if state["new_rows"].rows else "finish"


def route_after_cost(state: RunState) -> Literal["fine_tune", "finish"]:
    """A person may find the next fine-tuning too expensive."""
    return "finish" if state.get("stop_reason") else "fine_tune"


def route_after_quality_control(state: BatchState) -> Literal["data_generation", "record_batch"]:
    """The regeneration loop: rows that are still open go back while attempts are left."""
    attempts_left = state["attempt"] <= state["settings"].quality.max_regenerations
    return "data_generation" if open_rows(state) and attempts_left else "record_batch"


def fan_out_pattern_batches(state: BranchState) -> list[Send]:
    """One synthesis per batch of the pattern branch, each independent of the others."""
    return _send_batches("pattern_synthesis", state)


def fan_out_error_batches(state: BranchState) -> list[Send]:
    """One synthesis per batch of the training-error branch."""
    return _send_batches("error_synthesis", state)


def fan_out_top_up(state: BranchState) -> list[Send]:
    """One synthesis per batch of a top-up round."""
    return _send_batches("top_up_synthesis", state, new_rows=state["new_rows"])


def _send_batches(node: str, state: BranchState, **more: object) -> list[Send]:
    diagnosed = state["plan"].diagnosed_model
    shared = {
        "settings": state["settings"],
        "iteration": state["iteration"],
        "data": state["data"],
        "plan": state["plan"],
        "models": {diagnosed: state["models"][diagnosed]},
        "n_rows": sum(len(batch.source_ids) for batch in state["planned"]),
        **more,
    }
    return [Send(node, {**shared, "batch": batch}) for batch in state["planned"]]
