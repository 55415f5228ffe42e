"""Compute backends by name (`compute.backend`)."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from pada_agent.app.adapters.compute.local_compute import LocalCompute
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ConfigError
from pada_agent.core.plugins import BACKENDS, find_part
from pada_agent.core.ports import Compute

OpenCompute = Callable[[RunConfig, Path], Compute]
"""Makes a backend from settings and a folder. Jobs leave their output in `folder/objects/<job id>/`, for this run and for runs that share it."""


def open_local(config: RunConfig, folder: Path) -> Compute:
    """A worker process on this machine."""
    compute = config.compute
    return LocalCompute(
        folder / "objects",
        folder / "worker.log",
        device=compute.device,
        threads=compute.threads,
        checkpoint_minutes=compute.checkpoint_minutes,
    )


def open_ray(config: RunConfig, folder: Path) -> Compute:
    """Workers of a Ray cluster.

    Raises:
        ConfigError: the object store cannot be opened.
    """
    from pada_agent.app.adapters.compute.ray_compute import RayCompute

    store, minutes = name_store(config, folder), config.compute.checkpoint_minutes
    return RayCompute(folder / "objects", config.compute.cluster, store=store, checkpoint_minutes=minutes)


def name_store(config: RunConfig, folder: Path) -> str | None:
    """Address of the object store for this folder. None if the nodes share the folder itself, or there are no nodes."""
    store = config.compute.cluster.store if config.compute.backend == "ray" else None
    return f"{store.rstrip('/')}/{folder.name}" if store else None


BUILT_IN: Mapping[str, OpenCompute] = MappingProxyType({"local": open_local, "ray": open_ray})


def open_compute(config: RunConfig, folder: Path) -> Compute:
    """The backend that the settings name, with its objects in the folder.

    Raises:
        ConfigError: as `find_backend`.
    """
    return find_backend(config.compute.backend)(config, folder)


def find_backend(name: str) -> OpenCompute:
    """The backend with that name. Starts and contacts nothing.

    Raises:
        ConfigError: there is none, its entry point cannot be called, or Ray is not installed.
    """
    if name == "ray" and find_spec("ray") is None:
        raise ConfigError("compute.backend: ray needs Ray: pip install 'pada-agent[cluster]'")
    return find_part(name, BACKENDS, built_in=BUILT_IN, accept=callable)
