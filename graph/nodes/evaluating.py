"""Measures a model: the compute backend predicts, and this code scores."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from pada_agent.core.compute_config import count_shard_rows
from pada_agent.core.jobs import PREDICTIONS, PredictJob
from pada_agent.core.part_versions import find_version
from pada_agent.core.ports import ArtifactStore
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example, Prediction, Ref, ScoredRow, Verdict
from pada_agent.evaluation.statistics import summarize
from pada_agent.evaluation.task import verify_answers
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.jobs import make_predict_job, prefix_progress
from pada_agent.graph.models import UNTOUCHED, TrainedModel, choose_best
from pada_agent.graph.reporting import report_progress
from pada_agent.graph.state import Given, PartialState, RunState
from pada_agent.graph.storing import put_rows, read_output


def evaluate_untouched(state: RunState, adapters: Adapters) -> PartialState:
    """Measure the student on validation before any fine-tuning."""
    return {"models": {UNTOUCHED: measure_on_validation(state["models"][UNTOUCHED], state, adapters)}}


def evaluate(state: RunState, adapters: Adapters) -> PartialState:
    """Measure the newest fine-tuned model on validation, and choose the best model so far."""
    newest = next(a for a in state["models"].values() if a.iteration == state["iteration"])
    measured = measure_on_validation(newest, state, adapters)
    models = {**state["models"], measured.name: measured}
    return {"models": {measured.name: measured}, "best_model": choose_best(list(models.values())).name}


def measure_on_validation(model: TrainedModel, state: RunState, adapters: Adapters) -> TrainedModel:
    """The model with its results on the diagnosis part, on the selection part, and on both together."""
    data = state["data"]
    examples = adapters.store.read_rows(data.validation.key, Example)
    measured = score_rows(model, data.validation, state, adapters, examples)
    verdicts = [row.verdict for row in measured]
    wrong = [row for row in measured[: data.n_diagnosis] if row.verdict.value == "wrong"]
    return model.model_copy(
        update={
            "validation": summarize(verdicts),
            "diagnosis": summarize(verdicts[: data.n_diagnosis]),
            "selection": summarize(verdicts[data.n_diagnosis :]),
            "measured": put_rows(adapters.store, "measured", measured),
            "validation_failures": put_rows(adapters.store, "validation-failures", wrong),
        }
    )


def score_rows(
    model: TrainedModel, rows: Ref, state: Given, adapters: Adapters, examples: Sequence[Example]
) -> list[ScoredRow]:
    """Every row with the model's prediction and the verdict on it, correct ones included, in order. Finished work is read from the store."""
    return score_jobs(submit_rows(model, rows, state, adapters, examples), model, state, adapters, examples)


def score_jobs(
    jobs: Sequence[tuple[str, Ref]],
    model: TrainedModel,
    state: Given,
    adapters: Adapters,
    examples: Sequence[Example],
) -> list[ScoredRow]:
    """Wait for the jobs from `submit_rows` for these `examples` and score their predictions."""
    settings, store = state["settings"], adapters.store
    folders = _wait_for(jobs, model, adapters, n_rows=len(examples))
    predictions = [p for folder, part in folders for p in read_output(folder / PREDICTIONS, Prediction, n=part.rows)]
    judge = (settings.models.judge, settings.prompts.answer_judgement)
    version = find_version(type(adapters.task), type(adapters.judge))
    names = [folder.name for folder, _ in folders]
    key = store.key("verdicts", names[0] if len(names) == 1 else names, settings.task, *judge, version)
    verdicts = _verify(examples, predictions, key, adapters)
    return [
        ScoredRow(example=e, prediction=p, verdict=v) for e, p, v in zip(examples, predictions, verdicts, strict=True)
    ]


def submit_rows(
    model: TrainedModel, rows: Ref, state: Given, adapters: Adapters, examples: Sequence[Example]
) -> list[tuple[str, Ref]]:
    """The prediction jobs for all rows, each with its rows. What is submitted before the first is waited for, a cluster runs side by side."""
    parts = split_rows(rows, examples, count_shard_rows(state["settings"].compute), adapters.store)
    return [(adapters.compute.submit(_make_job(model, part, state, adapters)), part) for part in parts]


def _wait_for(
    jobs: Sequence[tuple[str, Ref]], model: TrainedModel, adapters: Adapters, *, n_rows: int
) -> list[tuple[Path, Ref]]:
    folders: list[tuple[Path, Ref]] = []
    n_done = 0
    for job, part in jobs:

        def report(progress: Progress, n_before: int = n_done) -> None:
            whole = {"done": n_before + progress.done, "total": n_rows} if progress.stage == "predict" else {}
            report_progress(prefix_progress(model.name, progress).model_copy(update=whole))

        folders.append((adapters.compute.wait(job, report), part))
        n_done += part.rows
    return folders


def split_rows(rows: Ref, examples: Sequence[Example], size: int | None, store: ArtifactStore) -> list[Ref]:
    """`rows`, which are these `examples`, in parts of at most `size`, as even as can be; whole if they fit into one."""
    n_parts = -(-len(examples) // size) if size else 1
    if n_parts <= 1:
        return [rows]
    ends = [len(examples) * i // n_parts for i in range(n_parts + 1)]
    return [put_rows(store, "rows-part", examples[a:b]) for a, b in pairwise(ends)]


def _make_job(model: TrainedModel, rows: Ref, state: Given, adapters: Adapters) -> PredictJob:
    student = state["settings"].student
    return make_predict_job(
        rows,
        student,
        adapters,
        adapter=adapters.store.folder(model.adapter.key) if model.adapter else None,
        adapter_hash=model.adapter.key if model.adapter else None,
        max_new_tokens=student.max_new_tokens or state["data"].max_new_tokens or adapters.task.max_new_tokens,
    )


def _verify(
    examples: Sequence[Example], predictions: Sequence[Prediction], key: str, adapters: Adapters
) -> list[Verdict]:
    if adapters.store.has(key):
        kept = adapters.store.read_rows(key, Verdict)
        if len(kept) == len(predictions):  # else the file lost its end
            return kept
    verdicts = verify_answers(adapters.task, examples, predictions)
    adapters.store.write_rows(key, verdicts)
    return verdicts
