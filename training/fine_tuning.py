"""LoRA fine-tuning. The student's base weights are frozen; the adapter's layers are taken off again at the end."""

import json
import math
import random
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from pada_agent.core.errors import DatasetError, NonFiniteLossError, TrainingError
from pada_agent.core.ports import FineTuneJob, LoraSpec, Progress
from pada_agent.core.records import Example
from pada_agent.training.encoding import IGNORE_INDEX, ChatEncoder, Encoded
from pada_agent.training.packing import pack, target_logprobs
from pada_agent.training.students import Student

MAX_CPU_PACK_TOKENS = 512
"""On CPU a pack's dense attention outweighs what longer packs save."""


@dataclass(frozen=True)
class Step:
    """What one optimizer step measured."""

    loss: float
    """Mean over the answer tokens of the batch, in nats."""
    n_tokens: int
    """Tokens of its rows, prompts included, whether or not rows shared them."""


def fine_tune(
    student: Student,
    job: FineTuneJob,
    examples: Sequence[Example],
    *,
    folder: Path,
    on_progress: Callable[[Progress], None],
) -> None:
    """Write a PEFT adapter and `train_metrics.json` into `folder`. Equal jobs give equal bytes on equal machines.

    Raises:
        DatasetError: no rows, or one is too long.
        TrainingError: unknown target modules, or an adapter to start from that does not fit.
        NonFiniteLossError: names step and learning rate.
    """
    if not examples:
        raise DatasetError(f"{job.rows}: no rows to fine-tune on")
    encoder = ChatEncoder(student.tokenizer, job.system)
    rows = [encoder.training_row(example, job.lora) for example in examples]
    start = time.perf_counter()
    with attach_lora(student, job) as adapted:
        steps = list(_run_steps(adapted, rows, job, on_progress))
        adapted.save_pretrained(str(folder))
    _write_metrics(folder, steps, seconds=time.perf_counter() - start)


@contextmanager
def attach_lora(student: Student, job: FineTuneJob) -> Iterator[Any]:
    """The student with a trainable adapter, new or continued (then with that one's rank and targets); afterwards as it was."""
    torch.manual_seed(job.seed)
    adapted = _inject(student, job)
    adapted.peft_config["default"].base_model_name_or_path = student.source
    adapted.train()
    try:
        yield adapted
    finally:
        adapted.unload().eval()
        student.model.requires_grad_(False)


def _inject(student: Student, job: FineTuneJob) -> Any:
    if not job.start_from:
        return get_peft_model(student.model, make_lora_config(student.model, job.lora))
    try:
        return PeftModel.from_pretrained(student.model, job.start_from, is_trainable=True)
    except (OSError, ValueError, RuntimeError) as exc:
        raise TrainingError(f"adapter {job.start_from} does not load on student {student.source}: {exc}") from exc


def make_lora_config(model: Any, spec: LoraSpec) -> LoraConfig:
    """PEFT's settings for `spec`.

    Raises:
        TrainingError: a target module that the model does not have; lists those it has.
    """
    names = [name.strip() for name in spec.target_modules.split(",") if name.strip()]
    if spec.target_modules != "all-linear":
        _check_targets(names, model)
    return LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules="all-linear" if spec.target_modules == "all-linear" else names,
        task_type="CAUSAL_LM",
    )


def _check_targets(names: list[str], model: Any) -> None:
    linear = sorted(
        {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    )
    unknown = [name for name in names if name.rpartition(".")[2] not in linear]
    if unknown or not names:
        raise TrainingError(
            f"lora.target_modules: {', '.join(unknown) or 'nothing'} is no linear layer of this model. It has: {', '.join(linear)}"
        )


def learning_rate_factor(step: int, n_steps: int, spec: LoraSpec) -> float:
    """Part of the peak learning rate at `step` (from 0): linear warm-up, then `spec.scheduler` down to 0 after the last step."""
    n_warmup = math.ceil(spec.warmup_ratio * n_steps)
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    done = (step - n_warmup) / max(1, n_steps - n_warmup)
    return {"linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done)), "constant": 1.0}[spec.scheduler]


def draw_batches(n_rows: int, batch_size: int, seed: int) -> Iterator[list[int]]:
    """Row indices, epoch after epoch without end, each epoch in its own order; an epoch's last batch may be short."""
    order = random.Random(seed)
    while True:
        indices = order.sample(range(n_rows), n_rows)
        yield from (indices[i : i + batch_size] for i in range(0, n_rows, batch_size))


def count_steps(n_rows: int, spec: LoraSpec) -> int:
    """Optimizer steps of a fine-tuning."""
    return spec.n_steps or max(1, round(spec.epochs * math.ceil(n_rows / spec.batch_size)))


def _run_steps(
    adapted: Any, rows: Sequence[Encoded], job: FineTuneJob, on_progress: Callable[[Progress], None]
) -> Iterator[Step]:
    spec, n_steps = job.lora, count_steps(len(rows), job.lora)
    parameters = [p for p in adapted.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=spec.learning_rate, weight_decay=spec.weight_decay)
    batches = draw_batches(len(rows), spec.batch_size, job.seed)
    n_tokens, start = 0, time.perf_counter()
    for number in range(n_steps):
        optimizer.param_groups[0]["lr"] = spec.learning_rate * learning_rate_factor(number, n_steps, spec)
        batch = [rows[i] for i in next(batches)]
        step = _take_step(adapted, batch, optimizer, spec=spec, number=number + 1)
        yield step
        n_tokens += step.n_tokens
        seconds = time.perf_counter() - start
        on_progress(
            Progress(
                stage="fine_tune",
                done=number + 1,
                total=n_steps,
                rate=(number + 1) / seconds,
                unit="steps",
                detail=f"loss {step.loss:.3f}, {n_tokens / seconds:.0f} tokens/s",
            )
        )


def _take_step(
    adapted: Any, batch: Sequence[Encoded], optimizer: torch.optim.Optimizer, *, spec: LoraSpec, number: int
) -> Step:
    loss = backward(adapted, batch, max_pack_tokens=spec.micro_batch_tokens)
    group = optimizer.param_groups[0]
    norm = torch.nn.utils.clip_grad_norm_(group["params"], spec.max_grad_norm)
    if not (math.isfinite(loss) and torch.isfinite(norm)):
        raise NonFiniteLossError(
            f"step {number}: loss {loss}, gradient norm {float(norm)} at learning rate {group['lr']:.2e}."
            " Lower lora.learning_rate, or look for damaged rows."
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return Step(loss=loss, n_tokens=sum(len(row.input_ids) for row in batch))


def backward(adapted: Any, batch: Sequence[Encoded], *, max_pack_tokens: int) -> float:
    """Add the batch's gradients and give its loss: the mean over all its answer tokens, however it is cut into packs.

    Rows that share a prompt prefix within a pack share its dropout too.
    """
    if adapted.device.type == "cpu":
        max_pack_tokens = min(max_pack_tokens, MAX_CPU_PACK_TOKENS)
    n_targets = sum(label != IGNORE_INDEX for row in batch for label in row.labels)
    total = 0.0
    for part in pack(batch, max_pack_tokens, adapted.device):
        loss = -target_logprobs(adapted, part).sum() / n_targets
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def _write_metrics(folder: Path, steps: Sequence[Step], *, seconds: float) -> None:
    n_tokens = sum(step.n_tokens for step in steps)
    values = {
        "losses": [step.loss for step in steps],
        "n_steps": len(steps),
        "n_tokens": n_tokens,
        "seconds": round(seconds, 3),
        "tokens_per_second": round(n_tokens / seconds, 1),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    (folder / "train_metrics.json").write_text(json.dumps(values, indent=1), encoding="utf-8")
