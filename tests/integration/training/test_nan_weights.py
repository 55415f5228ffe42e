"""Weights that give NaN are an error wherever numbers are compared, never a choice or a text."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pada_agent.core.errors import TrainingError
from pada_agent.core.jobs import PredictJob
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.generation.continuous_batching import write_in_slots
from pada_agent.training.generation.graphed_batching import write_recorded
from pada_agent.training.generation.one_by_one import write_alone
from pada_agent.training.generation.static_batching import write_padded
from pada_agent.training.generation.stopping import Row, Stops, encode_rows
from pada_agent.training.lora import check_numbers
from pada_agent.training.predicting import answer_rows, predict
from pada_agent.training.students import Student, load_student
from tests.integration.training.small_student import CPU, OPEN_ROWS, ROWS

# peft 0.21 reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

JOB = PredictJob(student="s", rows="rows.jsonl", rows_hash="h", max_new_tokens=4)
Write = Callable[[Student, list[Row], Stops], None]


def spoil(source: Path, target: Path, file: str, part: str) -> Path:
    shutil.copytree(source, target)
    weights = load_file(target / file)
    spoilt = {name: tensor * float("nan") if part in name else tensor for name, tensor in weights.items()}
    save_file(spoilt, target / file, metadata={"format": "pt"})
    return target


def test_a_student_is_refused_when_it_is_loaded(student_folder: Path, tmp_path: Path) -> None:
    folder = spoil(student_folder, tmp_path / "nan", "model.safetensors", "layers.1.mlp.down_proj")
    with pytest.raises(TrainingError, match=rf"student '{folder}': its weights give NaN.*lower learning rate"):
        load_student(str(folder), CPU)


def test_an_adapter_is_refused_before_it_answers_or_is_continued(
    student: Student, adapter: Path, tmp_path: Path
) -> None:
    folder = spoil(adapter, tmp_path / "nan", "adapter_model.safetensors", "lora_B")
    with pytest.raises(TrainingError, match=rf"adapter {folder}: its weights give NaN"):
        predict(student, JOB.model_copy(update={"adapter": str(folder)}), ROWS, on_progress=lambda _: None)
    with pytest.raises(TrainingError, match=rf"adapter {folder}"):
        check_numbers(folder)
    check_numbers(adapter)


@pytest.fixture
def spoilt(student: Student) -> Student:
    """One that gives NaN only after it was loaded."""
    with torch.no_grad():
        student.model.lm_head.weight.data.fill_(float("nan"))
    return student


def test_no_option_is_chosen(spoilt: Student) -> None:
    with pytest.raises(TrainingError, match="its weights give NaN"):
        answer_rows(spoilt, JOB, ROWS, on_done=lambda _: None)
    with pytest.raises(TrainingError, match="adapter best: its weights give NaN"):
        answer_rows(replace(spoilt, adapter=Path("best")), JOB, ROWS, on_done=lambda _: None)


WRITERS: dict[str, Write] = {
    "in slots": lambda student, rows, stops: write_in_slots(student, rows, stops, batch_size=2, on_done=print),
    "recorded": lambda student, rows, stops: write_recorded(student, rows, stops, on_done=print),
    "padded": lambda student, rows, stops: write_padded(student, rows, stops, batch_size=2, on_done=print),
    "alone": lambda student, rows, stops: write_alone(student, rows, stops, on_done=print),
}


@pytest.mark.parametrize("name", WRITERS)
@torch.inference_mode()
def test_no_text_is_written(spoilt: Student, encoder: ChatEncoder, name: str) -> None:
    rows = encode_rows(encoder, OPEN_ROWS, max_new_tokens=JOB.max_new_tokens, context_tokens=spoilt.context_tokens)
    stops = Stops(spoilt.tokenizer, JOB, encoder.stop_token_ids)
    with pytest.raises(TrainingError, match="its weights give NaN"):
        WRITERS[name](spoilt, rows, stops)
