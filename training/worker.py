"""The worker: a warm child process that runs one job after the other (`python -m pada_agent.training.worker`).

Reads one `{"job": Job, "folder": "where to write", "checkpoint": "file"}` per line from stdin (`core/jobs.py` has all kinds); writes events to stdout:
`{"event": "progress", ...Progress}`, `{"event": "done", "folder": ...}`, `{"event": "error", "type": ..., "message": ..., "usable": whether it can go on}`.
Ends when stdin closes, even in the middle of a job, so it never outlives its parent, however that died.
Environment: PADA_DEVICE (auto, cpu, cuda), PADA_THREADS (CPU threads), PADA_CHECKPOINT_MINUTES (between two checkpoints of a job).
For a fine-tuning in several processes, it is the first of them and starts the others (`crew`).
"""

import gc
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TextIO

import torch
import transformers
from pydantic import Field, TypeAdapter

from pada_agent.core.damage import FREE_SPACE
from pada_agent.core.errors import ArtifactError, DatasetError, PadaError, TrainingError
from pada_agent.core.jobs import (
    PREDICTIONS,
    ExportJob,
    FineTuneJob,
    Job,
    LoadIn,
    PredictJob,
    TokenizerJob,
    advise_on_memory,
)
from pada_agent.core.json_lines import read_json_lines, to_json_lines
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example, Prediction, Record
from pada_agent.core.vllm_limits import check_installed
from pada_agent.training.crew import RANK, GiveUp, Team, check_gpus, end_at_once, gather, join
from pada_agent.training.export.merged_model import export
from pada_agent.training.fine_tuning import fine_tune
from pada_agent.training.generation.vllm_writer import VllmWriter
from pada_agent.training.job_checkpoint import JobCheckpoint
from pada_agent.training.json_pipes import claim_stdout, read_stdin
from pada_agent.training.lora import check_targets
from pada_agent.training.memory import is_disk_full, is_out_of_memory
from pada_agent.training.predicting import predict
from pada_agent.training.quantization import check_4bit
from pada_agent.training.students import Student, choose_device, draw_model, load_student, save_tokenizer

LARGEST_COPY = 4 * 2**30
"""Largest student, in bytes, that is copied to merge an adapter. A larger one is merged in place, and loaded again for the next job."""
NICENESS = 5
"""Keeps a server on the same machine responsive."""


class Request(Record):
    """One line of stdin."""

    job: Job = Field(discriminator="kind")
    folder: str
    checkpoint: str | None = None
    """File in which a fine-tuning keeps its state between steps."""


class Worker:
    """Runs jobs and keeps the last student loaded, or vLLM running.

    Args:
        give_up: called if another process of a fine-tuning fails while this one waits for it.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        checkpoint_minutes: float = 10,
        give_up: GiveUp = end_at_once,
    ) -> None:
        self._device = device
        self._give_up = give_up
        self._checkpoint_seconds = 60 * checkpoint_minutes
        self._loaded: tuple[tuple[str, LoadIn | None], Student] | None = None
        self._vllm = VllmWriter(device)

    def run(self, request: Request, on_progress: Callable[[Progress], None]) -> None:
        """Run the job and write its output to `request.folder`."""
        n_processes = request.job.n_processes if isinstance(request.job, FineTuneJob) else 1
        if n_processes > 1 and RANK not in os.environ:
            gathering = gather(n_processes, self._device, request.model_dump_json(), self._give_up)
        else:
            gathering = join(os.environ, self._device)
        with gathering as team:
            self._run(request, team, on_progress)

    def _run(self, request: Request, team: Team, on_progress: Callable[[Progress], None]) -> None:
        folder = Path(request.folder)
        if team.is_first:
            folder.mkdir(parents=True, exist_ok=True)
        if isinstance(request.job, TokenizerJob):
            check_before_run(request.job, self._device)
            save_tokenizer(request.job.student, folder)
            return
        examples = read_examples(Path(request.job.rows))
        if isinstance(request.job, PredictJob):
            write_rows(folder / PREDICTIONS, self._predict(request.job, examples, on_progress))
            return
        if isinstance(request.job, ExportJob):  # merging needs the weights as they are
            export(
                self._take(
                    request.job.student, None, on_progress
                ),  # named nowhere else, so that `export` can let go of it
                request.job,
                examples,
                folder=folder,
                on_progress=on_progress,
            )
            return
        wanted = request.job.student, request.job.load_in
        student = self._take(*wanted, on_progress)
        kept = Path(request.checkpoint) if request.checkpoint and team.is_first else None
        fine_tune(
            student,
            request.job,
            examples,
            folder=folder,
            on_progress=on_progress,
            checkpoint=JobCheckpoint(kept, seconds=self._checkpoint_seconds),
            team=team,
        )
        self._loaded = (wanted, student)

    def _predict(
        self, job: PredictJob, examples: Sequence[Example], on_progress: Callable[[Progress], None]
    ) -> list[Prediction]:
        """Predict all rows with our own engine; or rows with options with it, then the others with vLLM. The two never share memory."""
        by_vllm = [row for row in examples if not row.options] if job.engine == "vllm" else []
        by_us = [row for row in examples if row.options] if by_vllm else examples
        chosen = iter(self._predict_ourselves(job, by_us, on_progress) if by_us else ())
        if not by_vllm:
            return list(chosen)
        self._loaded = None
        free_memory()
        written = iter(self._vllm.write(job, by_vllm, on_progress=on_progress))
        return [next(chosen if row.options else written) for row in examples]

    def _predict_ourselves(
        self, job: PredictJob, examples: Sequence[Example], on_progress: Callable[[Progress], None]
    ) -> list[Prediction]:
        student = self._take(job.student, job.load_in, on_progress)
        in_place = bool(job.adapter) and student.n_bytes > LARGEST_COPY and not student.is_in_4bit
        predictions = predict(student, job, examples, on_progress=on_progress, merge_in_place=in_place)
        if not in_place:
            self._loaded = ((job.student, job.load_in), student)
        return predictions

    def _take(self, name: str, load_in: LoadIn | None, on_progress: Callable[[Progress], None]) -> Student:
        """The student kept from the last job, or a new one. A failed job does not return it, because it may be half adapted."""
        self._vllm.close()
        kept, self._loaded = self._loaded, None
        if kept is not None and kept[0] == (name, load_in):
            return kept[1]
        del kept
        on_progress(Progress(stage="load", done=0, total=1, detail=name))
        started = time.monotonic()
        student = load_student(name, self._device, load_in)
        took = f"{name}, loaded in {time.monotonic() - started:.1f} s"
        on_progress(Progress(stage="load", done=1, total=1, detail=took))
        return student


def check_before_run(job: TokenizerJob, device: torch.device) -> None:
    """Whether this machine can do what a run's later jobs will ask.

    Raises:
        ConfigError: vLLM or bitsandbytes is missing or not for this device, or there are too few GPUs.
        TrainingError: the student does not have the layers that are to be adapted, or cannot be kept in 4 bits.
    """
    check_gpus(job.n_processes, device)
    if job.engine == "vllm":
        check_installed("cuda" if device.type == "cuda" else "cpu")
    check_targets(job.target_modules, job.student)
    if job.load_in:
        check_4bit(draw_model(job.student), job.student, device)


def free_memory() -> None:
    """Release GPU memory that no student needs any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def write_rows(path: Path, rows: Sequence[Record]) -> None:
    """Write the rows, one per line."""
    path.write_text(to_json_lines(rows), encoding="utf-8")


def read_examples(path: Path) -> list[Example]:
    """The rows of a JSON Lines file.

    Raises:
        DatasetError: the file is missing or a line is not an Example.
    """
    try:
        return read_json_lines(path, Example)
    except ArtifactError as exc:
        raise DatasetError(str(exc)) from exc


def serve(requests: Iterator[str], events: TextIO, run: Callable[[Request, Callable[[Progress], None]], None]) -> None:
    """Answer each request with progress events and one `done` or `error`."""
    emit = partial(_emit, events)
    for line in requests:
        request = TypeAdapter(Request).validate_json(line)
        try:
            run(request, lambda progress: emit("progress", **progress.model_dump()))
            emit("done", folder=request.folder)
        except PadaError as exc:
            emit("error", type=type(exc).__name__, message=str(exc), usable=True)
        except Exception as exc:  # noqa: BLE001  (the parent turns it into a TrainingError; the log keeps the traceback)
            traceback.print_exc()
            error = explain(exc, request.job)
            emit("error", type=type(error).__name__, message=str(error), usable=False)


def _emit(events: TextIO, event: str, **values: object) -> None:
    events.write(json.dumps({"event": event, **values}) + "\n")
    events.flush()


def explain(exc: Exception, job: Job) -> PadaError:
    """The error to report: in the user's terms if memory or disk space ran out, otherwise unchanged."""
    words = f"{type(exc).__name__}: {exc}"
    if is_disk_full(exc):
        return ArtifactError(f"the disk is full ({words}). {FREE_SPACE}")
    if is_out_of_memory(exc):
        return TrainingError(f"out of memory ({words}): {advise_on_memory(job)}.")
    return TrainingError(words)


def main() -> None:
    """Serve stdin until it closes."""
    os.nice(0 if RANK in os.environ else NICENESS)  # a process started by a worker inherits its niceness
    if threads := os.environ.get("PADA_THREADS"):
        torch.set_num_threads(int(threads))
    transformers.utils.logging.disable_progress_bar()
    events = claim_stdout()

    def give_up(kind: str, message: str) -> None:
        _emit(events, "error", type=kind, message=message)
        os._exit(1)

    worker = Worker(
        choose_device(os.environ.get("PADA_DEVICE", "auto"), int(os.environ.get(RANK, "0"))),
        checkpoint_minutes=float(os.environ.get("PADA_CHECKPOINT_MINUTES", "10")),
        give_up=give_up,
    )
    serve(read_stdin(), events, worker.run)


if __name__ == "__main__":
    main()
