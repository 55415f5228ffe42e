"""Drivers, nodes and boards that are lost while jobs run on a cluster."""

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from pada_agent.app.adapters.compute.local_compute import address_job
from pada_agent.core.errors import TrainingError
from pada_agent.core.progress import Progress
from tests.integration.graph_runs import run as run_graph
from tests.scripted_worker import count_starts, make_job, run
from tests.toy_command import WORKER as TOY_WORKER
from tests.toy_world import ToyWorld

ray = pytest.importorskip("ray")

from pada_agent.app.adapters.compute.ray_compute import RayCompute  # noqa: E402
from tests.ray_cluster import (  # noqa: E402
    add_node,
    end_board,
    freeze,
    leave_one_node,
    make_compute,
    wait_for,
    wake,
)


def test_two_drivers_that_submit_the_same_jobs_run_each_once(compute: RayCompute, tmp_path: Path) -> None:
    other = make_compute(tmp_path)
    names = [f"job{i}" for i in range(10)]
    for name in names:
        compute.submit(make_job(name))
    assert [run(other, make_job(name)) for name in names] == [run(compute, make_job(name)) for name in names]
    assert [count_starts(tmp_path, name) for name in names] == [1] * 10


def test_a_driver_that_leaves_ends_no_job_that_another_waits_for(compute: RayCompute, tmp_path: Path) -> None:
    other = make_compute(tmp_path)
    job_id = compute.submit(make_job("gated"))
    other.submit(make_job("gated"))
    wait_for(lambda: count_starts(tmp_path, "gated") == 1)
    compute.close()
    assert compute._leaving is not None
    compute._leaving.join()
    (tmp_path / "go").touch()
    assert (other.wait(job_id, lambda _: None) / "pid").exists()
    assert count_starts(tmp_path, "gated") == 1


DRIVER = """
import sys
from pathlib import Path
from tests.ray_cluster import make_compute
from tests.scripted_worker import make_job
compute = make_compute(Path(sys.argv[1]), address=sys.argv[2])
jobs = [compute.submit(make_job(name)) for name in sys.argv[3:]]
for job in jobs:
    compute.wait(job, lambda p: print(p.stage, flush=True))
"""


def test_jobs_outlive_their_driver_and_run_once_for_it_and_the_next(
    cluster: Any, compute: RayCompute, tmp_path: Path
) -> None:
    names = ["gated", *[f"job{i}" for i in range(19)]]
    command = [sys.executable, "-W", "ignore", "-c", DRIVER, str(tmp_path), cluster.address, *names]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        wait_for(lambda: driver.stdout.readline().strip() == "gated")  # type: ignore[union-attr]
        driver.kill()
    seen: list[Progress] = []
    jobs = [compute.submit(make_job(name)) for name in names]

    def watch(progress: Progress) -> None:
        seen.append(progress)
        (tmp_path / "go").touch()

    for job in jobs:
        compute.wait(job, watch)
    assert "gated" in [p.stage for p in seen], "the second driver hears what was reported before it came"
    assert [count_starts(tmp_path, name) for name in names] == [1] * 20


def test_a_job_whose_node_is_lost_begins_again_on_another(cluster: Any, compute: RayCompute, tmp_path: Path) -> None:
    node = leave_one_node(cluster)
    run(compute, make_job("a"))
    add_node(cluster)
    seen: list[Progress] = []

    def lose_node(progress: Progress) -> None:
        seen.append(progress)
        if progress.stage == "gated" and [p.stage for p in seen].count("gated") == 1:
            cluster.remove_node(node, allow_graceful=False)
        elif progress.stage == "gated":
            (tmp_path / "go").touch()

    folder = compute.wait(compute.submit(make_job("gated")), lose_node)
    assert (folder / "pid").exists()
    assert [p.done for p in seen if p.stage == "retry"] == [1]
    assert (count_starts(tmp_path, "gated"), count_starts(tmp_path, "a")) == (2, 1)
    run(compute, make_job("a"))
    assert count_starts(tmp_path, "a") == 1
    assert not list((tmp_path / "objects").glob(".*")), "nothing is left of the first attempt"


@pytest.mark.parametrize("is_found_dead", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_node_that_falls_silent_and_wakes_up_changes_nothing(
    cluster: Any, compute: RayCompute, tmp_path: Path, is_found_dead: bool
) -> None:
    """Its workers stand still, and wake up after the job was done elsewhere. That Ray's health checks call a node dead whose
    processes are all there takes a minute; it goes faster if the node's own process is gone.
    """
    node = leave_one_node(cluster)
    run(compute, make_job("a"))
    frozen: list[psutil.Process] = []

    def freeze_node(progress: Progress) -> None:
        if progress.stage == "gated" and not frozen:
            frozen.extend(freeze(node))
            if is_found_dead:
                frozen.pop(0).kill()
            add_node(cluster)
        elif progress.stage == "gated":
            (tmp_path / "go").touch()

    try:
        folder = compute.wait(compute.submit(make_job("gated")), freeze_node)
        second = (folder / "pid").read_text()
    finally:
        left = wake(frozen)
    assert not left, "a node that was given up ends all its processes"
    cluster.remove_node(node)
    assert count_starts(tmp_path, "gated") == 2
    assert int(second) not in {process.pid for process in frozen}
    assert (folder / "pid").read_text() == second
    assert {path.name for path in (tmp_path / "objects").iterdir()} == {folder.name, address_job(make_job("a"))}


def test_a_job_that_loses_its_worker_every_time_is_an_error_that_says_so(compute: RayCompute, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"was started 4 times; the worker was lost"):
        run(compute, make_job("orphan"))
    assert count_starts(tmp_path, "orphan") == 4
    assert (run(compute, make_job("a")) / "pid").exists()


def test_a_board_that_dies_loses_no_job(compute: RayCompute, tmp_path: Path) -> None:
    killed = threading.Event()

    def kill_board(progress: Progress) -> None:
        if progress.stage == "gated" and not killed.is_set():
            killed.set()
            ray.kill(compute._found_board, no_restart=False)
        elif progress.stage == "gated":
            (tmp_path / "go").touch()

    folder = compute.wait(compute.submit(make_job("gated")), kill_board)
    assert killed.is_set() and (folder / "pid").exists()
    assert count_starts(tmp_path, "gated") == 2


def test_a_node_lost_in_one_part_of_an_evaluation_repeats_that_part_alone(cluster: Any, tmp_path: Path) -> None:
    add_node(cluster)
    whole, parts = ToyWorld(tmp_path / "whole"), ToyWorld(tmp_path / "parts")
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "lose_node").write_text('"validation-4"')
    parts.compute = make_compute(parts.folder, command=(*TOY_WORKER, str(notes)))  # type: ignore[assignment]
    sharded = {"backend": "ray", "cluster": {"shard_rows": 2}}
    result = run_graph(parts, compute=sharded, loop={"max_iterations": 1})
    expected = run_graph(whole, loop={"max_iterations": 1})
    leave_out = {
        "measured",
        "validation_failures",
        "adapter",
        "n_steps",
    }  # the toy worker says how many; the toy of this process does not
    assert [m.model_dump(exclude=leave_out) for m in result.models] == [
        m.model_dump(exclude=leave_out) for m in expected.models
    ]
    starts = Counter((notes / "starts").read_text().split())
    assert not (notes / "lose_node").exists()
    repeated = [job for job, n in starts.items() if n > 1]
    assert len(repeated) == 1 and starts[repeated[0]] == 2
    n_parts = len([job for job in starts if job.startswith("predict")])
    assert n_parts == 3 * (2 + 5) + 5, "test in 2 parts and validation in 5, for three models; training in 5, for one"
    end_board(parts.compute)  # type: ignore[arg-type]
    leave_one_node(cluster)
