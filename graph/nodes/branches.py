"""What stands before synthesis in each branch: a person's review, the leak guard, and the planning of batches."""

from random import Random
from typing import Any

from langgraph.types import interrupt
from pydantic import TypeAdapter, ValidationError

from pada_agent.agents.batch_planning import plan_error_batches, plan_pattern_batches
from pada_agent.agents.leak_guard import LeakGuard
from pada_agent.core.errors import ConfigError
from pada_agent.core.records import Example, Failure, Strategy
from pada_agent.graph.context import Adapters
from pada_agent.graph.state import BranchState, PartialState


def review_strategies(state: BranchState, adapters: Adapters) -> PartialState:
    """Wait for a person to approve, edit, drop or add strategies, if settings say so."""
    del adapters
    if not state["settings"].review.strategies or not state["drafted"]:
        return {}
    payload = {
        "review": "strategies",
        "strategies": [s.model_dump() for s in state["drafted"]],
        "patterns": [
            p.model_dump(exclude={"example_ids", "representative_ids"})
            for p in state["patterns"][str(state["iteration"])]
        ],
        "answer_with": "{'strategies': [...]} to replace them, or 'approve'",
    }
    return {"drafted": read_answer(interrupt(payload), state["drafted"])}


def read_answer(answer: Any, drafted: list[Strategy]) -> list[Strategy]:
    """The strategies to go on with.

    Raises:
        ConfigError: the answer is neither `approve` nor a list of strategies.
    """
    if answer == "approve":
        return drafted
    try:
        return TypeAdapter(list[Strategy]).validate_python(answer["strategies"])
    except (ValidationError, KeyError, TypeError) as exc:
        raise ConfigError(
            f"answer to the strategy review: expected 'approve' or {{'strategies': [...]}}: {exc}"
        ) from exc


def leak_guard(state: BranchState, adapters: Adapters) -> PartialState:
    """Cut quotations of held-out rows out of the strategies, and plan the batches of the pattern branch."""
    settings, data, iteration = state["settings"], state["data"], state["iteration"]
    training = adapters.store.read_rows(data.train.key, Example)
    guard = LeakGuard(read_protected(state, adapters), training)
    guarded = [guard.clear(strategy) for strategy in state["drafted"]]
    batches = plan_pattern_batches(
        guarded,
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
    """Plan the batches of the training-error branch."""
    settings, iteration = state["settings"], state["iteration"]
    failures = adapters.store.read_rows(state["plan"].training_failures.key, Failure)
    batches = plan_error_batches(
        [f.example for f in failures],
        n_rows=state["plan"].n_training_error_rows,
        rows_per_call=settings.generation.rows_per_call,
        iteration=iteration,
        rng=Random(f"error-batches/{settings.seed}/{iteration}"),
    )
    return {"planned": batches}


def read_protected(state: Any, adapters: Adapters) -> list[Example]:
    """Validation and test rows: for comparison only."""
    data = state["data"]
    refs = [data.validation, *([data.test] if data.test else [])]
    return [example for ref in refs for example in adapters.store.read_rows(ref.key, Example)]
