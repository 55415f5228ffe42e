"""What only a GPU can show: recorded passes and steps compute what the unrecorded ones do."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pada_agent.core.jobs import FineTuneJob, LoraSpec, PredictJob
from pada_agent.core.records import Example
from pada_agent.training import fine_tuning
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.fine_tuning import backward, fine_tune
from pada_agent.training.generation.greedy import generate
from pada_agent.training.kernels.graphed_backward import RecordedBackward
from pada_agent.training.lora import attach_lora
from pada_agent.training.predicting import predict
from pada_agent.training.scoring import score_options
from pada_agent.training.students import Student, load_student
from tests.tiny_models import save_student

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU, and torch sees none here"),
    pytest.mark.filterwarnings("default"),
]

LORA = LoraSpec(rank=4, alpha=8, dropout=0.0, n_steps=12, batch_size=4, learning_rate=1e-2)
COLOURS = ("red", "green", "light green", "blue")
ROWS = [
    Example(id=f"r{i}", prompt=f"Which colour is {'the ' * (i % 7)}thing {i}?", answer=COLOURS[i % 4], options=COLOURS)
    for i in range(24)
]
OPEN_ROWS = [row.model_copy(update={"options": ()}) for row in ROWS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(
        tmp_path_factory.mktemp("student"),
        hidden_size=64,
        intermediate_size=96,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )


def open_student(folder: Path, dtype: torch.dtype) -> Student:
    student = load_student(str(folder), torch.device("cuda"))
    student.model.to(dtype)
    return student


def make_job(**changes: Any) -> FineTuneJob:
    return FineTuneJob(student="s", rows="rows", rows_hash="h", lora=LORA.model_copy(update=changes))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 5e-2)])
def test_recorded_passes_give_the_same_loss_and_gradients(folder: Path, dtype: torch.dtype, tolerance: float) -> None:
    student = open_student(folder, dtype)
    encoder = ChatEncoder(student.tokenizer)
    batches = [[encoder.training_row(row, LORA) for row in OPEN_ROWS[i : i + 4]] for i in (0, 4, 0, 4, 8, 0)]
    with attach_lora(student, make_job()) as adapted:
        parameters = [p for p in adapted.parameters() if p.requires_grad]
        torch.manual_seed(1)
        for p in parameters:
            torch.nn.init.normal_(p, std=0.1)
        expected = []
        for batch in batches:
            loss = backward(adapted, batch, max_pack_tokens=2048).item()
            expected.append((loss, torch.cat([p.grad.flatten() for p in parameters])))
            adapted.zero_grad(set_to_none=True)
        recorded = RecordedBackward(adapted, 4)
        for batch, (loss, gradient) in zip(batches, expected, strict=True):
            found = recorded(batch, max_pack_tokens=2048).item()
            assert found == pytest.approx(loss, rel=tolerance)
            mine = torch.cat([p.grad.flatten() for p in parameters])
            assert torch.nn.functional.cosine_similarity(mine, gradient, dim=0) > 1 - tolerance
            for p in parameters:
                p.grad.zero_()


def test_dropout_differs_from_replay_to_replay(folder: Path) -> None:
    student = open_student(folder, torch.float32)
    encoder = ChatEncoder(student.tokenizer)
    batch = [encoder.training_row(row, LORA) for row in OPEN_ROWS[:4]]
    with attach_lora(student, make_job(dropout=0.5)) as adapted:
        for p in adapted.parameters():
            if p.requires_grad:
                torch.nn.init.normal_(p, std=0.3)
        recorded = RecordedBackward(adapted, 4)
        assert len({recorded(batch, max_pack_tokens=2048).item() for _ in range(6)}) == 6


def test_a_fine_tuning_learns_and_is_the_unrecorded_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = []
    for recorded in (True, False):
        student = open_student(folder, torch.float32)
        (tmp_path / str(recorded)).mkdir()
        monkeypatch.setattr(fine_tuning, "is_plain", lambda _, wanted=recorded: wanted)
        fine_tune(student, make_job(), OPEN_ROWS, folder=tmp_path / str(recorded), on_progress=lambda _: None)
        losses.append(json.loads((tmp_path / str(recorded) / "train_metrics.json").read_text())["losses"])
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)
    assert losses[0][-1] < losses[0][0]


def write_alone(student: Student, row: Example, n_new: int) -> str:
    encoder = ChatEncoder(student.tokenizer)
    prompt = torch.tensor([encoder.prompt(row)], device="cuda")
    out = student.model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=n_new,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=[encoder.end_token_id, student.tokenizer.eos_token_id],
    )
    text: str = student.tokenizer.decode(out[0, prompt.shape[1] :], skip_special_tokens=True)
    return text


def test_recorded_steps_write_the_text_of_each_row_alone(folder: Path) -> None:
    student = open_student(folder, torch.float32)
    job = PredictJob(student="s", rows="rows", rows_hash="h", max_new_tokens=40)
    found = generate(student, ChatEncoder(student.tokenizer), OPEN_ROWS, job=job, on_done=lambda _: None)
    assert [p.response for p in found] == [write_alone(student, row, 40) for row in OPEN_ROWS]


def test_rows_in_turn_write_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = open_student(folder, torch.float32)
    job = PredictJob(student="s", rows="rows", rows_hash="h", max_new_tokens=40)
    encoder = ChatEncoder(student.tokenizer)
    at_once = generate(student, encoder, OPEN_ROWS, job=job, on_done=lambda _: None)
    monkeypatch.setattr("pada_agent.training.generation.graphed_batching.N_SLOTS", 5)
    assert generate(student, encoder, OPEN_ROWS, job=job, on_done=lambda _: None) == at_once


def test_options_are_picked_as_on_a_cpu(folder: Path) -> None:
    picks = []
    for device in ("cuda", "cpu"):
        student = load_student(str(folder), torch.device(device))
        student.model.float()
        encoder = ChatEncoder(student.tokenizer)
        picks.append([p.response for p in score_options(student, encoder, ROWS, on_done=lambda _: None)])
    assert picks[0] == picks[1]


def test_an_adapter_made_on_a_gpu_answers_on_a_cpu(folder: Path, tmp_path: Path) -> None:
    student = load_student(str(folder), torch.device("cuda"))
    (tmp_path / "adapter").mkdir()
    fine_tune(student, make_job(n_steps=60), OPEN_ROWS, folder=tmp_path / "adapter", on_progress=lambda _: None)
    job = PredictJob(
        student="s", rows="rows", rows_hash="h", adapter=str(tmp_path / "adapter"), adapter_hash="h", max_new_tokens=12
    )
    texts = []
    for device in ("cuda", "cpu"):
        texts.append(predict(load_student(str(folder), torch.device(device)), job, OPEN_ROWS, on_progress=print))
    n_same = sum(a == b for a, b in zip(*texts, strict=True))
    assert n_same >= 0.8 * len(OPEN_ROWS)
