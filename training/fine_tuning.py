"""LoRA fine-tuning. The student's base weights are frozen, and the adapter's layers are removed again at the end."""

import json
import math
import random
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pada_agent.core.errors import DatasetError, NonFiniteLossError, TrainingError
from pada_agent.core.jobs import LAST_GOOD, TRAIN_METRICS, FineTuneJob, LoraSpec
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example
from pada_agent.training.crew import ALONE, Team
from pada_agent.training.encoding import IGNORE_INDEX, Encoded
from pada_agent.training.job_checkpoint import NOTHING_KEPT, JobCheckpoint
from pada_agent.training.kernels.attention_hook import is_plain
from pada_agent.training.kernels.gradient_checkpointing import KEEP_ALL, Checkpointing, choose_checkpointing
from pada_agent.training.kernels.graphed_backward import RecordedBackward
from pada_agent.training.kernels.prefix_tree import pack_for, target_logprobs
from pada_agent.training.lora import attach_lora, save_adapter
from pada_agent.training.memory import is_out_of_memory
from pada_agent.training.quantization import is_in_4bit
from pada_agent.training.students import Student, hash_weights

MAX_CPU_PACK_TOKENS = 512
"""On CPU, a longer pack's dense attention costs more than the pack saves."""

STEPS_PER_READING = {"cpu": 1, "cuda": 10}
"""Losses stay on the device for this many steps, because reading one waits for all work queued before it."""


@dataclass(frozen=True)
class Step:
    """What one optimizer step measured."""

    loss: float
    """Mean over the answer tokens of the batch, in nats."""
    grad_norm: float
    """Before clipping."""
    n_tokens: int
    """Tokens of its rows, including prompts. Tokens that rows share are counted for each."""


def fine_tune(
    student: Student,
    job: FineTuneJob,
    examples: Sequence[Example],
    *,
    folder: Path,
    on_progress: Callable[[Progress], None],
    checkpoint: JobCheckpoint = NOTHING_KEPT,
    team: Team = ALONE,
) -> None:
    """Write a PEFT adapter and `train_metrics.json` into `folder`. Equal jobs give equal bytes on equal CPUs.

    An interrupted job continues at its `checkpoint` and gives the same bytes as an uninterrupted one. All processes of a `team` call
    this with the same job; only the first one reads the checkpoint and writes.

    Raises:
        DatasetError: there are no rows, or one is empty or too long.
        TrainingError: target modules are unknown, the adapter to start from does not fit, the checkpoint is of another version, or a
            single row does not fit in memory.
        NonFiniteLossError: names the step and the learning rate. The adapter of the last finite loss is in `folder/last_good`.
    """
    if not examples:
        raise DatasetError(f"{job.rows}: no rows to fine-tune on")
    encoder = student.encode_by(job.chat)
    spec = job.lora.model_copy(update={"max_length": min(job.lora.max_length, student.context_tokens)})
    rows = [encoder.training_row(example, spec) for example in examples]
    with attach_lora(student, job) as adapted:
        loop = TrainingLoop(adapted, rows, job, team)
        if state := team.spread(checkpoint.load()):
            _continue(loop, state, checkpoint)
        try:
            loop.run(on_progress, checkpoint)
        except NonFiniteLossError:
            if loop.restore_last_good() and team.is_first:
                save_adapter(adapted, student, folder / LAST_GOOD)
            raise
        finally:
            loop.close()
        if not team.is_first:
            return
        save_adapter(adapted, student, folder)
    metrics = {**_summarize(loop.steps, seconds=loop.seconds), **loop.describe_cuts()}
    metrics["base_sha256"] = hash_weights(student.weights)
    (folder / TRAIN_METRICS).write_text(json.dumps(metrics, indent=1), encoding="utf-8")


def _continue(loop: "TrainingLoop", state: dict[str, Any], checkpoint: JobCheckpoint) -> None:
    """Load a checkpoint, or remove one that never will be loaded."""
    try:
        loop.load_state_dict(state)
    except (LookupError, TypeError, ValueError, RuntimeError) as exc:  # torch raises the last for other shapes
        if is_out_of_memory(exc):
            raise
        checkpoint.discard()
        raise TrainingError(
            f"the checkpoint of this fine-tuning is of another version ({type(exc).__name__}: {exc}) and was removed. Run the same"
            " command again: the fine-tuning starts over."
        ) from exc


def learning_rate_factor(step: int, n_steps: int, spec: LoraSpec) -> float:
    """Fraction of the peak learning rate at `step` (from 0): linear warm-up, then `spec.scheduler` down to 0 after the last step."""
    n_warmup = math.ceil(spec.warmup_ratio * n_steps)
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    done = (step - n_warmup) / max(1, n_steps - n_warmup)
    return {"linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done)), "constant": 1.0}[spec.scheduler]


def draw_batches(n_rows: int, batch_size: int, seed: int) -> Iterator[list[int]]:
    """Row indices, epoch after epoch without end, each in its own order. An epoch's last batch may be short."""
    order = random.Random(seed)
    while True:
        indices = order.sample(range(n_rows), n_rows)
        yield from (indices[i : i + batch_size] for i in range(0, n_rows, batch_size))


def backward(
    adapted: Any,
    batch: Sequence[Encoded],
    *,
    max_pack_tokens: int,
    checkpointing: Checkpointing = KEEP_ALL,
    n_targets: int | None = None,
) -> torch.Tensor:
    """Add the batch's gradients and return its loss: the mean over all its answer tokens, however it is split into packs.

    Rows that share a prompt prefix within a pack also share its dropout. If this is only a part of a batch that has `n_targets`
    answer tokens in all, the result is the part's share of the mean.
    """
    n_targets = n_targets or count_targets(batch)
    total = torch.zeros((), device=adapted.device)
    for part in pack_for(adapted, batch, max_pack_tokens):
        with checkpointing.around(adapted, len(part.token_ids)):
            loss = -target_logprobs(adapted, part).sum() / n_targets
            loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total


def count_targets(batch: Sequence[Encoded]) -> int:
    """Number of answer tokens."""
    return sum(label != IGNORE_INDEX for row in batch for label in row.labels)


class TrainingLoop:
    """Optimizer steps on the adapter. Losses are read once per window of steps, so that nothing waits for a GPU in between."""

    def __init__(self, adapted: Any, rows: Sequence[Encoded], job: FineTuneJob, team: Team = ALONE) -> None:
        spec, device = job.lora, adapted.device
        self.steps: list[Step] = []
        self._adapted = adapted
        self._rows = rows
        self._spec = spec
        self._seed = job.seed
        self._team = team
        self._batches = draw_batches(len(rows), spec.batch_size, job.seed)
        self._n_steps = spec.count_steps(len(rows))
        self._window = STEPS_PER_READING[device.type]
        on_cpu = device.type == "cpu"
        self._max_pack_tokens = min(spec.micro_batch_tokens, MAX_CPU_PACK_TOKENS) if on_cpu else spec.micro_batch_tokens
        self._n_halvings = 0
        self._seconds_before = 0.0
        self._start = time.perf_counter()
        self._parameters = [p for p in adapted.parameters() if p.requires_grad]
        self._last_good: list[torch.Tensor] | None = None
        self._optimizer = torch.optim.AdamW(
            group_parameters(self._parameters, spec.weight_decay), lr=spec.learning_rate, fused=True
        )
        longest = max(self._max_pack_tokens, *(len(row.input_ids) for row in rows))
        self._checkpointing = choose_checkpointing(spec.gradient_checkpointing, adapted.get_base_model(), longest)
        recordable = not on_cpu and is_plain(adapted) and self._checkpointing == KEEP_ALL
        recordable = recordable and not is_in_4bit(adapted) and team.size == 1  # neither was tried on a GPU
        self._recorded = RecordedBackward(adapted, spec.batch_size) if recordable else None

    @property
    def seconds(self) -> float:
        """Time spent on the steps so far, over all attempts."""
        return self._seconds_before + time.perf_counter() - self._start

    def state_dict(self) -> dict[str, Any]:
        """Everything that determines the steps to come."""
        cuda = self._adapted.device.type == "cuda"
        return {
            "parameters": [p.detach() for p in self._parameters],
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state() if cuda else None,
            "steps": [(s.loss, s.grad_norm, s.n_tokens) for s in self.steps],
            "seconds": self.seconds,
            "max_pack_tokens": self._max_pack_tokens,
            "n_halvings": self._n_halvings,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the state's last step."""
        with torch.no_grad():
            for parameter, value in zip(self._parameters, state["parameters"], strict=True):
                parameter.copy_(value)
        self._optimizer.load_state_dict(state["optimizer"])
        self.steps = [Step(loss=loss, grad_norm=norm, n_tokens=n) for loss, norm, n in state["steps"]]
        for _ in self.steps:
            next(self._batches)
        self._seconds_before = state["seconds"]
        self._max_pack_tokens = state["max_pack_tokens"]
        self._n_halvings = state["n_halvings"]
        torch.set_rng_state(state["random"])
        if state["cuda_random"] is not None and self._adapted.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_random"])

    def run(self, on_progress: Callable[[Progress], None], checkpoint: JobCheckpoint = NOTHING_KEPT) -> None:
        """Take all remaining steps.

        Raises:
            NonFiniteLossError: names the step and the learning rate.
            TrainingError: a single row does not fit in memory.
        """
        while len(self.steps) < self._n_steps:
            before = [p.detach().clone() for p in self._parameters]
            self._take_window()
            self._last_good = before
            on_progress(self._report(seconds=self.seconds))
            checkpoint.save_when_due(self.state_dict)

    def close(self) -> None:
        """Release the GPU's memory."""
        if self._recorded:
            self._recorded.forget()

    def restore_last_good(self) -> bool:
        """Restore the weights that last gave a finite loss. False if there are only the initial ones."""
        if self._last_good is None:
            return False
        with torch.no_grad():
            for parameter, value in zip(self._parameters, self._last_good, strict=True):
                parameter.copy_(value)
        return True

    def describe_cuts(self) -> dict[str, int]:
        """What was reduced to fit."""
        return {
            "n_truncated_rows": sum(row.n_cut > 0 for row in self._rows),
            "max_pack_tokens": self._max_pack_tokens,
            "n_memory_halvings": self._n_halvings,
        }

    def _take_window(self) -> None:
        first = len(self.steps)
        numbers = range(first, min(first + self._window, self._n_steps))
        batches = [[self._rows[i] for i in next(self._batches)] for _ in numbers]
        rates = [self._spec.learning_rate * learning_rate_factor(n, self._n_steps, self._spec) for n in numbers]
        measured = []
        for number, batch, rate in zip(numbers, batches, rates, strict=True):
            self._team.seed_step(self._seed, number)
            measured.append(self._step(batch, rate))
        for batch, rate, (loss, norm) in zip(batches, rates, torch.stack(measured).tolist(), strict=True):
            step = Step(loss=loss, grad_norm=norm, n_tokens=sum(len(row.input_ids) for row in batch))
            _check_finite(step, number=len(self.steps) + 1, rate=rate)
            self.steps.append(step)

    def _step(self, batch: Sequence[Encoded], rate: float) -> torch.Tensor:
        """(2,) loss and gradient norm, on the device."""
        part = self._team.take_part(batch)
        loss = self._accumulate(part, count_targets(batch)) if part else torch.zeros((), device=self._adapted.device)
        loss = self._team.add_up(loss, self._parameters)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._spec.max_grad_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._clear_gradients()
        return torch.stack([loss, norm])

    def _accumulate(self, batch: Sequence[Encoded], n_targets: int) -> torch.Tensor:
        """The loss of a batch with `n_targets` answer tokens, or of a part of it; adds the gradients.

        If memory runs out, it starts again with packs of half the size: the same batch, the same mean.
        """
        longest = max(len(row.input_ids) for row in batch)
        while True:
            try:
                if self._recorded:
                    return self._recorded(batch, max_pack_tokens=self._max_pack_tokens)
                return backward(
                    self._adapted,
                    batch,
                    max_pack_tokens=self._max_pack_tokens,
                    checkpointing=self._checkpointing,
                    n_targets=n_targets,
                )
            except RuntimeError as exc:
                if not is_out_of_memory(exc):
                    raise
                if self._max_pack_tokens <= longest:
                    raise TrainingError(
                        f"out of memory with a single row of {longest} tokens ({exc}). Lower lora.max_length or lora.rank,"
                        " or choose a smaller student."
                    ) from exc
            # Only here have the tensors been freed that the error's traceback held.
            self._clear_gradients()
            self._max_pack_tokens = max(longest, self._max_pack_tokens // 2)
            self._n_halvings += 1
            if self._recorded:
                self._recorded.forget()
            if self._adapted.device.type == "cuda":
                torch.cuda.empty_cache()

    def _clear_gradients(self) -> None:
        self._optimizer.zero_grad(set_to_none=self._recorded is None)

    def _report(self, *, seconds: float) -> Progress:
        cuts = self.describe_cuts()
        detail = f"loss {self.steps[-1].loss:.3f}, {sum(s.n_tokens for s in self.steps) / seconds:.0f} tokens/s"
        if cuts["n_truncated_rows"]:
            detail += f", {cuts['n_truncated_rows']} rows truncated"
        if self._n_halvings:
            detail += f", out of memory: packs cut to {self._max_pack_tokens} tokens"
        return Progress(
            stage="fine_tune",
            done=len(self.steps),
            total=self._n_steps,
            rate=len(self.steps) / seconds,
            unit="steps",
            detail=detail,
        )


def group_parameters(parameters: Sequence[torch.nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; vectors (biases and norms, which a continued adapter may have) do not."""
    matrices = [p for p in parameters if p.ndim >= 2]
    vectors = [p for p in parameters if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _check_finite(step: Step, *, number: int, rate: float) -> None:
    if not (math.isfinite(step.loss) and math.isfinite(step.grad_norm)):
        raise NonFiniteLossError(
            f"step {number}: loss {step.loss}, gradient norm {step.grad_norm} at learning rate {rate:.2e}."
            " Lower lora.learning_rate, or look for damaged rows."
        )


def _summarize(steps: Sequence[Step], *, seconds: float) -> dict[str, Any]:
    n_tokens = sum(step.n_tokens for step in steps)
    return {
        "losses": [step.loss for step in steps],
        "n_steps": len(steps),
        "n_tokens": n_tokens,
        "seconds": round(seconds, 3),
        "tokens_per_second": round(n_tokens / seconds, 1),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
