"""RayCompute on two nodes that share no folder. Inputs and outputs pass through an object store."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pada_agent.app.adapters.compute.local_compute import LocalCompute
from pada_agent.core.compute_config import ClusterConfig
from tests.jobs_of_all_kinds import KINDS, command_that_notes, run_all

ray = pytest.importorskip("ray")
pytest.importorskip("obstore")

from ray.cluster_utils import Cluster  # noqa: E402

from pada_agent.app.adapters.compute.ray_compute import RayCompute  # noqa: E402


class Nodes(NamedTuple):
    """Each node's folder of copies."""

    a: Path
    b: Path


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Two nodes. The accelerator that a job asks for, A or B, decides where it runs; Ray is merely told that there is one."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    room: dict[str, Any] = {"object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **room})
    caches = Nodes(tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b"))
    for name, cache in zip("AB", caches, strict=True):
        own = {"resources": {f"accelerator_type:{name}": 1}, "env_vars": {"PADA_OBJECTS": str(cache)}}
        cluster.add_node(num_cpus=1, **own, **room)
    ray.init(address=cluster.address, namespace="pada", log_to_driver=False, configure_logging=False)
    yield caches
    ray.shutdown()
    cluster.shutdown()


def test_jobs_of_all_kinds_give_what_they_give_on_one_machine(nodes: Nodes, tmp_path: Path) -> None:
    command, store = command_that_notes(tmp_path / "starts"), f"file://{tmp_path}/bucket/run"
    local = LocalCompute(tmp_path / "local" / "objects", tmp_path / "log", command=command)
    expected = run_all(local, local, tmp_path / "local")
    local.close()
    (tmp_path / "starts").unlink()
    settings = [ClusterConfig(accelerator=node, max_workers=2) for node in "AB"]
    on_a, on_b = (RayCompute(tmp_path / "run" / "objects", s, store=store, command=command) for s in settings)
    assert run_all(on_a, on_b, tmp_path / "run") == expected
    assert (tmp_path / "starts").read_text().split() == KINDS
    kept = [{path.name.split("-")[0] for path in node.glob("*/*-*") if path.is_dir()} for node in nodes]
    assert kept == [{"rows", "fine_tune", "export"}, {"rows", "tokenizer", "fine_tune", "predict"}]
