"""Whose a folder is."""

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from pada_agent.app import wiring
from pada_agent.app.run_folder import layout
from pada_agent.app.run_folder.ownership import OWNER, Owner, check_folder, leave_folder, own_folder
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ConfigError

ALICE, BOB = Owner("thread-a", "alice"), Owner("thread-b", "bob")


def pay(folder: Path) -> None:
    """Something worth keeping: the output of a job."""
    (folder / "objects" / "predict-1").mkdir(parents=True)
    (folder / "objects" / "predict-1" / "predictions.jsonl").touch()


@pytest.fixture(autouse=True)
def nothing_is_held(tmp_path: Path) -> Iterator[None]:
    yield
    for folder in [tmp_path, *tmp_path.rglob("*")]:
        leave_folder(folder)


def list_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_folder_is_made_and_stays_its_threads(tmp_path: Path) -> None:
    for _ in range(2):
        own_folder(tmp_path / "runs" / "x", ALICE)
        pay(tmp_path / "runs" / "x") if not (tmp_path / "runs/x/objects").exists() else None
    with pytest.raises(ConfigError, match="x: the folder of another thread's run"):
        own_folder(tmp_path / "runs" / "x", BOB)
    with pytest.raises(ConfigError, match="another thread"):
        own_folder(tmp_path / "runs" / "x", Owner("thread-c", "alice"))


def test_a_run_that_left_nothing_makes_way_for_the_same_users_next_thread(tmp_path: Path) -> None:
    own_folder(tmp_path / "x", ALICE)
    leave_folder(tmp_path / "x")
    with pytest.raises(ConfigError):
        own_folder(tmp_path / "x", BOB)
    own_folder(tmp_path / "x", Owner("thread-c", "alice"))
    with pytest.raises(ConfigError):
        pay(tmp_path / "x")
        own_folder(tmp_path / "x", ALICE)


def test_a_run_that_works_keeps_its_folder_before_anything_is_computed(tmp_path: Path) -> None:
    folder, next_thread = tmp_path / "x", Owner("thread-c", "alice")
    own_folder(folder, ALICE)
    with pytest.raises(ConfigError, match=r"another thread's run\. Choose another `name`, or continue that thread\.$"):
        own_folder(folder, next_thread)
    own_folder(folder, ALICE)  # the next node
    leave_folder(folder)
    own_folder(folder, next_thread)
    with pytest.raises(ConfigError, match="another thread"):
        own_folder(folder, ALICE)


def _own_and_wait(folder: Path, ready: Event) -> None:
    own_folder(folder, ALICE)
    ready.set()
    time.sleep(60)


def test_a_run_of_another_process_keeps_its_folder_until_that_is_killed(tmp_path: Path) -> None:
    folder, next_thread = tmp_path / "x", Owner("thread-c", "alice")
    processes = multiprocessing.get_context("spawn")
    ready = processes.Event()
    worker = processes.Process(target=_own_and_wait, args=(folder, ready))
    worker.start()
    assert ready.wait(60)
    with pytest.raises(ConfigError, match="another thread"):
        own_folder(folder, next_thread)
    own_folder(folder, ALICE)  # the same thread may have been moved to this process
    worker.kill()
    worker.join()
    own_folder(folder, next_thread)


def test_only_a_way_out_that_exists_is_named(tmp_path: Path) -> None:
    own_folder(tmp_path / "x", ALICE)
    leave_folder(tmp_path / "x")
    (tmp_path / "x" / layout.SUMMARY).write_text("{}")
    for owner in (BOB, Owner("thread-c", "alice")):
        with pytest.raises(ConfigError, match=r"another thread's run\. Choose another `name`\.$"):
            own_folder(tmp_path / "x", owner)


@pytest.mark.parametrize("file", ["best/model.safetensors", "report.html", "config.yaml", "manifest.json"])
def test_a_folder_of_somebody_is_not_taken(tmp_path: Path, file: str) -> None:
    path = tmp_path / "opmodels" / file
    path.parent.mkdir(parents=True)
    path.write_text("dear")
    for take in (lambda: check_folder(tmp_path / "opmodels"), lambda: own_folder(tmp_path / "opmodels", BOB)):
        with pytest.raises(ConfigError, match="exists and is not a run folder"):
            take()
    config = RunConfig(runs_folder=str(tmp_path), name="opmodels")
    with pytest.raises(ConfigError, match="exists and is not a run folder"):
        wiring.connect(config)
    assert path.read_text() == "dear" and list_files(tmp_path / "opmodels") == {
        file,
        *([] if "/" not in file else ["best"]),
    }


@pytest.mark.parametrize("inside", ["best", "iterations/9", "objects/x"])
def test_no_run_works_in_the_folder_of_another(tmp_path: Path, inside: str) -> None:
    own_folder(tmp_path / "alices", ALICE)
    with pytest.raises(ConfigError, match="is inside the folder of the run alices"):
        own_folder(tmp_path / "alices" / inside, BOB)
    assert list_files(tmp_path / "alices") == {OWNER, layout.LOCK}


def test_a_run_of_the_command_line_belongs_to_no_thread(tmp_path: Path) -> None:
    for name in (layout.CONFIG, layout.MANIFEST):
        (tmp_path / name).touch()
    check_folder(tmp_path)
    with pytest.raises(ConfigError, match="that no thread created"):
        own_folder(tmp_path, ALICE)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"thread": 1}', "null"])
def test_a_marker_that_says_nothing_gives_the_folder_to_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / OWNER).write_text(text)
    with pytest.raises(ConfigError, match="that no thread created"):
        own_folder(tmp_path, ALICE)
