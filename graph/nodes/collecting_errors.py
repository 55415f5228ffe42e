"""Opens an iteration: the best model's errors on both sides, and how many rows each branch writes."""

from pada_agent.agents.batch_planning import split_rows
from pada_agent.core.records import Example, Ref
from pada_agent.graph.context import Adapters
from pada_agent.graph.nodes.evaluating import judge_rows
from pada_agent.graph.state import IterationPlan, PartialState, RunState


def collect_errors(state: RunState, adapters: Adapters) -> PartialState:
    """Find the best model's wrong answers on D_train, and share out the rows to write."""
    settings, data = state["settings"], state["data"]
    best = state["arms"][state["best_arm"]]
    examples = adapters.store.read_rows(data.train.key, Example)
    wrong = [f for f in judge_rows(best, data.train, state, adapters, examples) if f.verdict.value == "wrong"]
    key = adapters.store.key("training-failures", best.adapter, data.train, settings.task)
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
    )
    return {"iteration": state["iteration"] + 1, "plan": plan}
