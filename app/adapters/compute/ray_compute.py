"""The driver's side of jobs on a Ray cluster, which any number of drivers may share.

Needs the extra `pada-agent[cluster]`. The board (`ray_board`) decides what runs where.
"""

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import RayActorError, RayError

from pada_agent.app.adapters.compute.local_compute import address_job, has_output
from pada_agent.app.adapters.compute.ray_board import Board
from pada_agent.app.adapters.compute.ray_jobs import INPUTS, NAMESPACE, Heard, Place, Shape, find_shape, to_request
from pada_agent.app.adapters.compute.shared_objects import is_url, name_content, open_objects
from pada_agent.app.adapters.storage.model_store import store_folder
from pada_agent.core.compute_config import ClusterConfig
from pada_agent.core.errors import ConfigError, PadaError, TrainingError
from pada_agent.core.jobs import LAST_GOOD, Job
from pada_agent.core.progress import Progress

POLL_SECONDS = 0.2
"""Time between two checks whether the job was cancelled here."""
KNOCK_SECONDS = 10
VISIBLE_SECONDS = 90
"""Time for an output to be seen here after a node has said that it is there. NFS remembers for a minute that a folder was missing."""
OBJECT_STORE_BYTES = 200_000_000
"""For a cluster that is started here. No artifact passes through its object store."""
_connecting = Lock()
_joined: dict[str, str | None] = {}
"""What settings called the cluster that this process has joined, by the cluster's own address."""


class RayCompute:
    """Implements `core.ports.Compute` with workers on the nodes of a cluster that share the objects folder, or else a store.

    A job starts when it is submitted, and runs once however many drivers submit it. It continues if its driver dies,
    and the next driver that submits it finds it running. A job whose node is lost starts again on another.
    """

    def __init__(
        self,
        objects_folder: Path,
        settings: ClusterConfig,
        *,
        store: str | None = None,
        command: Sequence[str] | None = None,
        checkpoint_minutes: float = 10,
    ) -> None:
        """Args: store: URL of the object store through which the nodes get inputs and give outputs. None: they share the folder."""
        self._here = objects_folder.absolute()
        place = store or str(self._here)
        self._objects = open_objects(place, VISIBLE_SECONDS)
        self._place = Place(
            objects=place,
            models=store_folder().absolute(),
            command=command and tuple(command),
            checkpoint_minutes=checkpoint_minutes,
        )
        self._settings = settings
        self._shape = find_shape(settings)
        self._driver = uuid4().hex
        self._jobs: dict[str, Job] = {}
        self._cancelled: set[str] = set()
        self._closed = False
        self._found_board: Any = None
        self._leaving: Thread | None = None

    def submit(self, job: Job) -> str:
        job_id = address_job(job)
        self._jobs[job_id] = job
        self._cancelled.discard(job_id)
        if not has_output(self._here / job_id) and not self._closed and not self._objects.has(job_id):
            self._send(job_id)
        return job_id

    def wait(self, job_id: str, on_progress: Callable[[Progress], None]) -> Path:
        folder = self._here / job_id
        if not has_output(folder):
            if not self._objects.has(job_id):
                self._follow(job_id, on_progress)
            self._objects.fetch(job_id, folder)
        return folder

    def cancel(self, job_id: str) -> None:
        """The job ends, unless another driver waits for it."""
        self._cancelled.add(job_id)
        self._leave([job_id])

    def close(self) -> None:
        """Stop waiting for anything. Safe in a signal handler, because another thread talks to the cluster."""
        if not self._closed:
            self._closed = True
            self._leaving = Thread(target=self._leave, args=(list(self._jobs),), daemon=True)
            self._leaving.start()

    def _key(self, job_id: str) -> str:
        return f"{self._place.objects}/{job_id}"

    def _leave(self, job_ids: list[str]) -> None:
        if self._found_board is not None:
            with suppress(RayError, RuntimeError):  # the cluster may be gone before us
                ray.get(
                    [self._found_board.leave.remote(self._key(job_id), self._driver) for job_id in job_ids], timeout=10
                )

    def _send(self, job_id: str) -> None:
        job = self._publish_inputs(self._jobs[job_id])
        request = to_request(job_id, job, self._shape, self._place, self._here)
        try:
            ray.get(self._board.submit.remote(request, self._driver, self._settings))
        except RayActorError:  # it ended by itself: there was nothing to do for a while
            self._found_board = None
            _ask(self._board.submit.remote(request, self._driver, self._settings))
        if self._closed or job_id in self._cancelled:  # by another thread, meanwhile
            self._leave([job_id])

    def _publish_inputs(self, job: Job) -> Job:
        """Let the nodes have the objects that the job names. A folder from elsewhere, such as the adapter that `pada evaluate`
        is given, becomes an object with a key of its content.
        """
        here, changes = self._here.resolve(), {}
        for name in INPUTS:
            value = getattr(job, name, None)
            path = Path(value or "").resolve()
            if value and here in path.parents:
                within = path.relative_to(here)
                if has_output(here / within.parts[0]):
                    self._objects.publish(within.parts[0], here / within.parts[0])
                changes[name] = str(self._here / within)  # runs that share objects have links to them
            elif value and path.is_dir() and is_url(self._place.objects):
                key = name_content(path)
                self._objects.publish(key, path)
                changes[name] = f"objects:{key}"
        return job.model_copy(update=changes)

    def _follow(self, job_id: str, on_progress: Callable[[Progress], None]) -> None:
        if job_id not in self._jobs:
            raise TrainingError(f"job {job_id} was not submitted to this backend")
        n_heard = 0
        while (heard := self._hear(job_id, n_heard)) is None or heard.outcome is None or heard.events:
            if heard is None:  # the board was restarted, with nothing in memory, or others cancelled the job
                n_heard = 0
                self._raise_if_stopped(job_id)
                self._send(job_id)
                continue
            n_heard += len(heard.events)
            for event in heard.events:
                on_progress(event)
            if heard.outcome:
                break
        self._raise_if_stopped(job_id)
        if heard.outcome.error:
            self._fetch_last_good(job_id)
        heard.outcome.raise_error(self._here)

    def _fetch_last_good(self, job_id: str) -> None:
        """The error names its folder."""
        kept = f"{job_id}-{LAST_GOOD}"
        with suppress(PadaError):
            if self._objects.has(kept):
                self._objects.fetch(kept, self._here / kept)

    def _hear(self, job_id: str, n_heard: int) -> Heard | None:
        """What is new, once there is something. Meanwhile, checks whether the job was cancelled here."""
        self._raise_if_stopped(job_id)
        asked = self._board.follow.remote(self._key(job_id), self._driver, n_heard)
        while not ray.wait([asked], timeout=POLL_SECONDS)[0]:
            self._raise_if_stopped(job_id)
        heard: Heard | None = _ask(asked)
        return heard

    def _raise_if_stopped(self, job_id: str) -> None:
        if self._closed:
            raise TrainingError(f"job {job_id}: compute is closed")
        if job_id in self._cancelled:
            raise TrainingError(f"job {job_id} was cancelled")

    @property
    def _board(self) -> Any:
        if self._found_board is None:
            with _connecting:
                connect(self._settings)
                _check_room(self._shape, self._settings)
                self._found_board = self._find_board()
        return self._found_board

    def _find_board(self) -> Any:
        """The cluster's only board. It runs on the head node, which outlives the others."""
        board = ray.remote(Board).options(
            name="board",
            namespace=NAMESPACE,
            get_if_exists=True,
            lifetime="detached",
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=1000,
            resources={"node:__internal_head__": 0.001},
        )
        return board.remote(self._settings)


def connect(settings: ClusterConfig) -> None:
    """Join the cluster, unless this process has already joined it, or the application has joined one of its own.

    Raises:
        ConfigError: there is no cluster at the address, it has another version, or Ray does not start here; or an earlier run in
            this process has joined another cluster.
    """
    address = settings.address
    if ray.is_initialized():
        joined = ray.get_runtime_context().gcs_address
        named = _joined.get(joined, address)
        if named != address and joined != (os.environ.get("RAY_ADDRESS") if address == "auto" else address):
            raise ConfigError(
                f"compute.cluster.address: {address!r}, but an earlier run in this process has joined {named!r}, and a process can"
                " only be in one Ray cluster. Use the same address, or another process."
            )
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    started: dict[str, Any] = {} if address else {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        _knock(os.environ.get("RAY_ADDRESS", "") if address == "auto" else address or "")
        ray.init(
            address=address or "local", namespace=NAMESPACE, log_to_driver=False, configure_logging=False, **started
        )
    except Exception as exc:  # where a node starts too slowly, Ray raises just this
        reason = str(exc).rstrip(".")
        if not address:
            raise ConfigError(
                f"compute.cluster.address: Ray did not start on this machine ({reason}). If the machine is busy, try again, or start Ray"
                " yourself with `ray start --head` and set the address to auto."
            ) from exc
        raise ConfigError(
            f"compute.cluster.address: no Ray cluster can be joined at {address!r} ({reason}). Start one with `ray start --head`"
            " (docs/cluster.md says how to make its token), or set it to null, which starts one on this machine."
        ) from exc
    _joined[ray.get_runtime_context().gcs_address] = address


def _knock(address: str) -> None:
    """Check that something listens there, because Ray itself would wait for minutes.

    Raises:
        OSError: nothing listens.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()


def _check_room(shape: Shape, settings: ClusterConfig) -> None:
    needed = {"CPU": float(shape.num_cpus), "GPU": shape.num_gpus, f"accelerator_type:{shape.accelerator}": 0.001}
    needed = {name: n for name, n in needed.items() if n and name != "accelerator_type:None"}
    nodes = [node["Resources"] for node in _list_nodes() if node["Alive"]]
    if settings.autoscaling or any(all(node.get(name, 0) >= n for name, n in needed.items()) for node in nodes):
        return
    have = "; ".join(f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in nodes)
    raise ConfigError(
        f"compute.cluster: a worker needs {shape}, and no node of the cluster has that ({have}). Lower num_cpus or num_gpus, or"
        " set autoscaling: true if the cluster scales automatically."
    )


def _list_nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes


def _ask(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayActorError as exc:
        raise TrainingError(
            f"the Ray cluster no longer answers ({' '.join(str(exc).split())[:200]}). Finished jobs are kept:"
            " continue the run when the cluster is back."
        ) from exc
