"""Where a run waits for a person: to review strategies, rows, and the cost of a fine-tuning."""

from collections import Counter

from pada_agent.agents.guards.guard import reject
from pada_agent.core.errors import ConfigError
from pada_agent.core.records import Example, Rejection
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.fine_tuning_cost import estimate_fine_tuning
from pada_agent.graph.nodes.augmenting import batches_of, block_leaks, split_repeats
from pada_agent.graph.reviewing import (
    CostAnswer,
    DataAnswer,
    StrategiesAnswer,
    ask_person,
    find_repeated_ids,
    find_unknown_rows,
    note_review,
)
from pada_agent.graph.rows import read_protected, read_training
from pada_agent.graph.state import BranchState, PartialState, RunState
from pada_agent.graph.storing import put_rows


def review_strategies(state: BranchState, adapters: Adapters) -> PartialState:
    """Wait for a person to approve, edit, drop, add or reweight strategies, if the settings say so.

    Strategies that are already in the state were put there to fork the run, and replace the drafted ones, even if the list
    is empty.

    Raises:
        ConfigError: a strategy of a fork names training rows that do not exist.
    """
    iteration = state["iteration"]
    forked = state.get("strategies", {}).get(str(iteration))
    if forked is None and not (state["settings"].review.strategies and state["drafted"]):
        return {}
    known = {row.id for row in read_training(state, adapters)}
    if forked is not None:
        chosen = [guarded.strategy for guarded in forked]
        if problem := find_unknown_rows(chosen, known):
            raise ConfigError(f"strategies.{iteration}: {problem} Fork the run again with rows of the training data.")
        return {"drafted": chosen}
    payload = {
        "iteration": iteration,
        "n_rows": state["plan"].n_pattern_rows,
        "strategies": [s.model_dump(mode="json") for s in state["drafted"]],
        "patterns": [
            p.model_dump(mode="json", exclude={"example_ids", "representative_ids"})
            for p in state["patterns"][str(iteration)]
        ],
    }

    def find_problem(answer: StrategiesAnswer) -> str | None:
        named = answer.strategies or ()
        return find_repeated_ids(named) or find_unknown_rows(named, known)

    answer = ask_person("strategies", StrategiesAnswer, payload, find_problem)
    chosen = state["drafted"] if answer.strategies is None else list(answer.strategies)
    return {"drafted": chosen, "reviews": note_review("strategies", iteration, answer)}


N_SHOWN = 50
"""Maximum number of accepted rows, and of rejected rows, shown to a person. The store holds all of them."""


def review_data(state: RunState, adapters: Adapters) -> PartialState:
    """Wait for a person to look at accepted and rejected rows before anything is trained on them, if the settings say so."""
    if not state["settings"].review.data:
        return {}
    rows, refused = adapters.store.read_rows(state["new_rows"].key, Example), read_refused(state, adapters)
    if not rows and not refused:
        return {}
    payload = {
        "iteration": state["iteration"],
        "rows": [{"id": r.id, "prompt": r.prompt, "answer": r.answer} for r in rows[:N_SHOWN]],
        "n_rows": len(rows),
        "rejected": [{"id": e.id, "reason": r.reason, "text": r.text} for r, e in refused[:N_SHOWN]],
        "n_rejected": len(refused),
    }
    by_id = {e.id: e for _, e in refused}

    def find_problem(answer: DataAnswer) -> str | None:
        unknown = [i for i in answer.drop if i not in {r.id for r in rows}] + [
            i for i in answer.accept if i not in by_id
        ]
        return f"No such rows: {', '.join(unknown)}." if unknown else None

    answer = ask_person("data", DataAnswer, payload, find_problem)
    kept, accepted = [r for r in rows if r.id not in answer.drop], [by_id[i] for i in dict.fromkeys(answer.accept)]
    restored = {r.id: r for r in split_repeats(accepted, kept, state, adapters.task)[0]}
    chosen = [*kept, *restored.values()]
    block_leaks(chosen, read_protected(state, adapters))
    stages = Counter(r.stage for r, e in refused if e.id in restored)
    dropped = [reject(r, "person", "dropped in review", may_be_overruled=True) for r in rows if r.id in answer.drop]
    iteration = str(state["iteration"])
    left_out = adapters.store.read_rows(state["left_out"][iteration].key, Rejection)
    return {
        "new_rows": put_rows(adapters.store, "synthetic", chosen),
        "reviews": note_review("data", state["iteration"], answer),
        "left_out": {iteration: put_rows(adapters.store, "left-out", [*left_out, *dropped])},
        "n_left_out": {iteration: {**state["n_left_out"][iteration], "person": len(dropped)}},
        "overruled": {iteration: dict(stages)},
    }


def read_refused(state: RunState, adapters: Adapters) -> list[tuple[Rejection, Example]]:
    """The iteration's rejections that a person may overrule, each with its row: it passed every exact check, or was not needed."""
    refs = [*(b.rejected for b in batches_of(state, adapters)), state["left_out"][str(state["iteration"])]]
    rejections = [r for ref in refs for r in adapters.store.read_rows(ref.key, Rejection)]
    return [(r, r.example) for r in rejections if r.example is not None]


def review_cost(state: RunState, adapters: Adapters) -> PartialState:
    """Wait for a person if the next fine-tuning is expected to take longer than `review.cost_above_hours`."""
    limit = state["settings"].review.cost_above_hours
    estimate = None if limit is None else estimate_fine_tuning(state, adapters)
    if limit is None or estimate is None or estimate.hours <= limit:
        return {}

    def find_problem(answer: CostAnswer) -> str | None:
        if answer.stop and not state.get("best_model"):
            return "Nothing has been fine-tuned yet, so there is no result to stop with: cancel the run, or approve."
        return None

    payload = {"hours": round(estimate.hours, 3), "limit_hours": limit, "basis": estimate.basis}
    answer = ask_person("cost", CostAnswer, payload, find_problem)
    decision = {"reviews": note_review("cost", state["iteration"], answer)}
    return {**decision, "stop_reason": "a person stopped before the fine-tuning"} if answer.stop else decision
