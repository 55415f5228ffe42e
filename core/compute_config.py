"""Settings of where the student's jobs run."""

from typing import Literal

from pydantic import Field, field_validator

from pada_agent.core.setting_texts import take_name
from pada_agent.core.settings import Settings


class ClusterConfig(Settings):
    """The Ray cluster that runs student jobs (`compute.backend: ray`)."""

    address: str | None = "auto"
    """`auto` joins the cluster of this machine or of `RAY_ADDRESS`; `host:6379` joins that one; null starts one on this machine alone."""
    store: str | None = None
    """Object store for clusters whose nodes share no folder: `s3://bucket/prefix`, `gs://…`, `az://…` or `file://…`. Each run has a folder in it,
    named like the run (`shared_folder` for runs that share one). Null: the runs' folder is one that all nodes share."""
    max_workers: int = Field(default=8, ge=1, le=4096)
    """Maximum number of workers at the same time, for all runs on the cluster (the run that submitted a job last decides). Each worker keeps one student loaded."""
    num_cpus: int = Field(default=1, ge=1, le=1024)
    """CPU cores per worker, also its number of threads."""
    num_gpus: float = Field(default=0, ge=0, le=64)
    """GPUs per worker. 0 trains on CPU; 0.5 lets two workers share one GPU; with 2 or more, all of them share each fine-tuning (see
    `compute.processes`)."""
    accelerator: str | None = None
    """GPU type by its Ray name (`H100`, `A100-80G`). Set it to run all jobs of an experiment on the same type. Null takes any."""
    retries: int = Field(default=3, ge=0, le=100)
    """How often a job is restarted after its node was lost. Errors of the job itself are never retried."""
    autoscaling: bool = False
    """Set this if the cluster scales automatically: jobs then wait for a node that is large enough, even if there is none yet."""
    idle_minutes: float = Field(default=5, gt=0, le=1440)
    """Minutes an idle worker keeps its student and its GPU."""
    shard_rows: int = Field(default=2000, ge=1, le=10_000_000)
    """Largest number of rows per evaluation job. Larger evaluations are split into equal jobs that run at the same time, and losing a node
    costs one of them."""
    orphan_minutes: float = Field(default=30, gt=0, le=10080)
    """Minutes a job keeps running after the last process waiting for it is gone."""

    _take_names = field_validator("address", "store", "accelerator", mode="before")(take_name)

    @field_validator("address")
    @classmethod
    def _refuse_ray_client(cls, address: str | None) -> str | None:
        if address and address.startswith("ray://"):
            raise ValueError(
                f"{address} is a Ray Client address, and Ray Client loses its jobs when its connection breaks. Start the command on a node of"
                " the cluster (`ray job submit -- pada run …`), with address auto"
            )
        return address

    @field_validator("num_gpus")
    @classmethod
    def _refuse_broken_numbers(cls, n: float) -> float:
        if n > 1 and n != int(n):
            raise ValueError(f"{n:g}: a worker takes a part of one GPU, or whole ones")
        return n


class ComputeConfig(Settings):
    """Where the student trains."""

    backend: str = "local"
    """`local` uses a worker process on this machine, `ray` the workers of a Ray cluster (needs `pada-agent[cluster]`). Other packages can add
    backends (entry point group `pada_agent.compute`)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to train on. `auto` uses CUDA if there is a device. On a cluster, `cluster.num_gpus` decides instead."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of the worker. Null uses all cores. On a cluster, `cluster.num_cpus` decides instead."""
    processes: int = Field(default=1, ge=1, le=64)
    """Processes that share each fine-tuning on this machine, each with a GPU of its own (data parallel). They take the same steps as one would,
    with other random numbers for dropout. On a cluster, `cluster.num_gpus` decides instead."""
    checkpoint_minutes: float = Field(default=10, ge=0, le=1440)
    """Minutes between two checkpoints of a fine-tuning. One that is killed, or fails for a reason that may pass, such as a full
    disk, continues at its last checkpoint and gives the same adapter. 0 keeps none."""
    cluster: ClusterConfig = ClusterConfig()
    """Settings for `backend: ray`."""


def count_processes(compute: ComputeConfig) -> int:
    """Processes that share a fine-tuning."""
    return compute.processes if compute.backend != "ray" else max(1, int(compute.cluster.num_gpus))


def find_idle_processes(compute: ComputeConfig, batch_size: int) -> str | None:
    """What is wrong if not every process that shares a fine-tuning gets a row of each batch, in words."""
    n, key = count_processes(compute), "compute.cluster.num_gpus" if compute.backend == "ray" else "compute.processes"
    if n <= batch_size:
        return None
    return f"{key}: {n} processes share each batch, and lora.batch_size is {batch_size}. Raise it to {n} or more, or lower {key}"


def count_shard_rows(compute: ComputeConfig) -> int | None:
    """Largest number of rows per evaluation job; None on this machine, where one worker does everything."""
    return None if compute.backend == "local" else compute.cluster.shard_rows
