"""A worker of a Ray cluster: the worker process of `LocalCompute`, on whichever node Ray puts it."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from pada_agent.app.adapters.compute.local_compute import WORKER, LocalCompute, WorkerKilledError, has_output
from pada_agent.app.adapters.compute.ray_jobs import JobRequest, Outcome, Place, Shape, describe_failure, to_job
from pada_agent.app.adapters.compute.shared_objects import find_folder, open_objects
from pada_agent.app.adapters.storage.artifacts import stamp
from pada_agent.core.errors import ArtifactError, PadaError
from pada_agent.core.jobs import LAST_GOOD
from pada_agent.core.progress import Progress

GRACE_SECONDS = 3
"""If a node is taken away, the child may be killed before the actor. Then nobody is left to say that the job failed."""
NODE_SECONDS = 1
"""Time between two checks whether the node's own process is still there."""


class RayWorker:
    """An actor that runs one job after the other, and keeps the student loaded in a child process between jobs.

    If the child crashes, for example for lack of memory, that is the job's error. The actor itself is lost only with
    its node.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._cancelled: set[str] = set()
        self._place: Place | None = None
        self._compute: LocalCompute | None = None
        self._is_given_up = Event()
        Thread(target=self._end_with_node, args=(os.getppid(),), daemon=True).start()

    def is_ready(self) -> bool:
        """Answers once Ray has placed and started the actor."""
        return True

    def run(self, request: JobRequest, ticket: str, board: Any) -> Outcome:
        """Run the job, or join it if it is already running here. Its progress goes to the board, one event after the other: an
        async actor may begin calls in another order than they were made.

        A job's own error is returned as an outcome, so that Ray does not repeat the job.
        """
        import ray

        last: list[Any] = []

        def await_last() -> None:
            with suppress(ray.exceptions.RayError):  # a board that is gone costs the event, not the job
                ray.get(last)

        def report(progress: Progress) -> None:
            await_last()
            last[:] = [board.report.remote(request.key, progress)]

        try:
            return self.run_job(request, ticket, report)
        finally:
            await_last()

    def run_job(self, request: JobRequest, ticket: str, report: Callable[[Progress], None]) -> Outcome:
        """Fetch what the job needs, run it, and publish what it gives."""
        try:
            self._run(request, ticket, report)
        except Exception as exc:  # noqa: BLE001  (any other would be the actor's, and nobody would know what happened)
            if isinstance(exc, WorkerKilledError):
                time.sleep(GRACE_SECONDS)
            if self._is_given_up.is_set():
                Event().wait()  # the node is lost, which is no error of the job: give no answer until this process ends
            return describe_failure(exc, find_folder(request.place.objects))
        return Outcome()

    def _run(self, request: JobRequest, ticket: str, report: Callable[[Progress], None]) -> None:
        job_id, objects = request.job_id, open_objects(request.place.objects)
        if objects.has(job_id):
            return
        compute = self._open(request.place)
        compute.submit_as(job_id, to_job(request))
        if ticket in self._cancelled:
            compute.cancel(job_id)
        try:
            with sharing_checkpoint(request, compute.name_checkpoint(job_id), report) as report_and_save:
                folder = compute.wait(job_id, report_and_save)
        except PadaError:
            kept = find_folder(request.place.objects) / f"{job_id}-{LAST_GOOD}"
            if has_output(kept):
                with suppress(ArtifactError):
                    objects.publish(kept.name, kept)
            raise
        objects.publish(job_id, folder)

    def cancel(self, job_id: str, ticket: str) -> None:
        self._cancelled.add(ticket)
        if self._compute:
            self._compute.cancel(job_id)

    def _end_with_node(self, node: int) -> None:
        """End when the node's own process, the parent, ends. A node that was silent, and then wakes up, finds itself
        given up and leaves. Without this, its workers would continue jobs that others have taken over.
        """
        while os.getppid() == node:
            time.sleep(NODE_SECONDS)
        self._is_given_up.set()
        if self._compute:
            self._compute.close()
        time.sleep(GRACE_SECONDS)  # the thread with the job removes what it wrote
        os._exit(1)

    def _open(self, place: Place) -> LocalCompute:
        """The backend for this place. If the place changes, the student has to be loaded again."""
        if self._compute is None or self._place != place:
            if self._compute:
                self._compute.close()
            self._place = place
            folder = find_folder(place.objects)
            self._compute = LocalCompute(
                folder,
                folder.parent / "workers" / f"{os.uname().nodename}-{os.getpid()}.log",
                device="cuda"
                if self._shape.num_gpus
                else "cpu",  # Ray leaves GPUs visible to actors that asked for none
                threads=self._shape.num_cpus,
                checkpoint_minutes=place.checkpoint_minutes,
                command=place.command or WORKER,
            )
        return self._compute


@contextmanager
def sharing_checkpoint(
    request: JobRequest, file: Path, report: Callable[[Progress], None]
) -> Iterator[Callable[[Progress], None]]:
    """Begin with the checkpoint of the node that had this job before, and let the next node have those that are made here.

    Yields what to call with the job's progress. A store that cannot be reached costs the checkpoint, not the job.
    """
    if request.job["kind"] != "fine_tune":
        yield report
        return
    key, objects = request.job_id, open_objects(request.place.objects)
    with suppress(ArtifactError):
        objects.load(key, file)  # in place of one that this node has left from an earlier attempt of its own
    saved = stamp(file)

    def report_and_save(progress: Progress) -> None:
        nonlocal saved
        report(progress)
        if (found := stamp(file)) and found != saved:
            saved = found
            with suppress(ArtifactError):
                objects.save(key, file)

    try:
        yield report_and_save
    finally:
        if not file.exists():  # the job is done, or failed by itself
            objects.forget(key)
