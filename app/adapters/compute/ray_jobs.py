"""What a driver and the actors of a Ray cluster tell each other about a job, and where its files are on each machine."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pada_agent.app.adapters.compute.shared_objects import find_folder, open_objects
from pada_agent.app.adapters.storage.model_store import store_folder
from pada_agent.core.compute_config import ClusterConfig
from pada_agent.core.errors import PadaError, TrainingError, make_error
from pada_agent.core.jobs import Job
from pada_agent.core.progress import Progress
from pada_agent.core.records import Record

NAMESPACE = "pada"
INPUTS = ("rows", "adapter", "start_from")
"""Fields of a job that name an object: a file in its folder, or the folder."""
PATHS = (*INPUTS, "student")
"""Fields of a job that name a file or folder."""
_JOB: TypeAdapter[Job] = TypeAdapter(Job)


class Shape(Record):
    """The resources that a worker takes from its node."""

    num_cpus: int
    num_gpus: float
    accelerator: str | None = None

    def __str__(self) -> str:
        gpus = f" and {self.num_gpus:g} GPU" if self.num_gpus else ""
        kind = f" ({self.accelerator})" if self.accelerator else ""
        return f"{self.num_cpus} CPU{gpus}{kind}"


class Place(Record):
    """Where jobs run: the folder of their objects, and how a worker process is started."""

    objects: str
    """A path, the same on all nodes, or the URL of an object store."""
    models: Path
    """The driver's model store. Each node has its own."""
    command: tuple[str, ...] | None = None
    """None: ours, with the node's own Python."""
    checkpoint_minutes: float = 10
    """Between two checkpoints of a fine-tuning. 0 keeps none."""


class JobRequest(Record):
    """A job on its way to a worker. Paths below a known root begin with the root's name, as in `objects:rows-1f/rows.jsonl`."""

    job_id: str
    job: dict[str, Any]
    shape: Shape
    place: Place

    @property
    def key(self) -> str:
        """Identifies the job among all runs, because runs that do not share their objects may have jobs with the same id."""
        return f"{self.place.objects}/{self.job_id}"

    @property
    def is_done(self) -> bool:
        """Whether its output can be found by all. Takes a moment, because it asks the file system or the store."""
        return open_objects(self.place.objects).has(self.job_id)

    @property
    def student(self) -> str:
        return str(self.job["student"])


class Outcome(Record):
    """How a job ended: class and message of the error, or empty texts."""

    error: str = ""
    message: str = ""
    objects: str = ""
    """The folder of objects on the machine that wrote the message."""

    def raise_error(self, objects: Path) -> None:
        """Raise the job's error, if there is one. Its message names files by their place below these `objects`.

        Raises:
            PadaError: of the same class as in the worker.
        """
        if self.error:
            message = self.message.replace(self.objects, str(objects)) if self.objects else self.message
            raise make_error(self.error, message)


class Heard(Record):
    """What a driver hears when it follows a job."""

    events: tuple[Progress, ...]
    """Events since those that it already has."""
    outcome: Outcome | None
    """None while the job is not finished."""


def describe_failure(exc: Exception, objects: Path) -> Outcome:
    """What the driver is told. An error of this machine, such as a full disk, keeps this machine's paths and names it."""
    name, words = type(exc).__name__, str(exc)
    node = f" (on {os.uname().nodename})"
    if not isinstance(exc, PadaError):
        return Outcome(error=TrainingError.__name__, message=f"{name}: {words}{node}")
    if isinstance(exc.__cause__, OSError):
        return Outcome(error=name, message=f"{words}{node}")
    return Outcome(error=name, message=words, objects=str(objects))


def find_shape(settings: ClusterConfig) -> Shape:
    return Shape(num_cpus=settings.num_cpus, num_gpus=settings.num_gpus, accelerator=settings.accelerator)


def to_request(job_id: str, job: Job, shape: Shape, place: Place, objects: Path) -> JobRequest:
    """The job with paths that another machine can resolve. On this one, the objects are in the folder `objects`."""
    roots = {"objects": objects, "models": place.models}
    fields = job.model_dump(mode="json")
    named = {name: _leave(fields[name], roots) for name in PATHS if name in fields}
    return JobRequest(job_id=job_id, shape=shape, job=fields | named, place=place)


def to_job(request: JobRequest) -> Job:
    """The job with this machine's paths. Objects that it needs are fetched first.

    Raises:
        TrainingError: a file does not exist on this machine.
        ArtifactError: an object is damaged.
    """
    objects, folder = open_objects(request.place.objects), find_folder(request.place.objects)
    for name in PATHS:
        root, _, rest = (request.job.get(name) or "").partition(":")
        if root == "objects":
            key = rest.partition("/")[0]
            objects.fetch(key, folder / key)
    fields, roots = request.job, {"objects": folder, "models": store_folder()}
    return _JOB.validate_python(fields | {name: _arrive(fields[name], roots) for name in PATHS if name in fields})


def _leave(path: str | None, roots: Mapping[str, Path]) -> str | None:
    for name, root in roots.items():
        if path and Path(path).is_absolute() and Path(path).is_relative_to(root):
            return f"{name}:{Path(path).relative_to(root)}"
    return path


def _arrive(path: str | None, roots: Mapping[str, Path]) -> str | None:
    name, separator, rest = (path or "").partition(":")
    if not separator or name not in roots:
        return path
    found = roots[name] / rest
    if not found.exists():
        raise TrainingError(f"{found} is not there. {_ADVICE[name]}")
    return str(found)


_ADVICE = {
    "objects": "The runs' folder has to be one that all nodes share, under the same path.",
    "models": "Get the model on every node with `pada models pull`, or let PADA_MODELS name a folder that all nodes share.",
}
