"""Influence on students of many architectures equals what autograd finds for each row alone."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from pada_agent.core.jobs import FineTuneJob, InfluenceJob, LoraSpec
from pada_agent.training.encoding import IGNORE_INDEX, ChatEncoder
from pada_agent.training.fine_tuning import fine_tune
from pada_agent.training.influence import measure_influence
from pada_agent.training.predicting import merge_adapter
from pada_agent.training.students import Student
from tests.integration.test_families import FAMILIES, MORE, ROWS, logprob, student, tokenizer

__all__ = ["student", "tokenizer"]

pytestmark = [pytest.mark.filterwarnings("ignore")]


ONCE_WRONG = ("opt", "jetmoe", "qwen3_next", "recurrent_gemma", "phi3 with longrope")
OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in MORE if name not in ONCE_WRONG]


@pytest.mark.parametrize("student", [*FAMILIES, *(name for name in ONCE_WRONG if name in MORE), *OTHERS], indirect=True)
def test_it_is_that_of_each_row_alone(student: Student, tokenizer: Any, tmp_path: Path) -> None:
    untouched = copy.deepcopy(student.model)
    lora = LoraSpec(rank=2, n_steps=3, learning_rate=0.02)
    spec = FineTuneJob(student="x", rows="r", rows_hash="h", lora=lora)
    fine_tune(student, spec, ROWS, folder=tmp_path, on_progress=lambda _: None)
    values = {"student": "x", "rows": "r", "rows_hash": "h", "targets": "t", "targets_hash": "h"}
    job = InfluenceJob.model_validate({**values, "adapter": str(tmp_path), "n_projections": None})
    found = measure_influence(student, job, ROWS, ROWS, on_progress=lambda _: None)
    alone = PeftModel.from_pretrained(untouched, tmp_path, is_trainable=True).eval()
    weights = [p for name, p in alone.named_parameters() if ".lora_A." in name or ".lora_B." in name]
    losses, gradients = [], []
    for row in (ChatEncoder(tokenizer).training_row(row, LoraSpec()) for row in ROWS):
        loss = -logprob(alone, row) / sum(label != IGNORE_INDEX for label in row.labels)
        read = torch.autograd.grad(loss, weights, allow_unused=True)
        gradients.append(
            torch.cat([(g if g is not None else w * 0).flatten() for g, w in zip(read, weights, strict=True)])
        )
        losses.append(float(loss))
    assert [row.loss for row in found] == pytest.approx(losses, abs=1e-3)
    for row, own in zip(found, gradients, strict=True):
        expected = [torch.cosine_similarity(own, other, dim=0).item() for other in gradients]
        assert row.cosines == pytest.approx(expected, abs=2e-3)
    merge_adapter(student, tmp_path)  # copies the student, which no graph may hold on to
