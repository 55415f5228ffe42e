"""Runs jobs on this machine, in one worker process that starts with the first job and stays warm."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO
from uuid import uuid4

from pada_agent.app.adapters.storage.artifacts import explain_writing
from pada_agent.core.durability import replace_durably
from pada_agent.core.errors import (
    ArtifactError,
    ConfigError,
    DatasetError,
    NonFiniteLossError,
    PadaError,
    TrainingError,
    make_error,
)
from pada_agent.core.jobs import LAST_GOOD, TRAIN_METRICS, FineTuneJob, Job, LoraSpec, TokenizerJob, advise_on_memory
from pada_agent.core.lines import split_lines
from pada_agent.core.machine import add_waiting, count_cores, hash_once
from pada_agent.core.progress import Progress

WORKER = (sys.executable, "-m", "pada_agent.training.worker")

CONTENT = frozenset({".safetensors", ".bin", ".json", ".jinja", ".model", ".txt"})
"""Suffixes of the files in a model folder that decide a job's result: weights, settings, chat template, vocabulary."""

LASTING = (ConfigError, DatasetError, NonFiniteLossError)
"""Failures that the job itself causes, so it would fail again. Others may pass: a full disk or memory, a lost GPU."""

Process = subprocess.Popen[str]


class WorkerKilledError(TrainingError):
    """Something killed the worker: the system, for lack of memory, or whoever takes the machine away."""


class LocalCompute:
    """Implements `core.ports.Compute` with a child process.

    Outputs appear in `objects_folder/<job id>/` once they are complete; a job that has them never runs again. A job
    runs in the thread that waits for it, one at a time. A worker that died, or whose last failure was not the job's own
    fault, is replaced for the next job. If the parent dies, the worker ends by itself, because its stdin closes.
    """

    def __init__(
        self,
        objects_folder: Path,
        log_file: Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        checkpoint_minutes: float = 10,
        command: Sequence[str] = WORKER,
    ) -> None:
        self._objects = objects_folder
        self._log_file = log_file
        self._log_start = 0
        self._environment = {
            "PADA_DEVICE": device,
            "PADA_THREADS": str(threads or count_cores()),
            "PADA_CHECKPOINT_MINUTES": str(checkpoint_minutes),
        }
        self._keeps_checkpoints = checkpoint_minutes > 0
        self._command = tuple(command)
        self._jobs: dict[str, Job] = {}
        self._cancelled: set[str] = set()
        self._running: str | None = None
        self._worker: Process | None = None
        self._closed = False
        self._one_at_a_time = Lock()

    def submit(self, job: Job) -> str:
        """Accept the job. It starts when a thread waits for it. After a failure or a cancellation it may be submitted again."""
        job_id = address_job(job)
        self.submit_as(job_id, job)
        return job_id

    def submit_as(self, job_id: str, job: Job) -> None:
        """Accept a job whose id was computed on another machine, from that machine's files."""
        self._jobs[job_id] = job
        self._cancelled.discard(job_id)

    def wait(self, job_id: str, on_progress: Callable[[Progress], None]) -> Path:
        folder = self._objects / job_id
        with self._one_at_a_time:
            if not has_output(folder):
                self._run(job_id, on_progress)
        return folder

    def cancel(self, job_id: str) -> None:
        self._cancelled.add(job_id)
        if self._running == job_id:
            self._kill()

    def close(self) -> None:
        """End the worker at once. Running and waiting jobs fail in their own threads. Takes no lock, so it is safe in a signal handler."""
        self._closed = True
        self._kill()

    def _run(self, job_id: str, on_progress: Callable[[Progress], None]) -> None:
        job = self._jobs.get(job_id)
        if job is None:
            raise TrainingError(f"job {job_id} was not submitted to this backend")
        self._raise_if_stopped(job_id)  # a closed backend starts no other worker for those that waited
        folder, scratch = self._objects / job_id, self._objects / f".{job_id}.{uuid4().hex[:12]}"
        self._running = job_id
        try:
            worker = self._start_worker()
            self._raise_if_stopped(job_id)
            request = {
                "job": job.model_dump(mode="json"),
                "folder": str(scratch),
                "checkpoint": str(self.name_checkpoint(job_id)) if self._keeps_checkpoints else None,
            }
            _send(worker, json.dumps(request))
            self._follow(worker, job_id, scratch, on_progress)
            _move_in(scratch, folder)
        except PadaError:
            self._raise_if_stopped(job_id)
            if not has_output(folder):  # else another attempt finished meanwhile, and removed what this one needs
                raise
        finally:
            self._running = None
            shutil.rmtree(scratch, ignore_errors=True)
            if has_output(folder):
                _remove_attempts(self._objects, job_id)

    def _follow(self, worker: Process, job_id: str, scratch: Path, on_progress: Callable[[Progress], None]) -> None:
        try:
            failure, is_usable = _read_events(worker, on_progress)
        except EOFError as exc:
            code = _bury(worker, grace_seconds=5)
            self._raise_if_stopped(job_id)
            kind = WorkerKilledError if code == -signal.SIGKILL else TrainingError
            how = _explain_exit(code, self._jobs[job_id])
            raise kind(f"the training worker ended ({how}). {self._last_words()}") from exc
        except BaseException:
            # Interrupted halfway: this worker continues its job, so the next job needs another worker.
            _bury(worker)
            raise
        if isinstance(failure, LASTING):
            self.name_checkpoint(job_id).unlink(missing_ok=True)  # it leads to the same failure again
        if not is_usable:
            _bury(worker)
        if failure is not None:
            raise _keep_last_good(failure, scratch, self._objects / f"{job_id}-{LAST_GOOD}")

    def name_checkpoint(self, job_id: str) -> Path:
        """What a killed fine-tuning continues from, on this machine or another that shares the folder."""
        return self._objects / f".{job_id}.checkpoint"

    def _raise_if_stopped(self, job_id: str) -> None:
        if self._closed or job_id in self._cancelled:
            raise TrainingError(
                f"job {job_id} was cancelled" if not self._closed else f"job {job_id}: compute is closed"
            )

    def _start_worker(self) -> Process:
        if self._worker is not None and self._worker.poll() is None:
            return self._worker
        if self._worker is not None:
            _bury(self._worker)
        try:
            return self._spawn()
        except OSError as exc:
            raise TrainingError(
                f"the training worker cannot be started: {exc}. Its log goes to {self._log_file}."
            ) from exc

    def _spawn(self) -> Process:
        self._objects.mkdir(parents=True, exist_ok=True)
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as log:
            self._log_start = log.tell()
            self._worker = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                env=add_waiting(os.environ) | self._environment,
                start_new_session=True,  # Ctrl-C is for the parent, which decides
            )
        return self._worker

    def _kill(self) -> None:
        """Kill the worker. The thread that follows it notices and cleans up; if there is none, that is done here."""
        if (worker := self._worker) is not None:
            worker.kill()
            if self._running is None:
                _bury(worker)

    def _last_words(self) -> str:
        with self._log_file.open("rb") as log:
            log.seek(self._log_start)
            lines = split_lines(log.read().decode("utf-8", "replace").strip())[-5:]
        return f"The end of its log, {self._log_file}: {' | '.join(lines) or '(none)'}"


def address_job(job: Job) -> str:
    """The job's id: a hash of what its result depends on, but not of where rows and models are stored."""
    spec = job.model_dump(mode="json", exclude={"rows", "adapter", "start_from", *_list_unused(job)})
    spec["student"] = identify_model(job.student)
    if isinstance(job, FineTuneJob):
        spec["lora"] = job.lora.model_dump(mode="json", exclude=_list_unused(job.lora))
        spec["start_from"] = job.start_from and identify_model(job.start_from)
    elif isinstance(job, TokenizerJob):
        spec = job.model_dump(mode="json", exclude_defaults=True) | {"kind": job.kind, "student": spec["student"]}
    else:
        spec["adapter_hash"] = job.adapter_hash or (job.adapter and identify_model(job.adapter))
    return f"{job.kind}-{hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]}"


_LATER = {"load_in", "engine", "n_processes", "rslora", "dora", "init", "gradient_checkpointing"}


def _list_unused(spec: Job | LoraSpec) -> set[str]:
    """Settings that came later change no id until they are used, so adapters of earlier runs are found again."""
    fields = type(spec).model_fields
    return {name for name in _LATER & fields.keys() if getattr(spec, name) == fields[name].default}


def identify_model(model: str) -> str:
    """Content hash of a model file or folder. A hub id stands for itself."""
    files = list_content(Path(model))
    return "-".join(hash_once(file)[:16] for file in files) if files else model


def list_content(path: Path) -> list[Path]:
    """The files of a model that decide a job's result: the file itself, or those of the folder, in order."""
    if path.is_file():
        return [path]
    return sorted(p for p in path.glob("*") if p.suffix in CONTENT and p.name != TRAIN_METRICS)


def _keep_last_good(failure: PadaError, scratch: Path, target: Path) -> PadaError:
    """The failure, with the place of the adapter that the job had before it failed, if there is one."""
    if not (scratch / LAST_GOOD).is_dir():
        return failure
    shutil.rmtree(target, ignore_errors=True)
    replace_durably(scratch / LAST_GOOD, target)
    return type(failure)(f"{failure} The adapter of the last finite loss is kept in {target}.")


def _move_in(scratch: Path, folder: Path) -> None:
    """Move the output into place. If another process of the same experiment finished the same job meanwhile, its output stays.

    Raises:
        ArtifactError: it cannot be there, or the disk is full.
    """
    try:
        with explain_writing(folder):
            replace_durably(scratch, folder)
    except ArtifactError:
        if not has_output(folder):
            raise


def _remove_attempts(objects: Path, job_id: str) -> None:
    """Remove the checkpoint of a finished job, and what attempts left behind whose machine was lost."""
    for path in objects.glob(f".{job_id}.*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def has_output(folder: Path) -> bool:
    """Whether the job with this folder has finished."""
    return folder.is_dir() and any(folder.iterdir())


def _send(worker: Process, line: str) -> None:
    stdin: IO[str] = worker.stdin  # type: ignore[assignment]
    with suppress(BrokenPipeError):  # the end of its output, awaited next, explains it
        stdin.write(line + "\n")
        stdin.flush()


def _read_events(worker: Process, on_progress: Callable[[Progress], None]) -> tuple[PadaError | None, bool]:
    """Follow one job to its end. Returns its failure, if it failed, and whether the worker can take another job.

    Raises:
        EOFError: the worker ended.
    """
    stdout: IO[str] = worker.stdout  # type: ignore[assignment]
    for line in stdout:
        if not line.endswith("\n"):  # it ended in the middle of a word
            break
        event = json.loads(line)
        kind = event.pop("event")
        if kind == "done":
            return None, True
        if kind == "error":
            return make_error(event["type"], event["message"]), event.get("usable", True)
        on_progress(Progress.model_validate(event))
    raise EOFError


def _bury(worker: Process, *, grace_seconds: float = 0) -> int:
    """End the process, at once or after it had time to end by itself, and close its pipes. Returns its exit status."""
    try:
        worker.wait(timeout=grace_seconds)
    except subprocess.TimeoutExpired:
        worker.kill()
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    return worker.wait()


def _explain_exit(code: int, job: Job) -> str:
    if code == -signal.SIGKILL:
        return f"killed, probably for lack of memory: {advise_on_memory(job)}"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
