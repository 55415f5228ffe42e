"""Rows compared with failures by their gradients."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from pada_agent.app.adapters.compute.local_compute import LocalCompute
from pada_agent.core.errors import TrainingError
from pada_agent.core.jobs import INFLUENCE, InfluenceJob, LoraSpec
from pada_agent.core.json_lines import read_json_lines
from pada_agent.core.records import Example
from pada_agent.core.selection import RowInfluence
from pada_agent.training import influence
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.influence import measure_influence
from pada_agent.training.students import Student
from pada_agent.training.worker import write_rows
from tests.integration.training.small_student import (
    OPEN_ROWS,
    SPEC,
    assert_same_weights,
    copy_weights,
    logprobs_alone,
    train,
)

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

CANDIDATES, TARGETS = OPEN_ROWS[:6], OPEN_ROWS[5:]


def compare(student: Student, adapter: Path, **changes: Any) -> list[RowInfluence]:
    job = make_job(adapter, **changes)
    return measure_influence(student, job, CANDIDATES, TARGETS, on_progress=lambda _: None)


def make_job(adapter: Path, **changes: Any) -> InfluenceJob:
    values = {"student": "s", "rows": "r", "rows_hash": "h", "targets": "t", "targets_hash": "h"}
    return InfluenceJob.model_validate({**values, "adapter": str(adapter), **changes})


def differentiate_alone(
    student: Student, adapter: Path, encoder: ChatEncoder, rows: list[Example]
) -> list[tuple[float, torch.Tensor]]:
    """Loss and gradient of each row by autograd, one row at a time, with PEFT's own trainable adapter."""
    model = PeftModel.from_pretrained(student.model, str(adapter), is_trainable=True).eval()
    weights = [parameter for name, parameter in model.named_parameters() if ".lora_A." in name or ".lora_B." in name]
    found = []
    for row in rows:
        loss = -logprobs_alone(model, encoder.training_row(row, LoraSpec())).mean()
        found.append((loss.item(), torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])))
    model.unload()
    student.model.requires_grad_(False)
    return found


class TestMeasureInfluence:
    @pytest.mark.parametrize("max_tokens", [1, 200, 4096])
    @pytest.mark.parametrize("changes", [{}, {"rslora": True}, {"dora": True}, {"target_modules": "q_proj,down_proj"}])
    def test_without_projections_it_is_the_gradient_of_each_row_alone(
        self,
        student: Student,
        encoder: ChatEncoder,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        max_tokens: int,
        changes: dict[str, Any],
    ) -> None:
        monkeypatch.setitem(influence.MAX_BATCH_TOKENS, "cpu", max_tokens)
        adapter = train(student, tmp_path, lora=SPEC.model_copy(update=changes))
        found = compare(student, adapter, n_projections=None)
        rows = differentiate_alone(student, adapter, encoder, CANDIDATES)
        targets = differentiate_alone(student, adapter, encoder, TARGETS)
        assert [f.loss for f in found] == pytest.approx([loss for loss, _ in rows], abs=1e-4)
        for row, (_, gradient) in zip(found, rows, strict=True):
            expected = [torch.cosine_similarity(gradient, target, dim=0).item() for _, target in targets]
            assert row.cosines == pytest.approx(expected, abs=2e-4)

    def test_projections_keep_the_cosines_about_the_same(self, student: Student, adapter: Path) -> None:
        exact = torch.tensor([f.cosines for f in compare(student, adapter, n_projections=None)])
        near = torch.tensor([f.cosines for f in compare(student, adapter, n_projections=16)])
        assert (near - exact).abs().max() < 0.25
        assert torch.corrcoef(torch.stack([near.flatten(), exact.flatten()]))[0, 1] > 0.95

    def test_a_row_points_in_its_own_direction(self, student: Student, adapter: Path) -> None:
        found = compare(student, adapter)
        assert found[5].example_id == TARGETS[0].id
        assert found[5].cosines[0] == pytest.approx(1, abs=1e-3)

    def test_the_student_stays_as_it_was(self, student: Student, adapter: Path) -> None:
        before = copy_weights(student)
        compare(student, adapter)
        assert_same_weights(student, before)
        assert not any(parameter.requires_grad for parameter in student.model.parameters())

    def test_training_on_a_row_lowers_the_loss_of_targets_that_it_points_to(
        self, student: Student, encoder: ChatEncoder, adapter: Path
    ) -> None:
        """The sign of a cosine is the sign of what one small step of gradient descent on the row does to the target."""
        found = compare(student, adapter, n_projections=None)
        rows = differentiate_alone(student, adapter, encoder, CANDIDATES)
        before = [loss for loss, _ in differentiate_alone(student, adapter, encoder, TARGETS)]
        model = PeftModel.from_pretrained(student.model, str(adapter), is_trainable=True).eval()
        weights = [parameter for name, parameter in model.named_parameters() if "lora_" in name]
        kept = [weight.detach().clone() for weight in weights]
        agreed = []
        for row, (_, gradient) in zip(found, rows, strict=True):
            with torch.no_grad():
                parts = gradient.split([weight.numel() for weight in weights])
                for weight, part, old in zip(weights, parts, kept, strict=True):
                    weight.copy_(old - 1e-4 * part.view_as(weight) / gradient.norm())
                for target, old_loss, cosine in zip(TARGETS, before, row.cosines, strict=True):
                    loss = -logprobs_alone(model, encoder.training_row(target, LoraSpec())).mean().item()
                    if abs(cosine) > 0.1:
                        agreed.append((loss < old_loss) == (cosine > 0))
        model.unload()
        assert len(agreed) > 10
        assert all(agreed)

    def test_long_rows_lose_the_beginning_of_their_prompts(self, student: Student, adapter: Path) -> None:
        assert len(compare(student, adapter, max_length=40)) == len(CANDIDATES)

    def test_a_failure_whose_answer_does_not_fit_is_left_out(self, student: Student, adapter: Path) -> None:
        long, empty = (TARGETS[0].model_copy(update={"answer": answer}) for answer in ("x" * 300, ""))
        job = make_job(adapter, max_length=200)
        found = measure_influence(student, job, CANDIDATES, [long, TARGETS[0], empty], on_progress=lambda _: None)
        alone = measure_influence(student, job, CANDIDATES, TARGETS[:1], on_progress=lambda _: None)
        assert [row.cosines for row in found] == [(0.0, *row.cosines, 0.0) for row in alone]
        with pytest.raises(TrainingError, match="none of the 1 failures has a gradient"):
            measure_influence(student, job, CANDIDATES, [long], on_progress=lambda _: None)

    def test_a_row_without_a_finite_loss_counts_as_nothing_and_changes_no_other(
        self, student: Student, adapter: Path, tmp_path: Path
    ) -> None:
        expected = compare(student, adapter)
        rows = [CANDIDATES[0].model_copy(update={"id": "bad", "prompt": "\N{SNOWMAN}"}), *CANDIDATES]
        weights = student.model.get_input_embeddings().weight.data
        (token,) = set(student.tokenizer("\N{SNOWMAN}")["input_ids"][:1])
        kept = weights[token].clone()
        weights[token] = float("inf")  # tied: also the output's, so the loss of every row would be infinite
        output = student.model.get_output_embeddings()
        tied = output.weight
        output.weight = torch.nn.Parameter(tied.detach().clone(), requires_grad=False)
        output.weight.data[token] = kept
        try:
            found = measure_influence(student, make_job(adapter), rows, [*TARGETS, rows[0]], on_progress=lambda _: None)
            with pytest.raises(TrainingError, match="not finite on any of the 1 rows"):
                measure_influence(student, make_job(adapter), rows[:1], [], on_progress=lambda _: None)
        finally:
            output.weight = tied
            weights[token] = kept
        assert found[0].loss is None and not any(found[0].cosines)
        assert [row.loss for row in found[1:]] == pytest.approx([row.loss for row in expected], abs=1e-3)
        for row, same in zip(found[1:], expected, strict=True):
            assert row.cosines == pytest.approx((*same.cosines, 0.0), abs=2e-3)
        write_rows(tmp_path / INFLUENCE, found)
        assert read_json_lines(tmp_path / INFLUENCE, RowInfluence) == found

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_losses_need_no_layers_whose_gradients_can_be_read(self, student: Student, tmp_path: Path) -> None:
        adapter = train(student, tmp_path, lora=SPEC.model_copy(update={"target_modules": "embed_tokens"}))
        found = measure_influence(student, make_job(adapter), CANDIDATES, [], on_progress=lambda _: None)
        assert all(row.loss for row in found)

    def test_without_targets_losses_are_known(self, student: Student, adapter: Path) -> None:
        found = measure_influence(student, make_job(adapter), CANDIDATES, [], on_progress=lambda _: None)
        assert [f.cosines for f in found] == [()] * len(CANDIDATES)
        assert all(f.loss and f.loss > 0 for f in found)

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_an_adapter_without_linear_layers_is_refused(self, student: Student, tmp_path: Path) -> None:
        adapter = train(student, tmp_path, lora=SPEC.model_copy(update={"target_modules": "embed_tokens"}))
        with pytest.raises(TrainingError, match="LoRA on linear layers"):
            compare(student, adapter)


def test_the_worker_writes_a_line_for_each_row(
    compute: LocalCompute, student_folder: Path, folder: Path, adapter: Path
) -> None:
    rows = folder / "rows.jsonl"
    job = make_job(adapter, student=str(student_folder), rows=str(rows), targets=str(rows))
    events: list[Any] = []
    written = compute.wait(compute.submit(job), events.append)
    found = read_json_lines(written / INFLUENCE, RowInfluence)
    assert [len(f.cosines) for f in found] == [9] * 9
    assert events[-1].stage == "influence" and events[-1].done == events[-1].total == 18
