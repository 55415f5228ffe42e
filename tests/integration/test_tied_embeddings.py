"""Adapters on input and output embeddings: what is measured and exported is what plain PEFT gives with the adapter."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from pada_agent.core.errors import TrainingError
from pada_agent.core.jobs import ExportJob, FineTuneJob, LoraSpec, PredictJob
from pada_agent.core.records import Example
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.export.merged_model import export
from pada_agent.training.fine_tuning import fine_tune
from pada_agent.training.predicting import answer_rows, merge_adapter
from pada_agent.training.students import load_student
from tests.tiny_models import save_gguf_student, save_student

pytestmark = pytest.mark.filterwarnings("ignore")

CPU = torch.device("cpu")
WORDS = ("yes", "not at all")
ROWS = [Example(id=str(i), prompt=f"Is {i} odd?", answer=WORDS[i % 2], options=WORDS) for i in range(6)]


def train(student: Path, folder: Path, targets: str) -> Path:
    lora = LoraSpec(rank=4, alpha=8, dropout=0.0, n_steps=12, learning_rate=0.05, target_modules=targets)
    job = FineTuneJob(student=str(student), rows="r", rows_hash="h", lora=lora)
    folder.mkdir()
    fine_tune(load_student(str(student), CPU), job, ROWS, folder=folder, on_progress=lambda _: None)
    return folder


def weigh_plainly(student: Path, adapter: Path) -> list[list[float]]:
    """Scores of the options by PEFT alone, one text at a time."""
    model: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(student), str(adapter)).eval()
    encoder = ChatEncoder(load_student(str(student), CPU).tokenizer)
    return [
        [
            weigh(model, encoder.prompt(row), ids) / len(option)
            for ids, option in zip(encoder.answers(row, WORDS), WORDS, strict=True)
        ]
        for row in ROWS
    ]


@torch.inference_mode()
def weigh(model: Any, prompt: list[int], answer: list[int]) -> float:
    logits = model(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    return sum(logits[len(prompt) - 1 + i, token].item() for i, token in enumerate(answer))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "apart"])
@pytest.mark.parametrize("targets", ["lm_head", "embed_tokens", "q_proj,lm_head", "embed_tokens,lm_head"])
def test_measured_and_exported_scores_are_those_of_plain_peft(targets: str, tied: bool, tmp_path: Path) -> None:
    student = save_student(tmp_path / "student", tie_word_embeddings=tied)
    adapter = train(student, tmp_path / "adapter", targets)
    expected = weigh_plainly(student, adapter)
    loaded = load_student(str(student), CPU)
    job = PredictJob(student="s", rows="r", rows_hash="h")
    found = answer_rows(merge_adapter(loaded, adapter), job, ROWS, on_done=lambda _: None)
    for prediction, scores in zip(found, expected, strict=True):
        assert prediction.option_scores == pytest.approx(scores, abs=1e-4)

    order = ExportJob(student=str(student), adapter=str(adapter), format="safetensors", rows="r", rows_hash="h")
    out = tmp_path / "model"
    out.mkdir()
    export(loaded, order, ROWS, folder=out, on_progress=lambda _: None)
    written = answer_rows(load_student(str(out), CPU), job, ROWS, on_done=lambda _: None)
    for prediction, scores in zip(written, expected, strict=True):
        assert prediction.option_scores == pytest.approx(scores, abs=1e-4)
    report = json.loads((out / "export.json").read_text())
    assert report["n_equal"] == len(ROWS)
    assert report["largest_difference"] < 1e-4


def test_the_student_stays_as_it_was(tmp_path: Path) -> None:
    student = save_student(tmp_path / "student", tie_word_embeddings=True)
    adapter = train(student, tmp_path / "adapter", "lm_head")
    loaded = load_student(str(student), CPU)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    merged = merge_adapter(loaded, adapter)
    assert loaded.model.config.tie_word_embeddings
    assert not merged.model.config.tie_word_embeddings
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_gguf_that_holds_one_tensor_for_both_is_refused(tmp_path: Path) -> None:
    student = save_gguf_student(tmp_path)
    adapter = train(student, tmp_path / "adapter", "lm_head")
    order = ExportJob(student=str(student), adapter=str(adapter), format="gguf", rows="r", rows_hash="h")
    out = tmp_path / "model"
    out.mkdir()
    with pytest.raises(TrainingError, match=r"are one tensor.* Export with --format safetensors"):
        export(load_student(str(student), CPU), order, ROWS, folder=out, on_progress=lambda _: None)
