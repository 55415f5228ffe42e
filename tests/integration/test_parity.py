"""The engine against plain transformers and PEFT: padded batches, one row at a time, no packing."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from pada_agent.app.adapters.storage import model_store
from pada_agent.core.jobs import FineTuneJob, LoraSpec, PredictJob
from pada_agent.core.records import Example, Prediction
from pada_agent.training.encoding import IGNORE_INDEX, ChatEncoder, Encoded
from pada_agent.training.fine_tuning import draw_batches, fine_tune
from pada_agent.training.predicting import answer_rows
from pada_agent.training.students import Student, convert_gguf, load_student
from tests.integration.training.small_student import read_metrics
from tests.tiny_models import pad, save_student

# peft 0.21 reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

CPU = torch.device("cpu")
TIE = 1e-4
"""Log-probability between the two best tokens under which rounding may choose either."""
QUEUES = ("billing", "refunds", "meter readings", "account access")
ROWS = [
    Example(id=f"r{i}", prompt=f"{'Hello. ' * (i % 3)}Which desk takes case {i * 37 % 11}?", answer=QUEUES[i % 4])
    for i in range(12)
]
CHOICES = [row.model_copy(update={"options": QUEUES}) for row in ROWS]
SPEC = LoraSpec(
    rank=8, alpha=8, dropout=0.0, epochs=1, batch_size=4, learning_rate=1e-3, scheduler="constant", warmup_ratio=0.0
)


@pytest.fixture(scope="module", params=["tiny", pytest.param("smollm2-135m-instruct", marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A student's folder: random weights, or the real ones. One thread, for sums in one order."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    if request.param == "tiny":
        yield save_student(tmp_path_factory.mktemp("student"), initializer_range=0.2)
    else:
        yield convert_gguf(model_store.resolve(request.param))
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def student(folder: Path) -> Student:
    return load_student(str(folder), CPU)


@pytest.fixture(scope="module")
def adapter(student: Student, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained by the engine for one epoch."""
    return train(student, tmp_path_factory.mktemp("adapter"))


def train(student: Student, folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    job = FineTuneJob(student="s", rows="rows", rows_hash="h", lora=SPEC.model_copy(update=changes))
    fine_tune(student, job, ROWS, folder=folder, on_progress=lambda _: None)
    return folder


def train_plainly(folder: Path) -> tuple[list[float], PeftModel]:
    """The same rows in the same order, with the loss that transformers computes itself."""
    rows = render_plainly(folder)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(0)
    config = LoraConfig(r=8, lora_alpha=8, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base, config).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0)
    losses, batches = [], draw_batches(len(rows), 4, seed=0)
    for _ in range(3):
        loss = model(**pad([rows[i] for i in next(batches)])).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, model


def render_plainly(folder: Path) -> list[Encoded]:
    """By the tokenizer's template, whole; learned from the end of the prompt to the end of turn."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for row in ROWS:
        user = {"role": "user", "content": row.prompt}
        turns = [user, {"role": "assistant", "content": row.answer}]
        prompt = tokenizer.apply_chat_template([user], add_generation_prompt=True)["input_ids"]
        whole = tokenizer.apply_chat_template(turns)["input_ids"]
        end = len(whole) - 1 - whole[::-1].index(tokenizer.eos_token_id)
        labels = [IGNORE_INDEX] * len(prompt) + whole[len(prompt) : end + 1]
        rows.append(Encoded(input_ids=whole[: end + 1], labels=labels))
    return rows


def weight_update(model: Any) -> torch.Tensor:
    """B·A of every layer, as one vector."""
    deltas = [
        module.get_delta_weight("default").detach().flatten()
        for _, module in sorted(model.named_modules())
        if hasattr(module, "lora_A") and module.lora_A
    ]
    return torch.cat(deltas)


def load_update(folder: Path, adapter: Path) -> torch.Tensor:
    return weight_update(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), str(adapter)))


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(one.double(), other.double(), dim=0).item()


def answer(student: Student, rows: Sequence[Example], **changes: Any) -> list[Prediction]:
    job = PredictJob(student="s", rows="rows", rows_hash="h", **{"max_new_tokens": 16, "batch_size": 4, **changes})
    return answer_rows(student, job, rows, on_done=lambda _: None)


def test_losses_and_weight_updates_equal_those_of_plain_peft(folder: Path, adapter: Path) -> None:
    losses, model = train_plainly(folder)
    assert read_metrics(adapter)["losses"] == pytest.approx(losses, rel=1e-5)
    assert cosine(load_update(folder, adapter), weight_update(model)) > 0.9999


def test_packed_training_equals_one_row_at_a_time(
    folder: Path, student: Student, adapter: Path, tmp_path: Path
) -> None:
    single = train(student, tmp_path, micro_batch_tokens=1)
    assert read_metrics(single)["losses"] == pytest.approx(read_metrics(adapter)["losses"], rel=1e-5)
    assert cosine(load_update(folder, single), load_update(folder, adapter)) > 0.9999


def test_the_same_job_gives_the_same_bytes(student: Student, adapter: Path, tmp_path: Path) -> None:
    again = train(student, tmp_path)
    for name in ("adapter_model.safetensors", "adapter_config.json", "README.md"):
        assert (again / name).read_bytes() == (adapter / name).read_bytes()
    modules = json.loads((adapter / "adapter_config.json").read_text())["target_modules"]
    assert modules == sorted(modules), "the order of a set differs from process to process"


def test_texts_equal_those_of_single_row_generate_but_for_ties(student: Student) -> None:
    encoder = ChatEncoder(student.tokenizer)
    rows = ROWS[:6]
    n_ties = 0
    for row, prediction in zip(rows, answer(student, rows), strict=True):
        prompt = encoder.prompt(row)
        output = student.model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=16,
            do_sample=False,
            eos_token_id=encoder.end_token_id,
            pad_token_id=0,
        )
        n_ties += is_tie(student, prompt, output[0, len(prompt) :].tolist(), prediction.response)
    assert n_ties <= 1


def is_tie(student: Student, prompt: list[int], new: list[int], response: str) -> bool:
    """False for equal texts; where they part, the two best tokens must be as good as equal."""
    decoded = [student.tokenizer.decode(new[:n], skip_special_tokens=True) for n in range(len(new) + 1)]
    if decoded[-1] == response:
        return False
    n_common = max(n for n, text in enumerate(decoded) if response.startswith(text))
    with torch.inference_mode():
        logits = student.model(input_ids=torch.tensor([prompt + new[:n_common]])).logits[0, -1]
    best, second = logits.log_softmax(-1).topk(2).values.tolist()
    assert best - second < TIE, f"{decoded[-1]!r} and {response!r} part without a tie"
    return True


def test_answers_do_not_depend_on_the_order_or_the_batches_of_rows(student: Student) -> None:
    rows = [row for pair in zip(ROWS[:4], CHOICES[:4], strict=True) for row in pair]
    forward = answer(student, rows)
    backward = answer(student, rows[::-1], batch_size=3)[::-1]
    for one, other in zip(forward, backward, strict=True):
        assert (one.example_id, one.response) == (other.example_id, other.response)
        assert one.option_scores == pytest.approx(other.option_scores, abs=1e-5)
