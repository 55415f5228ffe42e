"""A Ray cluster whose nodes are processes of this machine, for tests."""

import inspect
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
import ray
from ray._private import services
from ray._raylet import persist_port
from ray.cluster_utils import Cluster

from pada_agent.app.adapters.compute.ray_compute import RayCompute
from pada_agent.core.compute_config import ClusterConfig
from tests.scripted_worker import COMMAND

SYSTEM = {"worker_niceness": 0, "worker_register_timeout_seconds": 300}
"""Ray would start its workers with a niceness of 15, with which they get next to nothing of a busy machine."""
PATIENCE_SECONDS = 300
MARK = "PADA_TEST_CLUSTER"
"""In the environment of every process of the cluster, however it was started."""


PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


@contextmanager
def patience() -> Iterator[None]:
    """Ray gives a node 30 s to start, and its agents 15 s to name their ports. On a busy machine, that is not always enough."""
    get_node, start_raylet = services.get_node, services.start_raylet

    def wait_for_node(*arguments: Any) -> Any:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:
                if time.monotonic() > end:
                    raise

    def name_ports_and_start(*arguments: Any, **named: Any) -> Any:
        given = inspect.signature(start_raylet).bind(*arguments, **named).arguments
        for name in PORTS:
            persist_port(given["session_dir"], given["node_id"], name, given[name])
        return start_raylet(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "get_node", wait_for_node)
        patch.setattr(services, "start_raylet", name_ports_and_start)
        yield


def reserve_ports() -> dict[str, int]:
    """Free ports for a node's agents."""
    with ExitStack() as sockets:
        found = {name: sockets.enter_context(socket.socket()) for name in PORTS}
        for each in found.values():
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in found.items()}


@contextmanager
def start_cluster() -> Iterator[Any]:
    """A head, which takes the board and nothing else (workers need cores, and it has none), and a node. At the end, nothing is left."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    outer, mark = os.environ.get(MARK), uuid4().hex
    os.environ[MARK] = mark
    shared_memory = set(Path("/dev/shm").glob("plasma*"))
    head = {"num_cpus": 0, "object_store_memory": 80_000_000, "_system_config": SYSTEM}
    with patience():
        cluster = Cluster(
            initialize_head=True,
            head_node_args={**head, **reserve_ports(), "include_dashboard": False, "include_log_monitor": False},
        )
        try:
            add_node(cluster)
            ray.init(address=cluster.address, namespace="pada", log_to_driver=False, configure_logging=False)
            yield cluster
            actors = ray.util.list_named_actors(all_namespaces=True)
            assert {actor["name"] for actor in actors} <= {"board"}, "a cluster has one detached actor"
        finally:
            ray.shutdown()
            cluster.shutdown()
            left = wait_until_ended(list_processes(mark), seconds=60)
            os.environ.pop(MARK, None)
            if outer:
                os.environ[MARK] = outer
            names = [" ".join(process.cmdline())[:80] for process in left]
            for process in left:
                process.kill()
    assert not names, f"no process outlives its cluster: {names}"
    assert set(Path("/dev/shm").glob("plasma*")) <= shared_memory


def wait_until_ended(processes: Sequence[psutil.Process], seconds: float = PATIENCE_SECONDS) -> list[psutil.Process]:
    """Those that go on after this time. One that has ended may still be listed, if its parent ended first and nobody asks for its exit status."""
    end = time.monotonic() + seconds
    while (left := [process for process in processes if is_at_work(process)]) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def is_at_work(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def list_processes(mark: str) -> list[psutil.Process]:
    """Processes with this mark in their environment, except this one."""
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and read_mark(p) == mark]


def read_mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except psutil.Error:
        return None


def add_node(cluster: Any, **more: Any) -> Any:
    node = cluster.add_node(**{"num_cpus": 2, "object_store_memory": 80_000_000, **reserve_ports(), **more}, wait=False)
    cluster._wait_for_node(node, PATIENCE_SECONDS)
    return node


def make_compute(
    folder: Path, *, command: Sequence[str] = COMMAND, checkpoint_minutes: float = 10, **settings: Any
) -> RayCompute:
    cluster = ClusterConfig(**{"num_cpus": 2, "max_workers": 2, "idle_minutes": 5, **settings})
    return RayCompute(folder / "objects", cluster, command=command, checkpoint_minutes=checkpoint_minutes)


def end_board(compute: RayCompute) -> None:
    """Its workers end with it."""
    if compute._found_board is not None:
        ray.kill(compute._found_board, no_restart=True)


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def freeze(node: Any) -> list[psutil.Process]:
    """Stop all processes of a node, as a machine that hangs does."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    processes = [raylet, *raylet.children(recursive=True)]
    for process in processes:
        process.suspend()
    return processes


def wake(frozen: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Let the processes of a frozen node go on. A node that was given up ends all of them; these are those that do not end."""
    for process in frozen:
        with suppress(psutil.NoSuchProcess):
            process.resume()
    return wait_until_ended(frozen)


def has_ended(board: Any) -> bool:
    try:
        ray.get(board.describe.remote())
    except ray.exceptions.RayActorError:
        return True
    return False


def leave_one_node(cluster: Any) -> Any:
    """The node that all jobs run on from now on. Others are removed, and one that was lost is replaced."""
    alive = [node for node in cluster.worker_nodes if node.remaining_processes_alive()]
    for node in cluster.worker_nodes - set(alive[:1]):
        cluster.remove_node(node)
    return alive[0] if alive else add_node(cluster)
