"""What larger students need: less memory, jobs that survive a kill, and more kinds of LoRA."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft.tuners.lora import Linear

from pada_agent.app.adapters.compute.local_compute import LocalCompute, address_job
from pada_agent.core.errors import TrainingError
from pada_agent.core.jobs import LoraSpec, PredictJob
from pada_agent.core.progress import Progress
from pada_agent.core.records import Prediction
from pada_agent.training import predicting, worker
from pada_agent.training.fine_tuning import fine_tune
from pada_agent.training.job_checkpoint import JobCheckpoint
from pada_agent.training.kernels import gradient_checkpointing
from pada_agent.training.lora import attach_lora
from pada_agent.training.students import Student
from tests.integration.training.small_student import (
    COLOURS,
    OPEN_ROWS,
    ROWS,
    SPEC,
    answer,
    assert_same_weights,
    copy_weights,
    make_job,
    read_metrics,
    read_predictions,
    train,
)

# peft 0.21 reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

ADAPTER = "adapter_model.safetensors"
DROPOUT = SPEC.model_copy(update={"dropout": 0.2, "n_steps": 8})


class LostNodeError(Exception):
    """Somebody pulled the plug."""


def train_until(student: Student, folder: Path, checkpoint: JobCheckpoint, *, last_step: int) -> list[int]:
    """Steps that were reported before the job was lost."""
    seen: list[int] = []

    def on_progress(progress: Progress) -> None:
        seen.append(progress.done)
        if progress.done == last_step:
            raise LostNodeError

    folder.mkdir(parents=True, exist_ok=True)
    with pytest.raises(LostNodeError):
        fine_tune(
            student, make_job(lora=DROPOUT), OPEN_ROWS, folder=folder, on_progress=on_progress, checkpoint=checkpoint
        )
    return seen


@pytest.mark.parametrize("is_same_number", [False, True])
def test_a_checkpoint_of_another_version_is_removed_so_that_the_job_can_start_over(
    student: Student, tmp_path: Path, is_same_number: bool
) -> None:
    """One with another number of parameters, or with parameters of other shapes."""
    checkpoint = JobCheckpoint(tmp_path / "saved", seconds=0)
    train_until(student, tmp_path / "lost", checkpoint, last_step=2)
    state = checkpoint.load()
    n = len(state["parameters"]) if is_same_number else 1
    checkpoint = JobCheckpoint(tmp_path / "kept", seconds=0)
    checkpoint.save_when_due(lambda: {**state, "parameters": [torch.zeros(3, 5)] * n})
    with pytest.raises(TrainingError, match=r"of another version \(\w+: .*Run the same command again"):
        fine_tune(student, make_job(), OPEN_ROWS, folder=tmp_path, on_progress=lambda _: None, checkpoint=checkpoint)
    assert checkpoint.load() is None
    assert read_metrics(train(student, tmp_path / "again"))["n_steps"] == SPEC.n_steps


def test_a_lost_job_continues_at_its_checkpoint_and_gives_the_same_bytes(student: Student, tmp_path: Path) -> None:
    whole = train(student, tmp_path / "whole", lora=DROPOUT)
    checkpoint = JobCheckpoint(tmp_path / "kept", seconds=0)
    assert train_until(student, tmp_path / "lost", checkpoint, last_step=4) == [1, 2, 3, 4]

    torch.manual_seed(99)
    rest: list[int] = []
    (tmp_path / "again").mkdir()
    fine_tune(
        student,
        make_job(lora=DROPOUT),
        OPEN_ROWS,
        folder=tmp_path / "again",
        on_progress=lambda p: rest.append(p.done),
        checkpoint=checkpoint,
    )
    assert rest == [4, 5, 6, 7, 8]  # the fourth step was lost before it was kept
    assert (tmp_path / "again" / ADAPTER).read_bytes() == (whole / ADAPTER).read_bytes()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("kept")] == ["kept"]


def test_a_damaged_checkpoint_starts_the_job_again(student: Student, tmp_path: Path) -> None:
    whole = train(student, tmp_path / "whole", lora=DROPOUT)
    kept = tmp_path / "kept"
    train_until(student, tmp_path / "lost", JobCheckpoint(kept, seconds=0), last_step=4)
    for damage in (b"", b"PK\x03\x04 torn", kept.read_bytes()[:-200]):
        kept.write_bytes(damage)
        folder = tmp_path / f"again{len(damage)}"
        folder.mkdir()
        fine_tune(
            student,
            make_job(lora=DROPOUT),
            OPEN_ROWS,
            folder=folder,
            on_progress=lambda _: None,
            checkpoint=JobCheckpoint(kept, seconds=3600),
        )
        assert (folder / ADAPTER).read_bytes() == (whole / ADAPTER).read_bytes()


def test_a_checkpoint_is_written_no_more_often_than_asked(tmp_path: Path) -> None:
    checkpoint = JobCheckpoint(tmp_path / "kept", seconds=3600)
    checkpoint.save_when_due(lambda: pytest.fail("too early"))
    assert checkpoint.load() is None


def test_a_killed_worker_leaves_a_checkpoint_and_a_finished_job_none(
    student_folder: Path, folder: Path, tmp_path: Path
) -> None:
    compute = LocalCompute(tmp_path / "objects", tmp_path / "log", device="cpu", threads=1, checkpoint_minutes=1e-9)
    job = make_job(lora=DROPOUT).model_copy(update={"student": str(student_folder), "rows": str(folder / "rows.jsonl")})
    seen: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.stage == "fine_tune" and progress.done == 4 and compute._worker:
            os.kill(compute._worker.pid, signal.SIGKILL)

    try:
        with pytest.raises(TrainingError, match="the training worker ended"):
            compute.wait(compute.submit(job), kill)
        checkpoint = tmp_path / "objects" / f".{address_job(job)}.checkpoint"
        assert checkpoint.exists()
        adapter = compute.wait(compute.submit(job), lambda p: seen.append(p.done) if p.stage == "fine_tune" else None)
        assert seen[0] > 3
        assert not checkpoint.exists()
        other = LocalCompute(tmp_path / "other", tmp_path / "log", device="cpu", threads=1, checkpoint_minutes=0)
        whole = other.wait(other.submit(job), lambda _: None)
        other.close()
        assert (adapter / ADAPTER).read_bytes() == (whole / ADAPTER).read_bytes()
    finally:
        compute.close()


def test_recomputed_layers_give_the_same_adapter(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = train(student, tmp_path / "kept", lora=DROPOUT)
    n_passes = 0
    block = type(student.model.model.layers[0].mlp)
    forward = block.forward

    def count(*args: Any, **kwargs: Any) -> Any:
        nonlocal n_passes
        n_passes += 1
        return forward(*args, **kwargs)

    monkeypatch.setattr(block, "forward", count)
    again = train(student, tmp_path / "again", lora=DROPOUT.model_copy(update={"gradient_checkpointing": True}))
    assert n_passes == 2 * 2 * 8  # two layers, forward and again, in eight steps
    assert (again / ADAPTER).read_bytes() == (kept / ADAPTER).read_bytes()
    train(student, tmp_path / "after", lora=DROPOUT.model_copy(update={"gradient_checkpointing": False}))
    assert n_passes == 2 * 2 * 8 + 2 * 8
    assert not student.model.get_input_embeddings()._forward_hooks

    monkeypatch.setattr(gradient_checkpointing, "LONG_ON_CPU", 120)
    n_passes = 0
    auto = train(student, tmp_path / "auto", lora=DROPOUT.model_copy(update={"gradient_checkpointing": "auto"}))
    assert 2 * 8 < n_passes <= 2 * 2 * (8 + 1)  # with a trial pass; packs of a short last batch stay below 120 tokens
    assert (auto / ADAPTER).read_bytes() == (kept / ADAPTER).read_bytes()


def test_long_rows_on_a_cpu_keep_their_products(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count_products(folder: str, setting: bool | str) -> int:
        n_products = 0

        def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
            nonlocal n_products
            n_products += len(weight) != student.model.config.vocab_size
            return compute(x, weight, bias)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.nn.functional, "linear", linear)
            train(student, tmp_path / folder, lora=DROPOUT.model_copy(update={"gradient_checkpointing": setting}))
        return n_products

    compute = torch.nn.functional.linear
    monkeypatch.setattr(gradient_checkpointing, "LONG_ON_CPU", 10)
    once = count_products("kept", False)
    assert count_products("again", True) == 2 * once
    trial = 2 * 7  # with two tokens: seven products in each of two layers
    assert count_products("auto", "auto") == once + trial
    monkeypatch.setattr(gradient_checkpointing, "VERY_LONG_ON_CPU", 10)
    assert count_products("very long", "auto") == 2 * once + trial
    assert len({(tmp_path / name / ADAPTER).read_bytes() for name in ("kept", "again", "auto", "very long")}) == 1


def test_layers_that_change_a_product_in_place_compute_it_again(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = type(student.model.model.layers[0].mlp)

    def forward(mlp: Any, x: torch.Tensor) -> torch.Tensor:
        return mlp.down_proj(mlp.gate_proj(x).clamp_(-1, 1) * mlp.up_proj(x))  # type: ignore[no-any-return]

    monkeypatch.setattr(block, "forward", forward)
    kept = train(student, tmp_path / "kept", lora=DROPOUT.model_copy(update={"gradient_checkpointing": False}))
    monkeypatch.setattr(gradient_checkpointing, "LONG_ON_CPU", 10)
    auto = train(student, tmp_path / "auto", lora=DROPOUT.model_copy(update={"gradient_checkpointing": "auto"}))
    assert (auto / ADAPTER).read_bytes() == (kept / ADAPTER).read_bytes()


def test_a_student_whose_layers_cannot_be_recomputed_is_refused(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(student.model), "supports_gradient_checkpointing", False)
    with pytest.raises(TrainingError, match=r"lora\.gradient_checkpointing: transformers does not offer it .*llama"):
        train(student, tmp_path, lora=SPEC.model_copy(update={"gradient_checkpointing": True}))


@pytest.mark.parametrize("change", [{"rslora": True}, {"dora": True}, {"init": "gaussian"}, {"init": "orthogonal"}])
def test_other_kinds_of_lora_learn_and_are_read_back(student: Student, tmp_path: Path, change: dict[str, Any]) -> None:
    before = copy_weights(student)
    spec = SPEC.model_copy(update={"n_steps": 30, **change})
    folder = train(student, tmp_path / "one", ROWS, lora=spec)
    losses = read_metrics(folder)["losses"]
    assert losses[-1] < 0.5 * losses[0]
    assert_same_weights(student, before)

    untouched = answer(student, tmp_path / "before", ROWS)
    fine_tuned = answer(student, tmp_path / "after", ROWS, adapter=str(folder))
    for one, other, row in zip(untouched, fine_tuned, ROWS, strict=True):
        gold = COLOURS.index(row.answer)
        assert other.option_scores[gold] > one.option_scores[gold] + 0.1
    plain = train(student, tmp_path / "plain", ROWS, lora=SPEC.model_copy(update={"n_steps": 30}))
    assert (plain / ADAPTER).read_bytes() != (folder / ADAPTER).read_bytes()


def test_rslora_scales_by_the_root_of_the_rank(student: Student) -> None:
    with attach_lora(student, make_job(lora=LoraSpec(rank=16, alpha=32, rslora=True))) as adapted:
        scalings = {m.scaling["default"] for m in adapted.modules() if isinstance(m, Linear)}
    assert scalings == {8.0}


def test_settings_that_came_later_change_no_id_until_they_are_used() -> None:
    ids = {
        address_job(make_job(lora=SPEC.model_copy(update=change)))
        for change in ({}, {"rslora": False}, {"init": "default"})
    }
    assert ids == {address_job(make_job())}
    assert address_job(make_job(lora=SPEC.model_copy(update={"dora": True}))) not in ids


def test_a_large_student_is_merged_without_a_copy_and_loaded_again(
    student_folder: Path, folder: Path, student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = train(student, tmp_path / "adapter", ROWS)
    monkeypatch.setattr(worker, "LARGEST_COPY", student.n_bytes - 1)
    refuse = SimpleNamespace(deepcopy=lambda _: pytest.fail("copied"))
    monkeypatch.setattr(predicting, "copy", refuse)
    serving = worker.Worker(torch.device("cpu"), checkpoint_minutes=0)
    rows = str(folder / "rows.jsonl")
    stages: list[str] = []

    def ask(name: str, adapter: str | None) -> list[Prediction]:
        job = PredictJob(student=str(student_folder), adapter=adapter, rows=rows, rows_hash="h")
        request = worker.Request(job=job, folder=str(tmp_path / name))
        serving.run(request, lambda p: stages.append(p.stage))
        return read_predictions(tmp_path / name)

    untouched, merged, again = ask("a", None), ask("b", str(adapter)), ask("c", None)
    monkeypatch.undo()
    assert stages.count("load") == 2 * 2  # at the first job, and after the merge
    assert again == untouched
    assert merged == answer(student, tmp_path / "expected", ROWS, adapter=str(adapter))
