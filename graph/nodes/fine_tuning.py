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
    synthetic = synthetic_refs(state)
    rows = gather_training_rows(own_refs(state["data"]), synthetic, adapters)
    best = state["models"].get(state.get("best_model", ""))
    continued = best.adapter if best and settings.loop.start_from == "best" else None
    name = FINE_TUNED if iteration == 0 else f"iteration {iteration}"
    job_id = run_fine_tuning(rows, name, settings, adapters, start_from=continued)
    model = TrainedModel(
        name=name,
        iteration=iteration,
        adapter=Ref(key=job_id),
        synthetic=synthetic,
        n_train_rows=rows.rows,
        n_synthetic=sum(ref.rows for ref in synthetic),
        n_steps=read_train_metrics(adapters.store.folder(job_id)).n_steps,
    )
    return {"models": {name: model}}


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
