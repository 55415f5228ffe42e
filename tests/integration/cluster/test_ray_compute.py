"""RayCompute on a cluster of two nodes, which are processes of this machine."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pada_agent.core.compute_config import ClusterConfig
from pada_agent.core.errors import ConfigError, TrainingError
from pada_agent.core.progress import Progress
from tests.compute_contract import ComputeContract
from tests.scripted_worker import count_starts, make_job, run

ray = pytest.importorskip("ray")

from pada_agent.app.adapters.compute.ray_compute import RayCompute, connect  # noqa: E402
from tests.ray_cluster import add_node, end_board, has_ended, make_compute, wait_for  # noqa: E402


class TestRayCompute(ComputeContract):
    pass


def test_jobs_name_inputs_by_their_place_below_the_objects(compute: RayCompute, tmp_path: Path) -> None:
    rows = tmp_path / "objects" / "rows-1" / "a"
    with pytest.raises(
        TrainingError, match=r"rows-1 is not there\. The runs' folder has to be one that all nodes share"
    ):
        run(compute, make_job(str(rows)))
    rows.parent.mkdir(parents=True)
    rows.touch()
    assert (run(compute, make_job(str(rows))) / "pid").exists()


def test_a_worker_that_holds_nothing_makes_room_for_another_shape(compute: RayCompute, tmp_path: Path) -> None:
    assert (run(compute, make_job("a")) / "environment").read_text() == "cpu2"
    smaller = make_compute(tmp_path, num_cpus=1)
    assert (run(smaller, make_job("b")) / "environment").read_text() == "cpu1"


@pytest.mark.usefixtures("cluster")
def test_jobs_run_at_the_same_time_as_far_as_there_is_room(tmp_path: Path) -> None:
    small = make_compute(tmp_path, num_cpus=1)
    job_ids = [small.submit(make_job(f"hang{i}")) for i in range(2)]
    wait_for(lambda: all(count_starts(tmp_path, f"hang{i}") for i in range(2)))
    for job_id in job_ids:
        small.cancel(job_id)


@pytest.mark.usefixtures("cluster")
def test_a_worker_that_no_node_has_room_for_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs 2 CPU and 1 GPU, and no node of the cluster has that"):
        make_compute(tmp_path, num_gpus=1).submit(make_job("a"))


def test_no_more_jobs_run_than_there_are_gpus(cluster: Any, tmp_path: Path) -> None:
    """Ray is merely told about the GPUs. The node has cores for four such workers."""
    node = add_node(cluster, num_cpus=4, num_gpus=2)
    compute = make_compute(tmp_path, num_gpus=1, num_cpus=1, max_workers=3)
    names = ["gated0", "gated1", "gated2"]
    jobs = [compute.submit(make_job(name)) for name in names]
    wait_for(lambda: sum(count_starts(tmp_path, name) for name in names) == 2)
    seen: list[Progress] = []
    last = next(job for job, name in zip(jobs, names, strict=True) if not count_starts(tmp_path, name))

    def watch(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == 1:
            assert sum(count_starts(tmp_path, name) for name in names) == 2
            (tmp_path / "go").touch()

    assert (compute.wait(last, watch) / "environment").read_text() == "cuda1"
    assert (seen[0].stage, seen[0].detail) == ("wait", "for a node with 1 CPU and 1 GPU free")
    for job in jobs:
        compute.wait(job, lambda _: None)
    assert [count_starts(tmp_path, name) for name in names] == [1] * 3
    end_board(compute)
    cluster.remove_node(node)


@pytest.mark.usefixtures("cluster")
def test_jobs_that_nobody_waits_for_and_workers_without_any_end(tmp_path: Path) -> None:
    compute = make_compute(tmp_path, orphan_minutes=0.02, idle_minutes=0.05)

    def has_begun() -> bool:
        compute.submit(make_job("hang"))  # until then, somebody waits for it
        return count_starts(tmp_path, "hang") == 1

    wait_for(has_begun)
    board = compute._found_board
    wait_for(lambda: has_ended(board))
    assert (run(compute, make_job("a")) / "pid").exists(), "the next job gets another board"


def test_an_address_where_nobody_listens_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(
        ConfigError, match=r"no Ray cluster can be joined at '127\.0\.0\.1:1' \(.*refused\)\. Start one with"
    ):
        connect(ClusterConfig(address="127.0.0.1:1"))


def test_the_command_line_needs_no_ray() -> None:
    code = "import sys, pada_agent.app.cli; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
