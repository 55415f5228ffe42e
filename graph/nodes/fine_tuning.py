"""Trains the student on the user's rows and the synthetic rows gathered so far."""

from pada_agent.core.jobs import read_train_metrics
from pada_agent.core.records import Example, Ref
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.jobs import run_fine_tuning
from pada_agent.graph.models import FINE_TUNED, TrainedModel
from pada_agent.graph.rows import kept_synthetic
from pada_agent.graph.state import DataSplits, PartialState, RunState
from pada_agent.graph.storing import put_rows


def fine_tune(state: RunState, adapters: Adapters) -> PartialState:
    """Fine-tune a LoRA adapter on D_train, the labels' definitions if they are trained on, and D_syn."""
    settings, iteration = state["settings"], state["iteration"]
    own, synthetic, continued = own_refs(state["data"]), synthetic_refs(state), find_continued(state)
    rows = gather_training_rows(own, synthetic, adapters)
    name = FINE_TUNED if iteration == 0 else f"iteration {iteration}"
    job_id = run_fine_tuning(rows, name, settings, adapters, start_from=continued.adapter if continued else None)
    n_steps = read_train_metrics(adapters.store.folder(job_id)).n_steps
    seen = (*continued.synthetic, state["new_rows"]) if continued else synthetic
    model = TrainedModel(
        name=name,
        iteration=iteration,
        adapter=Ref(key=job_id),
        synthetic=seen,
        n_train_rows=sum(ref.rows for ref in (*own, *seen)),
        n_synthetic=sum(ref.rows for ref in seen),
        n_steps=add_steps(n_steps, continued) if continued else n_steps,
    )
    return {"models": {name: model}}


def find_continued(state: RunState) -> TrainedModel | None:
    """The model whose adapter is trained further. None if training starts from the untouched student."""
    best = state["models"].get(state.get("best_model", ""))
    return best if best and best.adapter and state["settings"].loop.start_from == "best" else None


def add_steps(n_steps: int | None, continued: TrainedModel) -> int | None:
    """Optimizer steps of a fine-tuning together with those of the model that it continues. None if either was not reported."""
    return None if n_steps is None or continued.n_steps is None else continued.n_steps + n_steps


def synthetic_refs(state: RunState) -> tuple[Ref, ...]:
    """Synthetic rows to train on: those kept from earlier iterations, followed by the new ones."""
    if state["iteration"] == 0:
        return ()
    return (*kept_synthetic(state["settings"], state["models"][state["best_model"]]), state["new_rows"])


def own_refs(data: DataSplits) -> tuple[Ref, ...]:
    """What the user wrote: training rows and, if they are trained on, definitions of labels."""
    return (data.train, data.definitions) if data.definitions else (data.train,)


def gather_training_rows(own: tuple[Ref, ...], synthetic: tuple[Ref, ...], adapters: Adapters) -> Ref:
    """One stored object with all training rows."""
    rows = [row for ref in (*own, *synthetic) for row in adapters.store.read_rows(ref.key, Example)]
    return put_rows(adapters.store, "training-rows", rows, own[0], (*own[1:], *synthetic))
