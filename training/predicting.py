"""Answers of the student, with or without an adapter."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from peft import PeftModel

from pada_agent.core.errors import TrainingError
from pada_agent.core.jobs import PREDICTIONS, PredictJob
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example, Prediction
from pada_agent.training.generation.greedy import generate
from pada_agent.training.scoring import score_options
from pada_agent.training.students import Student


def predict(
    student: Student,
    job: PredictJob,
    examples: Sequence[Example],
    *,
    folder: Path,
    on_progress: Callable[[Progress], None],
) -> None:
    """Write `predictions.jsonl` into `folder`, in the order of the rows. Rows with options choose, the others generate."""
    if job.adapter:
        student = merge_adapter(student, Path(job.adapter))
    start = time.perf_counter()

    def report(done: int) -> None:
        rate = done / (time.perf_counter() - start)
        on_progress(Progress(stage="predict", done=done, total=len(examples), rate=rate, unit="rows"))

    write_predictions(folder / PREDICTIONS, answer_rows(student, job, examples, on_done=report))


def answer_rows(
    student: Student, job: PredictJob, examples: Sequence[Example], *, on_done: Callable[[int], None]
) -> list[Prediction]:
    """A prediction for each row, in order."""
    encoder = student.encode_by(job.chat)
    choosing = [example for example in examples if example.options]
    writing = [example for example in examples if not example.options]
    chosen = iter(score_options(student, encoder, choosing, on_done=on_done)) if choosing else iter(())
    written = iter(generate(student, encoder, writing, job=job, on_done=lambda n: on_done(len(choosing) + n)))
    return [next(chosen if example.options else written) for example in examples]


def merge_adapter(student: Student, adapter: Path) -> Student:
    """A copy of the student with the adapter merged into its weights: the kept one stays bit-identical.

    Raises:
        TrainingError: not an adapter, or one for another model.
    """
    try:
        adapted = PeftModel.from_pretrained(copy.deepcopy(student.model), str(adapter))
    except (OSError, ValueError, RuntimeError) as exc:
        raise TrainingError(f"adapter {adapter} does not load on student {student.source}: {exc}") from exc
    return replace(student, model=adapted.merge_and_unload().eval())


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    path.write_text("".join(f"{p.model_dump_json()}\n" for p in predictions), encoding="utf-8")
