"""A Llama of a few thousand parameters with a byte tokenizer, made in memory; rows for it, and jobs on them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pada_agent.core.jobs import PREDICTIONS, FineTuneJob, LoraSpec, PredictJob
from pada_agent.core.records import Example, Prediction
from pada_agent.training.encoding import IGNORE_INDEX, Encoded
from pada_agent.training.fine_tuning import fine_tune
from pada_agent.training.predicting import predict
from pada_agent.training.students import Student
from pada_agent.training.worker import write_rows

CPU = torch.device("cpu")


TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|start|>system\nBe kind.<|end|>\n{% endif %}"
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


SPEC = LoraSpec(rank=4, alpha=8, dropout=0.0, n_steps=6, batch_size=4, learning_rate=1e-2)


COLOURS = ("red", "green", "light green", "blue")


ROWS = [
    Example(id=f"r{i}", prompt=f"Which colour is {'the ' * (i % 3)}thing {i}?", answer=COLOURS[i % 4], options=COLOURS)
    for i in range(9)
]


OPEN_ROWS = [row.model_copy(update={"options": ()}) for row in ROWS]


def make_tokenizer() -> Any:
    """One token a byte, and four special ones."""
    specials = ["<|pad|>", "<|start|>", "<|end|>", "<|eos|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(specials + alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|eos|>", additional_special_tokens=specials[1:3]
    )
    fast.chat_template = TEMPLATE
    return fast


def make_model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=3,
        pad_token_id=0,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def make_job(**changes: Any) -> FineTuneJob:
    return FineTuneJob(student="s", rows="rows.jsonl", rows_hash="h", **{"lora": SPEC, **changes})


def train(student: Student, folder: Path, examples: Sequence[Example] = OPEN_ROWS, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    fine_tune(student, make_job(**changes), examples, folder=folder, on_progress=lambda _: None)
    return folder


def answer(student: Student, folder: Path, examples: Sequence[Example], **changes: Any) -> list[Prediction]:
    folder.mkdir(parents=True, exist_ok=True)
    job = PredictJob(student="s", rows="rows.jsonl", rows_hash="h", **{"max_new_tokens": 12, **changes})
    write_rows(folder / PREDICTIONS, predict(student, job, examples, on_progress=lambda _: None))
    return read_predictions(folder)


def read_predictions(folder: Path) -> list[Prediction]:
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    return [Prediction.model_validate_json(line) for line in lines]


def read_metrics(folder: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((folder / "train_metrics.json").read_text())
    return metrics


def copy_weights(student: Student) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in student.model.state_dict().items()}


def assert_same_weights(student: Student, before: dict[str, torch.Tensor]) -> None:
    after = student.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def logprobs_alone(model: Any, row: Encoded) -> torch.Tensor:
    """Log-probability of each label, from a plain forward pass over this sequence only."""
    logits: torch.Tensor = model(input_ids=torch.tensor([row.input_ids])).logits[0, :-1].log_softmax(-1)
    labels = torch.tensor(row.labels[1:])
    kept = labels != IGNORE_INDEX
    return torch.gather(logits[kept], 1, labels[kept, None])[:, 0]


def restore_pefts_forward(adapted: Any) -> None:
    for module in adapted.modules():
        vars(module).pop("forward", None)


def count_calls(module: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows with every call."""
    calls: list[str] = []
    original = getattr(module, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, counted)
    return calls
