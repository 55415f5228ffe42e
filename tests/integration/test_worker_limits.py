"""The worker at the limits of its machine: no disk, no memory, many rounds, a cancel, a student from the hub's cache."""

import io
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors import SafetensorError

from pada_agent.app.adapters.compute.local_compute import LocalCompute
from pada_agent.app.adapters.storage import model_store
from pada_agent.core.errors import TrainingError
from pada_agent.core.jobs import FineTuneJob, LoraSpec, PredictJob
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example
from pada_agent.training import job_checkpoint
from pada_agent.training.job_checkpoint import JobCheckpoint
from pada_agent.training.memory import is_disk_full
from pada_agent.training.worker import Worker, serve
from tests.tiny_models import save_student

# peft 0.21 reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

ROWS = [Example(id=f"r{i}", prompt=f"Which of {i} and {i + 1} is even?", answer=str(i + i % 2)) for i in range(8)]
SPEC = LoraSpec(rank=4, n_steps=2, batch_size=4)
MAX_GROWTH_BYTES = 32 * 2**20


@pytest.fixture
def student(tmp_path: Path) -> Path:
    return save_student(tmp_path / "student")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(row.model_dump_json() + "\n" for row in ROWS))
    return path


@pytest.fixture
def compute(tmp_path: Path) -> Iterator[LocalCompute]:
    compute = LocalCompute(tmp_path / "objects", tmp_path / "worker.log", device="cpu", threads=1)
    yield compute
    compute.close()


def fine_tune_job(student: object, rows: Path, **changes: Any) -> FineTuneJob:
    return FineTuneJob(student=str(student), rows=str(rows), rows_hash="h", **{"lora": SPEC, **changes})


def predict_job(student: object, rows: Path, **changes: Any) -> PredictJob:
    return PredictJob(student=str(student), rows=str(rows), rows_hash="h", **{"max_new_tokens": 4, **changes})


def ask(worker: Worker, job: FineTuneJob | PredictJob, folder: Path) -> dict[str, Any]:
    """The worker's last event."""
    events = io.StringIO()
    line = json.dumps({"job": job.model_dump(mode="json"), "folder": str(folder)})
    serve(iter([line]), events, worker.run)
    last: dict[str, Any] = json.loads(events.getvalue().splitlines()[-1])
    return last


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_and_the_worker_goes_on(student: Path, rows: Path, tmp_path: Path) -> None:
    worker = Worker(torch.device("cpu"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "predictions.jsonl").symlink_to("/dev/full")
    event = ask(worker, predict_job(student, rows), tmp_path / "full")
    assert (event["event"], event["type"]) == ("error", "ArtifactError")
    assert "the disk is full" in event["message"]
    assert ask(worker, predict_job(student, rows), tmp_path / "roomy")["event"] == "done"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_is_full_when_a_checkpoint_is_saved_is_named_and_the_last_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = JobCheckpoint(tmp_path / "state", seconds=0)
    checkpoint.save_when_due(lambda: {"step": torch.tensor(1)})
    monkeypatch.setattr(job_checkpoint, "uuid4", lambda: SimpleNamespace(hex="full"))
    (tmp_path / "state.full").symlink_to("/dev/full")
    with pytest.raises((OSError, RuntimeError)) as caught:
        checkpoint.save_when_due(lambda: {"step": torch.zeros(1_000_000)})
    assert is_disk_full(caught.value)
    assert checkpoint.load() == {"step": torch.tensor(1)}
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_disk_that_fills_while_an_adapter_is_saved_is_named(
    student: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    worker = Worker(torch.device("cpu"))
    monkeypatch.setattr(PeftModel, "save_pretrained", save)
    event = ask(worker, fine_tune_job(student, rows), tmp_path / "full")
    assert (event["event"], event["type"]) == ("error", "ArtifactError")
    monkeypatch.undo()
    assert ask(worker, fine_tune_job(student, rows), tmp_path / "roomy")["event"] == "done"


def test_answers_that_find_no_memory_name_the_setting_to_lower(
    student: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("pada_agent.training.generation.greedy.write_in_slots", fail)
    event = ask(Worker(torch.device("cpu")), predict_job(student, rows), tmp_path / "out")
    assert event["type"] == "TrainingError"
    assert "lower student.eval_batch_size" in event["message"]


def test_a_cancel_ends_a_real_worker_within_five_seconds(student: Path, rows: Path, compute: LocalCompute) -> None:
    job_id = compute.submit(fine_tune_job(student, rows, lora=SPEC.model_copy(update={"n_steps": 100_000})))
    cancelled_at: list[float] = []

    def cancel(progress: Progress) -> None:
        if progress.stage == "fine_tune" and not cancelled_at:
            cancelled_at.append(time.monotonic())
            threading.Thread(target=compute.cancel, args=[job_id]).start()

    with pytest.raises(TrainingError, match="was cancelled"):
        compute.wait(job_id, cancel)
    worker = compute._worker
    assert worker is not None
    assert worker.returncode is not None
    assert time.monotonic() - cancelled_at[0] < 5


def test_a_student_by_hub_id_is_read_from_the_hubs_cache(
    student: Path, rows: Path, tmp_path: Path, compute: LocalCompute, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "hub" / "models--some--student"
    shutil.copytree(student, model / "snapshots" / "0123abc")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0123abc")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    adapter = compute.wait(compute.submit(fine_tune_job("some/student", rows)), lambda _: None)
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "some/student"
    assert "`model.safetensors`" in (adapter / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "smollm2-135m-instruct"])
def test_ten_iterations_leave_the_worker_no_larger_than_three(
    name: str, student: Path, rows: Path, compute: LocalCompute
) -> None:
    model = student if name == "tiny" else model_store.resolve(name)
    sizes = []
    for seed in range(10):
        adapter = compute.wait(compute.submit(fine_tune_job(model, rows, seed=seed)), lambda _: None)
        compute.wait(compute.submit(predict_job(model, rows, adapter=str(adapter))), lambda _: None)
        sizes.append(resident_bytes(compute))
    print([round(size / 2**20) for size in sizes])
    assert max(sizes[3:]) - max(sizes[:3]) < MAX_GROWTH_BYTES


def resident_bytes(compute: LocalCompute) -> int:
    worker = compute._worker
    assert worker is not None
    return int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
