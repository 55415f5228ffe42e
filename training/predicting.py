"""Predictions of the student, with or without an adapter."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pada_agent.core.jobs import PredictJob
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example, Prediction
from pada_agent.training.generation.greedy import generate
from pada_agent.training.lora import load_adapter
from pada_agent.training.scoring import score_options
from pada_agent.training.students import Student


def predict(
    student: Student,
    job: PredictJob,
    examples: Sequence[Example],
    *,
    on_progress: Callable[[Progress], None],
    merge_in_place: bool = False,
) -> list[Prediction]:
    """A prediction for each row, in order, with the job's adapter. For rows with options the student chooses, for others it writes.

    With `merge_in_place`, the student keeps the adapter in its weights: this saves a copy, but no other job can use the student.
    """
    start = time.perf_counter()
    with _take_adapter(student, job.adapter, merge_in_place=merge_in_place) as answering:

        def report(done: int) -> None:
            rate = done / (time.perf_counter() - start)
            on_progress(Progress(stage="predict", done=done, total=len(examples), rate=rate, unit="rows"))

        return answer_rows(answering, job, examples, on_done=report)


@contextmanager
def _take_adapter(student: Student, adapter: str | None, *, merge_in_place: bool) -> Iterator[Student]:
    if not adapter:
        yield student
    elif student.is_in_4bit:
        with apply_adapter(student, Path(adapter)) as adapted:
            yield adapted
    else:
        yield merge_adapter(student, Path(adapter), in_place=merge_in_place)


def answer_rows(
    student: Student, job: PredictJob, examples: Sequence[Example], *, on_done: Callable[[int], None]
) -> list[Prediction]:
    """A prediction for each row, in order, by the given student."""
    encoder = student.encode_by(job.chat)
    choosing = [example for example in examples if example.options]
    writing = [example for example in examples if not example.options]
    chosen = iter(score_options(student, encoder, choosing, on_done=on_done)) if choosing else iter(())
    written = iter(generate(student, encoder, writing, job=job, on_done=lambda n: on_done(len(choosing) + n)))
    return [next(chosen if example.options else written) for example in examples]


@contextmanager
def apply_adapter(student: Student, adapter: Path, *, any_weights: bool = False) -> Iterator[Student]:
    """The student with the adapter beside its weights, not merged. Afterwards, the student is as before. See `load_adapter`.

    Raises:
        TrainingError: this is not an adapter, or it is for another model.
    """
    with _restored(student.model):
        adapted = load_adapter(student, student.model, adapter, any_weights=any_weights)
        try:
            yield replace(student, model=adapted.eval(), adapter=adapter)
        finally:
            adapted.unload()


@contextmanager
def _restored(model: Any) -> Iterator[None]:
    """Afterwards, the model has its own layers and biases again. PEFT leaves whole trained layers and biases of an adapter in it."""
    layers = dict(model.named_modules())
    biases = [(p, p.detach().clone()) for name, p in model.named_parameters() if name.endswith("bias")]
    try:
        yield
    finally:
        for path, layer in layers.items():
            if model.get_submodule(path) is not layer:
                model.set_submodule(path, layer)
        for bias, value in biases:
            bias.data.copy_(value)


def merge_adapter(student: Student, adapter: Path, *, in_place: bool = False, any_weights: bool = False) -> Student:
    """A copy of the student with the adapter merged into its weights. The original does not change, unless `in_place`. See `load_adapter`.

    Raises:
        TrainingError: this is not an adapter, or it is for another model.
    """
    model = student.model if in_place else copy.deepcopy(student.model)
    adapted = load_adapter(student, model, adapter, any_weights=any_weights)
    _untie(adapted)
    return replace(student, model=adapted.merge_and_unload().eval(), adapter=adapter)


def _untie(adapted: Any) -> None:
    """Give tied input and output embeddings separate weights if the adapter changes either: merged, it would change both."""
    layers = [adapted.get_input_embeddings(), adapted.get_output_embeddings()]
    bases = [getattr(layer, "base_layer", layer) for layer in layers]
    changed = any(base is not layer for base, layer in zip(bases, layers, strict=True))
    if None in bases or not changed or bases[0].weight is not bases[1].weight:
        return
    bases[1].weight = torch.nn.Parameter(bases[1].weight.detach().clone(), requires_grad=False)
    adapted.config.get_text_config(decoder=True).tie_word_embeddings = False
    adapted.config.tie_word_embeddings = False
