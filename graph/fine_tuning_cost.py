"""Estimates how long the next fine-tuning will take."""

from pada_agent.core.jobs import read_train_metrics
from pada_agent.core.records import Record
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.rows import kept_synthetic
from pada_agent.graph.spans import span_key
from pada_agent.graph.state import DataSplits, RunState

FORWARD_TO_TRAINING = 3
"""A training step costs about three forward passes: one forward pass, and a backward pass that counts as two."""


class CostEstimate(Record):
    """How long the next fine-tuning is expected to take."""

    hours: float
    basis: str
    """What the estimate is based on, in words."""


def estimate_fine_tuning(state: RunState, adapters: Adapters) -> CostEstimate | None:
    """Estimate the next fine-tuning from the last one or, before the first, from the evaluation of the untouched student.

    None if nothing was measured.
    """
    lora = state["settings"].lora
    n_new = state["new_rows"].rows if state["iteration"] else 0
    trained = [model for model in state["models"].values() if model.adapter]
    if not trained:
        return _estimate_from_evaluation(state)
    last = trained[-1]
    measured = read_train_metrics(adapters.store.folder(last.adapter.key if last.adapter else ""))
    if measured.seconds is None or measured.tokens_per_second is None:
        return None
    kept = kept_synthetic(state["settings"], state["models"][state["best_model"]])
    n_rows = count_own(state["data"]) + sum(ref.rows for ref in kept) + n_new
    # Of a model that continues an adapter, only the rows of its own fine-tuning.
    own = last.synthetic if state["settings"].generation.accumulate else last.synthetic[-1:]
    n_before = count_own(state["data"]) + sum(ref.rows for ref in own)
    growth = 1.0 if lora.n_steps is not None else n_rows / n_before
    basis = f"'{last.name}': {measured.tokens_per_second:,.0f} tokens/s over {n_before} rows"
    return CostEstimate(hours=measured.seconds * growth / 3600, basis=basis)


def _estimate_from_evaluation(state: RunState) -> CostEstimate | None:
    if (span := state.get("spans", {}).get(span_key("evaluate_untouched", "0"))) is None:
        return None
    lora, data = state["settings"].lora, state["data"]
    n_trained = lora.n_steps * lora.batch_size if lora.n_steps is not None else count_own(data) * lora.epochs
    seconds = FORWARD_TO_TRAINING * (span[1] - span[0]) / data.validation.rows * n_trained
    return CostEstimate(
        hours=seconds / 3600, basis="a rough guess: three times as long per row as evaluating the untouched student"
    )


def count_own(data: DataSplits) -> int:
    """Number of rows that every model is trained on."""
    return data.train.rows + (data.definitions.rows if data.definitions else 0)
