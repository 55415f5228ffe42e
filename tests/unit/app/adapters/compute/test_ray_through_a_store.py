"""The driver's and the worker's side of jobs on a cluster with an object store, in one process and without a cluster."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pada_agent.app.adapters.compute import ray_worker
from pada_agent.app.adapters.compute.local_compute import LocalCompute
from pada_agent.app.adapters.compute.ray_jobs import JobRequest, to_request
from pada_agent.app.adapters.compute.ray_worker import RayWorker
from pada_agent.app.adapters.compute.shared_objects import find_folder
from pada_agent.core.compute_config import ClusterConfig
from pada_agent.core.errors import ArtifactError, NonFiniteLossError, TrainingError
from pada_agent.core.jobs import PredictJob, TokenizerJob
from pada_agent.core.progress import Progress
from tests.jobs_of_all_kinds import KINDS, command_that_notes, fine_tune, run, run_all, write_rows

pytest.importorskip("ray")
pytest.importorskip("obstore")

from pada_agent.app.adapters.compute.ray_compute import RayCompute


class Direct(RayCompute):
    """Hands its jobs straight to a worker, as the board of a cluster would do."""

    def __init__(self, folder: Path, store: str, node: Path, patch: pytest.MonkeyPatch) -> None:
        settings, command = ClusterConfig(), command_that_notes(folder.parent / "starts")
        super().__init__(folder / "objects", settings, store=store, command=command)
        self.node, self._patch, self._requests = node, patch, dict[str, JobRequest]()
        self.worker = RayWorker(self._shape)

    def _send(self, job_id: str) -> None:
        job = self._publish_inputs(self._jobs[job_id])
        self._requests[job_id] = to_request(job_id, job, self._shape, self._place, self._here)

    def _follow(self, job_id: str, on_progress: Callable[[Progress], None]) -> None:
        with self._patch.context() as patch:
            patch.setenv("PADA_OBJECTS", str(self.node))
            outcome = self.worker.run_job(self._requests[job_id], "", on_progress)
        if outcome.error:
            self._fetch_last_good(job_id)
        outcome.raise_error(self._here)

    def close(self) -> None:
        if self.worker._compute:
            self.worker._compute.close()


class World:
    """Two nodes and a store. Any number of drivers, each with its own run folder."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch = folder, patch
        self.store, self.drivers = f"file://{folder}/bucket/run", list[Direct]()

    def join(self, run: str, node: str) -> Direct:
        """A driver whose jobs run on that node."""
        self.drivers.append(Direct(self.folder / run, self.store, self.folder / node, self._patch))
        return self.drivers[-1]

    def list_starts(self) -> list[str]:
        starts = self.folder / "starts"
        return starts.read_text().split() if starts.exists() else []

    def list_copies(self, node: str) -> list[Path]:
        return sorted(path for path in (self.folder / node).glob("*/*-*") if path.is_dir())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path, monkeypatch)
    yield world
    for driver in world.drivers:
        driver.close()


def test_jobs_of_all_kinds_give_what_they_give_on_one_machine(world: World, tmp_path: Path) -> None:
    command = command_that_notes(tmp_path / "starts")
    local = LocalCompute(tmp_path / "local" / "objects", tmp_path / "log", command=command)
    expected = run_all(local, local, tmp_path / "local")
    local.close()
    (tmp_path / "starts").unlink()
    assert run_all(world.join("run", "a"), world.join("run", "b"), tmp_path / "run") == expected
    assert world.list_starts() == KINDS
    kinds = [{path.name.split("-")[0] for path in world.list_copies(node)} for node in "ab"]
    assert kinds == [{"rows", "fine_tune", "export"}, {"rows", "tokenizer", "fine_tune", "predict"}]


def test_what_is_in_the_store_is_not_computed_again(world: World, tmp_path: Path) -> None:
    first, second = world.join("run", "a"), world.join("elsewhere", "b")
    adapter = run(first, fine_tune(write_rows(tmp_path / "run", "rows-1")))
    again = run(second, fine_tune(write_rows(tmp_path / "elsewhere", "rows-1")))
    assert (
        adapter != again
        and (adapter / "adapter_model.safetensors").read_bytes() == (again / "adapter_model.safetensors").read_bytes()
    )
    assert world.list_starts() == ["fine_tune"]


def test_a_nodes_folder_that_is_deleted_is_filled_again(world: World, tmp_path: Path) -> None:
    driver = world.join("run", "a")
    rows = write_rows(tmp_path / "run", "rows-1")
    first = run(driver, fine_tune(rows))
    (copies,) = (tmp_path / "a").glob("[!w]*")
    shutil.rmtree(copies)
    run(driver, fine_tune(rows, start_from=str(first)))
    run(driver, TokenizerJob(student="some/student"))
    kinds = sorted(path.name.split("-")[0] for path in world.list_copies("a"))
    assert kinds == ["fine_tune", "fine_tune", "rows", "tokenizer"]


def test_an_adapter_from_outside_of_the_run_reaches_the_node(world: World, tmp_path: Path) -> None:
    best = tmp_path / "run" / "best"
    best.mkdir(parents=True)
    (best / "adapter_model.safetensors").write_bytes(b"weights")
    rows = write_rows(tmp_path / "run", "rows-1")
    job = PredictJob(student="some/student", rows=rows, rows_hash="rows-1", adapter=str(best), adapter_hash="1")
    run(world.join("run", "a"), job)
    (copy,) = (tmp_path / "a").glob("*/input-*/adapter_model.safetensors")
    assert copy.read_bytes() == b"weights"


def test_runs_that_share_their_objects_name_them_by_their_links(world: World, tmp_path: Path) -> None:
    rows = Path(write_rows(tmp_path / "shared", "rows-1"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "objects").symlink_to(Path("..") / "shared" / "objects")
    linked = tmp_path / "run" / "objects" / "rows-1" / rows.name
    run(world.join("shared", "a"), fine_tune(str(linked)))
    assert world.list_starts() == ["fine_tune"]


def test_the_adapter_from_before_a_loss_that_broke_comes_home(world: World, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "run", "rows-1", "nan")
    with pytest.raises(
        NonFiniteLossError, match=rf"kept in {tmp_path}/run/objects/fine_tune-\w+-last_good\."
    ) as caught:
        run(world.join("run", "a"), fine_tune(rows))
    folder = Path(str(caught.value).rpartition(" ")[2].rstrip("."))
    assert (folder / "adapter").read_text() == "weights"


def test_rows_that_are_damaged_in_the_store_are_not_read(world: World, tmp_path: Path) -> None:
    driver = world.join("run", "a")
    job_id = driver.submit(fine_tune(write_rows(tmp_path / "run", "rows-1")))
    (stored,) = (tmp_path / "bucket").glob("run/rows-1/*/rows.jsonl")
    stored.write_bytes(b"half")
    with pytest.raises(ArtifactError, match=r"bucket/run/rows-1: damaged \(rows\.jsonl: not what was published"):
        driver.wait(job_id, lambda _: None)
    assert world.list_starts() == []


def test_a_fine_tuning_continues_on_another_node_at_its_last_checkpoint(world: World, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "run", "rows-1", "checkpoint")
    first, second = world.join("run", "a"), world.join("run", "b")
    job_id = first.submit(fine_tune(rows))

    def lose_node(progress: Progress) -> None:
        if progress.done == 2:  # the checkpoint was written before the first event, and saved with it
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.wait(job_id, lose_node)
    assert [path.read_text() for path in (tmp_path / "bucket").glob(f"run/{job_id}/checkpoint")] == ["at step 1"]
    steps: list[int] = []
    second.submit(fine_tune(rows))
    second.wait(job_id, lambda progress: steps.append(progress.done))
    assert steps == [2, 3]
    assert [path.name for path in (tmp_path / "bucket").glob(f"run/{job_id}/*") if path.is_file()] == ["done.json"]
    assert list((tmp_path / "b").glob("*/.*")) == []


def test_a_fine_tuning_continues_at_the_newest_checkpoint_of_all_nodes(world: World, tmp_path: Path) -> None:
    """This node had the job before the one that saved last."""
    driver = world.join("run", "a")
    job_id = driver.submit(fine_tune(write_rows(tmp_path / "run", "rows-1", "checkpoint")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PADA_OBJECTS", str(tmp_path / "a"))
        kept = find_folder(world.store) / f".{job_id}.checkpoint"
    kept.parent.mkdir(parents=True)
    kept.write_text("at step 1, long ago")
    (tmp_path / "bucket" / "run" / job_id).mkdir()
    (tmp_path / "bucket" / "run" / job_id / "checkpoint").write_text("at step 2")
    found: list[str] = []
    driver.wait(job_id, lambda _: found.append(kept.read_text()) if not found else None)
    assert found == ["at step 2"]


def test_a_node_starts_its_worker_with_its_own_python(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = RayCompute(tmp_path / "run" / "objects", ClusterConfig(), store=world.store)._place
    driver = world.join("run", "a")
    monkeypatch.setattr(ray_worker, "WORKER", driver._place.command)
    driver._place = place
    run(driver, TokenizerJob(student="some/student"))
    assert world.list_starts() == ["tokenizer"]


def test_an_error_of_a_nodes_disk_keeps_its_paths_and_names_the_node(world: World, tmp_path: Path) -> None:
    """The driver's own file of that name is all right."""
    driver = world.join("run", "a")
    job_id = driver.submit(fine_tune(write_rows(tmp_path / "run", "rows-1")))
    (tmp_path / "a").write_text("a file where the node keeps its copies")
    where = rf"{tmp_path}/a/\w+/rows-1: cannot be written .*\(on {os.uname().nodename}\)"
    with pytest.raises(ArtifactError, match=where):
        driver.wait(job_id, lambda _: None)


def test_an_unexpected_error_on_a_node_is_the_jobs(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: JobRequest) -> None:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(ray_worker, "to_job", fail)
    driver = world.join("run", "a")
    told = rf"OSError: \[Errno 116\] Stale file handle \(on {os.uname().nodename}\)"
    with pytest.raises(TrainingError, match=told):
        run(driver, fine_tune(write_rows(tmp_path / "run", "rows-1")))
