"""A fine-tuning that several processes share: two on CPU, by gloo."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import psutil
import pytest
import torch
from safetensors.torch import load_file

from pada_agent.app.adapters.compute.local_compute import LocalCompute, address_job
from pada_agent.core.errors import ConfigError, DatasetError, TrainingError
from pada_agent.core.jobs import FineTuneJob, read_train_metrics
from pada_agent.core.progress import Progress
from pada_agent.training import crew
from pada_agent.training.crew import ALONE, Team
from tests.integration.training.small_student import SPEC, make_job

ADAPTER = "adapter_model.safetensors"
DROPOUT = SPEC.model_copy(update={"dropout": 0.2, "n_steps": 8})


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@pytest.fixture(scope="module")
def keeping(objects: Path) -> Iterator[LocalCompute]:
    """A backend with a checkpoint after every step."""
    log = objects.parent / "several.log"
    compute = LocalCompute(objects, log, device="cpu", threads=2, checkpoint_minutes=1e-9)
    yield compute
    compute.close()


@pytest.fixture
def job(student_folder: Path, folder: Path) -> FineTuneJob:
    changes = {"student": str(student_folder), "rows": str(folder / "rows.jsonl"), "n_processes": 2}
    return make_job(lora=DROPOUT).model_copy(update=changes)


def run(compute: LocalCompute, job: FineTuneJob, at_step: Callable[[int], object] = lambda _: None) -> Path:
    def on_progress(progress: Progress) -> None:
        if progress.stage == "fine_tune":
            at_step(progress.done)

    return compute.wait(compute.submit(job), on_progress)


def list_others(compute: LocalCompute) -> list[psutil.Process]:
    """The processes that the worker started to share its work. A helper of a library may have ended meanwhile."""
    assert compute._worker
    return [child for child in psutil.Process(compute._worker.pid).children() if is_at_work(child)]


def is_at_work(process: psutil.Process) -> bool:
    try:
        return "pada_agent.training.worker" in process.cmdline()
    except psutil.NoSuchProcess:  # also a zombie
        return False


def test_an_error_of_all_processes_is_told_once(keeping: LocalCompute, job: FineTuneJob, objects: Path) -> None:
    short = job.model_copy(update={"lora": SPEC.model_copy(update={"max_length": 8})})
    with pytest.raises(DatasetError, match=r"row 'r0' has") as caught:
        run(keeping, short)
    assert "process" not in str(caught.value)
    assert list_others(keeping) == []
    assert list(objects.iterdir()) == []


def test_losses_and_weights_are_those_of_one_process(keeping: LocalCompute, job: FineTuneJob) -> None:
    """Nine rows in batches of four: the last batch of an epoch has one row, and nothing for the second process."""
    n_others: list[int] = []
    two = job.model_copy(update={"lora": SPEC.model_copy(update={"n_steps": 7})})
    one = two.model_copy(update={"n_processes": 1})
    assert address_job(one) != address_job(two)
    shared = run(keeping, two, lambda _: n_others.append(len(list_others(keeping))))
    assert n_others[0] == 1 and set(n_others) <= {
        0,
        1,
    }  # on a busy machine, later steps are told when it has ended already
    assert list_others(keeping) == []
    alone = run(keeping, one)
    losses = read_train_metrics(alone).losses
    assert read_train_metrics(shared).losses == pytest.approx(losses, abs=1e-5)
    assert losses[-1] < losses[0] - 0.1
    expected, found = load_file(alone / ADAPTER), load_file(shared / ADAPTER)
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-4, rtol=0)
    assert sorted(p.name for p in shared.iterdir()) == sorted(p.name for p in alone.iterdir())


def test_a_killed_and_a_cancelled_fine_tuning_end_all_processes_and_continue(
    keeping: LocalCompute, job: FineTuneJob
) -> None:
    others: list[psutil.Process] = []
    steps: list[int] = []

    def kill(step: int) -> None:
        if step == 3 and keeping._worker:
            others.extend(list_others(keeping))
            os.kill(keeping._worker.pid, signal.SIGKILL)

    def cancel(step: int) -> None:
        steps.append(step)
        if step == 6:
            others.extend(list_others(keeping))
            keeping.cancel(address_job(job))

    with pytest.raises(TrainingError, match="killed, probably for lack of memory"):
        run(keeping, job, kill)
    with pytest.raises(TrainingError, match="was cancelled"):
        run(keeping, job, cancel)
    assert len(others) == 2
    assert psutil.wait_procs(others, timeout=10)[1] == []
    continued = run(keeping, job, steps.append)
    assert steps[0] >= 3  # how many steps were done before the signal came is up to the machine
    assert steps.count(1) == 0
    whole = run(keeping, job.model_copy(update={"rows_hash": "the same rows"}))
    assert (continued / ADAPTER).read_bytes() == (whole / ADAPTER).read_bytes()
    assert read_train_metrics(continued).losses == read_train_metrics(whole).losses


def test_a_lost_process_ends_the_worker_which_says_so_and_keeps_the_checkpoint(
    keeping: LocalCompute, job: FineTuneJob, objects: Path
) -> None:
    lost = job.model_copy(update={"rows_hash": "lost"})

    def kill(step: int) -> None:
        if step == 4:
            list_others(keeping)[0].kill()

    with pytest.raises(TrainingError, match=r"killed, probably for lack of memory.*process 2 of 2 .* was lost"):
        run(keeping, lost, kill)
    assert (objects / f".{address_job(lost)}.checkpoint").exists()
    assert not (objects / address_job(lost)).exists()


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            """print('{"event": "error", "type": "TrainingError", "message": "out of memory"}', flush=True); input()""",
            ("TrainingError", "out of memory (process 2 of 2)"),
        ),
        ("raise SystemExit(3)", ("ended", "3")),
        ("import os; os.kill(os.getpid(), 9)", ("ended", "-9")),
    ],
)
def test_an_error_of_one_process_is_relayed_and_its_end_is_shared(
    program: str, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str]] = []
    at_rest = Event()
    monkeypatch.setattr(crew, "GRACE_SECONDS", 0.01)
    monkeypatch.setattr(crew, "_end_like", lambda code: told.append(("ended", str(code))))
    command = (sys.executable, "-c", program)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")

    def give_up(kind: str, message: str) -> None:
        told.append((kind, message))
        at_rest.set()
        process.kill()

    crew._watch(process, "process 2 of 2", at_rest, give_up)
    process.communicate()
    assert told == [expected]


def test_every_row_of_a_batch_goes_to_one_process() -> None:
    for n_rows in range(6):
        parts = [Team(rank=rank, size=3).take_part(range(n_rows)) for rank in range(3)]
        assert sorted(row for part in parts for row in part) == list(range(n_rows))
    assert ALONE.take_part([1, 2]) == [1, 2]


def test_processes_draw_other_numbers_and_the_same_ones_after_a_restart() -> None:
    def draw(team: Team, step: int) -> float:
        team.seed_step(0, step)
        return torch.rand(()).item()

    draws = [draw(Team(rank=rank, size=2), step) for step in range(3) for rank in range(2)]
    assert len(set(draws)) == 6
    assert draws == [draw(Team(rank=rank, size=2), step) for step in range(3) for rank in range(2)]
    torch.manual_seed(5)
    expected = torch.rand(()).item()
    torch.manual_seed(5)
    assert draw(ALONE, 3) == expected


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    started = time.monotonic()
    with (
        pytest.raises(ConfigError, match=r"in 2 processes needs a GPU for each, and torch sees 1 here"),
        crew.gather(2, torch.device("cuda"), "{}", lambda *_: None),
    ):
        pass
    assert time.monotonic() - started < 5
