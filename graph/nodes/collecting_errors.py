"""Opens an iteration: the best model's errors on both sides, and how many rows each branch writes."""

from random import Random

from pada_agent.agents.batch_planning import split_rows
from pada_agent.core.records import Example, Failure, Ref
from pada_agent.graph.context import Adapters
from pada_agent.graph.nodes.evaluating import judge_rows
from pada_agent.graph.nodes.tracking import find_repaired_shares
from pada_agent.graph.state import IterationPlan, PartialState, RunState


def collect_errors(state: RunState, adapters: Adapters) -> PartialState:
    """Find the best model's wrong answers on D_train, and share out the rows to write."""
    settings, data = state["settings"], state["data"]
    best = state["arms"][state["best_arm"]]
    wrong = find_training_failures(state, adapters)
    limit = settings.analysis.max_training_errors
    key = adapters.store.key("training-failures", best.adapter, data.train, settings.task, limit, settings.seed)
    adapters.store.write_rows(key, wrong)
    validation_failures = best.validation_failures or Ref(key=key)
    shares = split_rows(
        round(data.train.rows * settings.generation.share),
        pattern_share=settings.generation.pattern_share,
        has_patterns=validation_failures.rows > 0,
        has_training_errors=bool(wrong),
    )
    plan = IterationPlan(
        diagnosed_arm=best.name,
        n_pattern_rows=shares.n_pattern,
        n_training_error_rows=shares.n_training_error,
        validation_failures=validation_failures,
        training_failures=Ref(key=key, rows=len(wrong)),
        repaired=find_repaired_shares(state, adapters),
    )
    return {"iteration": state["iteration"] + 1, "plan": plan}


def find_training_failures(state: RunState, adapters: Adapters) -> list[Failure]:
    """The best model's wrong answers on D_train: all, or the first `max_training_errors` in an order fixed by the seed."""
    settings, train, store = state["settings"], state["data"].train, adapters.store
    best, limit = state["arms"][state["best_arm"]], settings.analysis.max_training_errors
    examples = store.read_rows(train.key, Example)
    if limit is None:
        return [f for f in judge_rows(best, train, state, adapters, examples) if f.verdict.value == "wrong"]
    order = Random(f"training-errors/{settings.seed}").sample(examples, len(examples))
    size = max(limit, settings.student.eval_batch_size)
    wrong: list[Failure] = []
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        ref = Ref(key=store.key("training-part", train, settings.seed, size, start), rows=len(rows))
        store.write_rows(ref.key, rows)
        wrong += [f for f in judge_rows(best, ref, state, adapters, rows) if f.verdict.value == "wrong"]
        if len(wrong) >= limit:
            break
    return wrong[:limit]
