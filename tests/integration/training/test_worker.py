"""The same in the worker process."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from pada_agent.app import wiring
from pada_agent.app.adapters.compute.local_compute import LocalCompute
from pada_agent.core import vllm_limits
from pada_agent.core.config_files import parse_config
from pada_agent.core.errors import ConfigError, DatasetError, TrainingError
from pada_agent.core.jobs import FineTuneJob, PredictJob, TokenizerJob
from pada_agent.training.students import Student
from pada_agent.training.worker import Request, Worker
from tests.integration.training.small_student import ROWS, SPEC, answer, make_job, read_predictions, train

# peft 0.21 reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


class TestWorker:
    def fine_tune_job(self, student_folder: Path, folder: Path, **changes: Any) -> FineTuneJob:
        return make_job(**changes).model_copy(
            update={"student": str(student_folder), "rows": str(folder / "rows.jsonl")}
        )

    def test_it_trains_and_predicts_as_in_process(
        self, compute: LocalCompute, student_folder: Path, folder: Path, student: Student, tmp_path: Path
    ) -> None:
        stages: list[str] = []
        job = self.fine_tune_job(student_folder, folder)
        adapter = compute.wait(compute.submit(job), lambda p: stages.append(p.stage))
        assert stages == ["load", "load", *["fine_tune"] * 6]
        request = PredictJob(student=job.student, adapter=str(adapter), adapter_hash="a", rows=job.rows, rows_hash="h")
        predictions = read_predictions(compute.wait(compute.submit(request), lambda _: None))
        expected = answer(student, tmp_path, ROWS, adapter=str(train(student, tmp_path, ROWS)))
        assert [p.example_id for p in predictions] == [row.id for row in ROWS]
        for one, other in zip(predictions, expected, strict=True):
            assert one.option_scores == pytest.approx(other.option_scores, abs=1e-4)

        compute.wait(compute.submit(job), lambda _: pytest.fail("ran again"))

    def test_errors_come_back_as_they_were_raised(
        self, compute: LocalCompute, student_folder: Path, folder: Path
    ) -> None:
        job = self.fine_tune_job(student_folder, folder, lora=SPEC.model_copy(update={"max_length": 9}))
        with pytest.raises(DatasetError, match="row 'r0' has"):
            compute.wait(compute.submit(job), lambda _: None)

    def test_a_killed_worker_is_a_clear_error_and_the_next_try_succeeds(
        self, compute: LocalCompute, student_folder: Path, folder: Path
    ) -> None:
        job = self.fine_tune_job(student_folder, folder, seed=5)
        worker = compute._worker
        assert worker is not None

        with pytest.raises(TrainingError, match="the training worker ended"):
            compute.wait(compute.submit(job), lambda _: os.kill(worker.pid, signal.SIGKILL))
        adapter = compute.wait(compute.submit(job), lambda _: None)
        assert (adapter / "adapter_model.safetensors").exists()


@pytest.mark.parametrize(
    ("settings", "device", "told"),
    [
        (
            {"compute": {"processes": 4}},
            "cuda",
            r"compute\.processes: .* in 4 processes .* torch sees 2 here\. Lower it",
        ),
        ({"student": {"engine": "vllm"}}, "cpu", r"student\.engine is vllm, but vLLM is not installed here\."),
    ],
)
def test_a_run_begins_with_a_job_that_fails_if_later_ones_would(
    settings: dict[str, Any], device: str, told: str, student_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where jobs run, which may be another machine. Nothing of it needs torch in the process that asks."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(vllm_limits, "_find_version", lambda: None)
    job = wiring._make_tokenizer_job(parse_config(settings, origin="test"), str(student_folder))
    folder = student_folder.parent / "facts"
    with pytest.raises(ConfigError, match=told):
        Worker(torch.device(device)).run(Request(job=job, folder=str(folder)), lambda _: None)
    Worker(torch.device(device)).run(Request(job=TokenizerJob(student=job.student), folder=str(folder)), lambda _: None)
