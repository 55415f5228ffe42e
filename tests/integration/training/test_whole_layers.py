"""Adapters of other programs, which train whole layers or biases besides LoRA."""

from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from pada_agent.core.jobs import ExportJob
from pada_agent.core.records import Example
from pada_agent.training.export.merged_model import export
from pada_agent.training.predicting import apply_adapter
from pada_agent.training.students import load_student, read_gguf
from tests.integration.training.small_student import CPU
from tests.tiny_models import save_gguf_student, save_student

pytestmark = pytest.mark.filterwarnings("ignore")

TEXT = torch.arange(40)[None]
ROWS = [Example(id=f"r{i}", prompt=f"Is {i} the even one?", answer="") for i in range(3)]


def save_adapter(student: str, folder: Path, **settings: Any) -> Path:
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(student)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", **settings)
    adapted = get_peft_model(model, config)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) * 0.3
    adapted.save_pretrained(folder)
    return folder


@torch.inference_mode()
def read(model: Any) -> torch.Tensor:
    logits: torch.Tensor = model.eval()(input_ids=TEXT).logits
    return logits


@pytest.mark.parametrize(
    "settings",
    [{}, {"modules_to_save": ["norm"]}, {"modules_to_save": ["embed_tokens", "lm_head"]}, {"bias": "all"}],
)
def test_a_student_is_the_same_after_an_adapter_as_before(settings: dict[str, Any], tmp_path: Path) -> None:
    source = save_student(tmp_path / "student", attention_bias=True, initializer_range=0.2)
    adapter = save_adapter(str(source), tmp_path / "adapter", **settings)
    student = load_student(str(source), CPU)
    before = read(student.model)
    expected = read(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(source), str(adapter)))
    with apply_adapter(student, adapter) as adapted:
        assert torch.equal(read(adapted.model), expected)
    assert torch.equal(read(student.model), before) and not torch.equal(before, expected)


@pytest.mark.parametrize("settings", [{"modules_to_save": ["norm"]}, {"bias": "all"}])
def test_a_gguf_has_what_was_trained_besides(settings: dict[str, Any], tmp_path: Path) -> None:
    """Vectors as F32, because llama.cpp computes with no others."""
    file, out = save_gguf_student(tmp_path, "qwen2"), tmp_path / "out"
    student = load_student(str(file), CPU)
    adapter = save_adapter(student.source, tmp_path / "adapter", **settings)
    expected = read(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(student.source), str(adapter)))
    out.mkdir()
    job = ExportJob(student=str(file), adapter=str(adapter), format="gguf", rows="rows", rows_hash="h")
    export(student, job, ROWS, folder=out, on_progress=lambda _: None)
    written = out / "model.gguf"
    torch.testing.assert_close(read(read_gguf(written)[0]), expected, atol=5e-2, rtol=0)
    assert all(t.tensor_type.name == "F32" for t in gguf.GGUFReader(written).tensors if len(t.shape) == 1)
