"""Opens an iteration: the best model's errors on both sides, and how many rows each branch writes."""

from random import Random

from pada_agent.agents.data_generation.batch_planning import split_rows
from pada_agent.core.config import GenerationConfig
from pada_agent.core.records import Example, Ref, ScoredRow
from pada_agent.graph.context import Adapters
from pada_agent.graph.nodes.evaluating import score_rows
from pada_agent.graph.pattern_outcomes import find_repaired_shares
from pada_agent.graph.state import IterationPlan, PartialState, RunState
from pada_agent.graph.storing import put_rows


def collect_errors(state: RunState, adapters: Adapters) -> PartialState:
    """Find the best model's wrong answers on D_train, and share out the rows to write."""
    settings, data = state["settings"], state["data"]
    generation, limit = settings.generation, settings.analysis.max_training_errors
    best = state["models"][state["best_model"]]
    answered = answer_training_rows(state, adapters) if reads_training_errors(generation) else []
    wrong = [f for f in answered if f.verdict.value == "wrong"][:limit]
    failures = put_rows(adapters.store, "training-failures", wrong)
    shares = split_rows(
        round(data.train.rows * generation.share),
        pattern_share=generation.pattern_share,
        has_patterns=best.validation_failures is not None and best.validation_failures.rows > 0,
        has_training_errors=bool(wrong) or not reads_training_errors(generation),
    )
    n_training_error = shares.n_training_error
    if reads_training_errors(generation) and not generation.repeat_sources:
        n_training_error = min(n_training_error, len(wrong))
    successes = None
    if generation.template == "contrast_generation":
        right = [f.example for f in answered if f.verdict.value == "correct"]
        successes = put_rows(adapters.store, "training-successes", right)
    plan = IterationPlan(
        diagnosed_model=best.name,
        n_pattern_rows=shares.n_pattern,
        n_training_error_rows=n_training_error,
        validation_failures=_to_diagnose(best.validation_failures, shares.n_pattern, adapters),
        training_failures=failures,
        training_successes=successes,
        repaired=find_repaired_shares(state, adapters),
    )
    return {"iteration": state["iteration"] + 1, "plan": plan}


def reads_training_errors(generation: GenerationConfig) -> bool:
    """Whether rows are written from the student's wrong answers on D_train."""
    return generation.sources == "training_errors" and generation.pattern_share < 1


def answer_training_rows(state: RunState, adapters: Adapters) -> list[ScoredRow]:
    """The best model's answers on D_train, right ones included: all, or in an order fixed by the seed until `max_training_errors` are wrong."""
    settings, train, store = state["settings"], state["data"].train, adapters.store
    best, limit = state["models"][state["best_model"]], settings.analysis.max_training_errors
    examples = store.read_rows(train.key, Example)
    if limit is None:
        return score_rows(best, train, state, adapters, examples)
    order = Random(f"training-errors/{settings.seed}").sample(examples, len(examples))
    size = max(limit, settings.student.eval_batch_size)
    answered: list[ScoredRow] = []
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        ref = put_rows(store, "training-part", rows)
        answered += score_rows(best, ref, state, adapters, rows)
        if sum(f.verdict.value == "wrong" for f in answered) >= limit:
            break
    return answered


def _to_diagnose(failures: Ref | None, n_pattern: int, adapters: Adapters) -> Ref:
    """No failures where the pattern branch writes nothing: its analysis would be paid for in vain."""
    return failures if failures and n_pattern else put_rows(adapters.store, "validation-failures", [])
