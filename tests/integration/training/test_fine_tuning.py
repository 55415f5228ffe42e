"""Fine-tuning of a real, small student: losses, gradients, memory, errors."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pada_agent.core.errors import DatasetError, NonFiniteLossError, TrainingError
from pada_agent.core.jobs import LoraSpec
from pada_agent.training import fine_tuning
from pada_agent.training.encoding import ChatEncoder, Encoded
from pada_agent.training.fine_tuning import attach_lora, backward, draw_batches, fine_tune, learning_rate_factor
from pada_agent.training.kernels.graphed_backward import RecordedBackward
from pada_agent.training.students import Student
from tests.integration.training.small_student import (
    OPEN_ROWS,
    ROWS,
    SPEC,
    assert_same_weights,
    copy_weights,
    make_job,
    read_metrics,
    restore_pefts_forward,
    train,
)
from tests.tiny_models import pad

# peft 0.21 reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


class TestFineTuning:
    @pytest.fixture
    def batch(self, encoder: ChatEncoder) -> list[Encoded]:
        return [encoder.training_row(row, SPEC) for row in ROWS]

    def backward_grads(
        self, student: Student, batch: list[Encoded], max_pack_tokens: int | None, *, recorded: bool = False
    ) -> tuple[float, Any]:
        """Loss and gradients of our loop, or of PEFT's own forward when `max_pack_tokens` is None."""
        with attach_lora(student, make_job()) as adapted:
            torch.manual_seed(1)
            parameters = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
            for name, p in parameters.items():
                if "lora_B" in name:
                    torch.nn.init.normal_(p, std=0.1)
            if max_pack_tokens is None:
                restore_pefts_forward(adapted)
                output = adapted(**pad(batch))
                output.loss.backward()
                loss = output.loss.item()
            elif recorded:
                add = RecordedBackward(adapted, len(batch))
                add(batch, max_pack_tokens=max_pack_tokens)
                for p in parameters.values():
                    p.grad.zero_()
                loss = add(batch, max_pack_tokens=max_pack_tokens).item()
            else:
                loss = backward(adapted, batch, max_pack_tokens=max_pack_tokens).item()
            return loss, {name: p.grad for name, p in parameters.items()}

    @pytest.mark.parametrize("recorded", [False, True], ids=["", "as on a GPU"])
    @pytest.mark.parametrize("max_pack_tokens", [1, 150, 10_000])
    def test_loss_and_gradients_equal_pefts_own_however_the_batch_is_cut(
        self, student: Student, batch: list[Encoded], max_pack_tokens: int, recorded: bool
    ) -> None:
        loss, grads = self.backward_grads(student, batch, max_pack_tokens, recorded=recorded)
        expected, expected_grads = self.backward_grads(student, batch, None)
        assert loss == pytest.approx(expected, abs=1e-5)
        torch.testing.assert_close(grads, expected_grads, atol=1e-5, rtol=1e-4)

    def test_it_learns_and_leaves_the_base_weights_unchanged(self, student: Student, tmp_path: Path) -> None:
        before = copy_weights(student)
        folder = train(student, tmp_path, lora=SPEC.model_copy(update={"n_steps": 30}))
        metrics = json.loads((folder / "train_metrics.json").read_text())
        assert metrics["losses"][-1] < 0.5 * metrics["losses"][0]
        assert metrics["n_steps"] == len(metrics["losses"]) == 30
        assert metrics["n_tokens"] > 0 < metrics["peak_memory_bytes"]
        assert_same_weights(student, before)
        assert not any(p.requires_grad for p in student.model.parameters())
        assert not student.model.training

    def test_the_same_seed_gives_the_same_adapter_and_another_seed_another(
        self, student: Student, tmp_path: Path
    ) -> None:
        spec = SPEC.model_copy(update={"dropout": 0.2})
        folders = [train(student, tmp_path / str(i), lora=spec, seed=seed) for i, seed in enumerate((0, 0, 1))]
        one, same, other = ((folder / "adapter_model.safetensors").read_bytes() for folder in folders)
        assert one == same != other

    def test_it_continues_an_adapter(self, student: Student, tmp_path: Path) -> None:
        first = train(student, tmp_path / "first", lora=SPEC.model_copy(update={"n_steps": 30}))
        second = train(student, tmp_path / "second", start_from=str(first))
        end, start = (json.loads((f / "train_metrics.json").read_text())["losses"] for f in (first, second))
        assert start[0] < 2 * end[-1] < end[0]

    def test_an_adapter_that_does_not_fit_is_refused(self, student: Student, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match="does not load on student"):
            train(student, tmp_path, start_from=str(tmp_path))

    def test_truncated_rows_are_counted_in_progress_and_metrics(self, student: Student, tmp_path: Path) -> None:
        details: list[str] = []
        job = make_job(lora=SPEC.model_copy(update={"max_length": 60, "on_too_long": "truncate", "n_steps": 1}))
        fine_tune(student, job, OPEN_ROWS, folder=tmp_path, on_progress=lambda p: details.append(p.detail))
        assert read_metrics(tmp_path)["n_truncated_rows"] == 9
        assert details[0].endswith(", 9 rows truncated")

    def test_a_loss_that_is_no_number_names_step_and_learning_rate_and_frees_the_student(
        self, student: Student, tmp_path: Path
    ) -> None:
        before = copy_weights(student)
        with pytest.raises(NonFiniteLossError, match=r"step \d: .* at learning rate \d\.\d\de\+(29|30)"):
            train(student, tmp_path, lora=SPEC.model_copy(update={"learning_rate": 1e30, "max_grad_norm": 1e9}))
        assert_same_weights(student, before)
        train(student, tmp_path)

    def test_the_adapter_that_last_had_a_finite_loss_is_kept(
        self, student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = SPEC.model_copy(update={"scheduler": "constant", "warmup_ratio": 0})
        good = train(student, tmp_path / "good", lora=spec.model_copy(update={"n_steps": 3}))
        n_calls = 0

        def poisoned(*arguments: Any, **options: Any) -> torch.Tensor:
            nonlocal n_calls
            n_calls += 1
            return backward(*arguments, **options) * (float("nan") if n_calls == 5 else 1)

        monkeypatch.setattr(fine_tuning, "backward", poisoned)
        with pytest.raises(NonFiniteLossError, match="step 5: loss nan"):
            train(student, tmp_path / "bad", lora=spec)
        assert [path.name for path in (tmp_path / "bad").iterdir()] == ["last_good"]
        kept = (tmp_path / "bad" / "last_good" / "adapter_model.safetensors").read_bytes()
        assert kept == (good / "adapter_model.safetensors").read_bytes()

    @pytest.mark.parametrize(
        "error",
        [
            torch.cuda.OutOfMemoryError("CUDA out of memory."),
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."),
        ],
    )
    def test_out_of_memory_halves_the_packs_and_changes_nothing_else(
        self, student: Student, tmp_path: Path, error: RuntimeError, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = train(student, tmp_path / "expected")
        n_calls, forward = 0, type(student.model).forward

        def fail_at_the_second_pack(*arguments: Any, **options: Any) -> Any:
            nonlocal n_calls
            n_calls += 1
            if n_calls == 2:
                raise error
            return forward(*arguments, **options)

        monkeypatch.setattr(fine_tuning, "MAX_CPU_PACK_TOKENS", 100)
        monkeypatch.setattr(type(student.model), "forward", fail_at_the_second_pack)
        details: list[str] = []
        (tmp_path / "found").mkdir()
        fine_tune(
            student, make_job(), OPEN_ROWS, folder=tmp_path / "found", on_progress=lambda p: details.append(p.detail)
        )
        metrics = read_metrics(tmp_path / "found")
        assert metrics["n_memory_halvings"] == 1
        assert details[0].endswith(f"out of memory: packs cut to {metrics['max_pack_tokens']} tokens")
        assert metrics["losses"] == pytest.approx(read_metrics(expected)["losses"], rel=1e-4)

    def test_a_single_row_that_finds_no_memory_is_a_clear_error(
        self, student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

        monkeypatch.setattr(type(student.model), "forward", fail)
        with pytest.raises(TrainingError, match=r"single row of \d+ tokens.*lora\.max_length"):
            train(student, tmp_path)

    def test_other_errors_of_the_model_are_not_taken_for_lack_of_memory(
        self, student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise RuntimeError("shapes do not match")

        monkeypatch.setattr(type(student.model), "forward", fail)
        with pytest.raises(RuntimeError, match="shapes do not match"):
            train(student, tmp_path)

    def test_an_adapter_on_a_bf16_base_has_fp32_weights_that_learn(self, student: Student, tmp_path: Path) -> None:
        half = replace(student, model=student.model.to(torch.bfloat16))
        with attach_lora(half, make_job()) as adapted:
            assert {p.dtype for p in adapted.parameters() if p.requires_grad} == {torch.float32}
        folder = train(half, tmp_path, lora=SPEC.model_copy(update={"n_steps": 30}))
        losses = read_metrics(folder)["losses"]
        assert losses[-1] < 0.5 * losses[0]

    def test_steps_read_in_windows_are_the_same_steps(
        self, student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = train(student, tmp_path / "one")
        monkeypatch.setattr(fine_tuning, "STEPS_PER_READING", {"cpu": 4})
        done: list[int] = []
        (tmp_path / "four").mkdir()
        fine_tune(student, make_job(), OPEN_ROWS, folder=tmp_path / "four", on_progress=lambda p: done.append(p.done))
        assert done == [4, 6]
        assert read_metrics(tmp_path / "four")["losses"] == read_metrics(one)["losses"]

    def test_only_matrices_decay(self) -> None:
        matrix, vector = torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2))
        groups = fine_tuning.group_parameters([matrix, vector], 0.1)
        assert [(group["params"], group["weight_decay"]) for group in groups] == [([matrix], 0.1), ([vector], 0.0)]

    def test_unknown_target_modules_are_refused_with_those_there_are(self, student: Student, tmp_path: Path) -> None:
        with pytest.raises(
            TrainingError,
            match=r"no_proj is not a linear layer or embedding.*down_proj, embed_tokens, gate_proj, k_proj",
        ):
            train(student, tmp_path, lora=SPEC.model_copy(update={"target_modules": "q_proj, no_proj"}))

    def test_named_target_modules_are_the_only_ones(self, student: Student) -> None:
        job = make_job(lora=SPEC.model_copy(update={"target_modules": "q_proj,v_proj"}))
        with attach_lora(student, job) as adapted:
            trained = {
                name.split(".lora_")[0].rpartition(".")[2] for name, p in adapted.named_parameters() if p.requires_grad
            }
        assert trained == {"q_proj", "v_proj"}

    def test_no_rows_are_refused(self, student: Student, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="no rows"):
            train(student, tmp_path, examples=[])

    def test_an_epoch_sees_each_row_once(self) -> None:
        batches = draw_batches(7, 3, seed=0)
        epochs = [[next(batches) for _ in range(3)] for _ in range(2)]
        assert [[len(b) for b in epoch] for epoch in epochs] == [[3, 3, 1]] * 2
        assert all(sorted(i for batch in epoch for i in batch) == list(range(7)) for epoch in epochs)
        assert epochs[0] != epochs[1]

    def test_steps_follow_from_epochs(self) -> None:
        assert LoraSpec(epochs=5).count_steps(300) == 190
        assert LoraSpec(epochs=0.001).count_steps(300) == 1
        assert LoraSpec(n_steps=7).count_steps(300) == 7

    def test_the_learning_rate_warms_up_and_decays(self) -> None:
        spec = LoraSpec(warmup_ratio=0.2)
        factors = [learning_rate_factor(step, 10, spec) for step in range(10)]
        assert factors[:3] == pytest.approx([1 / 3, 2 / 3, 1])
        assert factors[2:] == sorted(factors[2:], reverse=True)
        assert 0 < factors[-1] <= 0.125
        assert learning_rate_factor(9, 10, spec.model_copy(update={"scheduler": "constant"})) == 1
