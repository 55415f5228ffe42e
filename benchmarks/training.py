"""C1 and G1: LoRA training on GSM8K rows, in real tokens per second (prompt and answer; padding does not count).

Every arm trains on the same rows for the same number of optimizer steps with the paper's LoRA settings: one epoch on CPU,
three on a GPU, where our first steps record what later ones replay.
- ours: `training.fine_tuning.fine_tune`, as the worker calls it.
- TRL stock: `SFTTrainer` with its defaults; on CPU in fp32, because its default, bf16, is far slower there.
- TRL tuned: loss on the answer only, rows grouped by length, no gradient checkpointing.
- on a GPU also padding-free: the same, with a batch's rows joined into one sequence. On CPU, where attention is dense, that
  gains nothing.
- on a GPU also unsloth, if `PADA_UNSLOTH_PYTHON` names the Python of an environment that has it; and both without dropout,
  where its own kernels compute the adapters' products. A first fine-tuning, which compiles, is not counted.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import get_peft_model

from benchmarks.measuring import Arm, BenchmarkError, Options, Outcome, compare, interleave
from benchmarks.rows import SYSTEM, copy_of, cut, open_student, read_examples
from pada_agent.core.jobs import ChatSpec, FineTuneJob, LoraSpec
from pada_agent.core.records import Example
from pada_agent.training.encoding import IGNORE_INDEX, ChatEncoder, Encoded
from pada_agent.training.fine_tuning import draw_batches, fine_tune
from pada_agent.training.lora import make_lora_config
from pada_agent.training.students import Student

BATCH_SIZE = 8
EPOCHS = {"cpu": 1, "cuda": 3}
NO_DROPOUT = ", no dropout"
TARGETS = {
    "cpu": {"TRL stock": 1.8, "TRL tuned": 1.3},
    "cuda": {"TRL stock": 4.0, "TRL tuned": 2.0, "TRL tuned, padding-free": 2.0, "unsloth": 1.5},
}
PARITY_STEPS = 3
PARITY_BATCH = 2
PARITY_TOLERANCE = {"cpu": 1e-4, "cuda": 1e-2}
"""Largest relative difference of a step's loss. On a GPU, both compute in bf16."""
TUNED: dict[str, Any] = {"completion_only_loss": True, "gradient_checkpointing": False}
GROUPED: dict[str, Any] = {**TUNED, "train_sampling_strategy": "group_by_length"}


def run(options: Options) -> Outcome:
    """Compare the losses, then time the arms.

    Raises:
        DatasetError: there are no rows.
        BenchmarkError: the losses differ.
    """
    n_rows = BATCH_SIZE if options.quick else 2 * BATCH_SIZE
    on_gpu = options.device == "cuda"
    if on_gpu and not options.quick:
        n_rows = 40 * BATCH_SIZE
    student = open_student(options)
    examples = read_examples(options.data, "gsm8k", "train_1000", n_rows * options.repetitions)
    encoder = ChatEncoder(student.tokenizer, SYSTEM)
    parts = list(cut(examples, n_rows))
    encoded = [[encoder.training_row(example, LoraSpec()) for example in part] for part in parts]
    epochs = EPOCHS[options.device]

    def ours(i: int, **changes: Any) -> float:
        return epochs * count_tokens(encoded[i]) / time_ours(student, parts[i], make_job(epochs=epochs, **changes))

    def trl(i: int, **settings: Any) -> float:
        return epochs * count_tokens(encoded[i]) / time_trl(student, encoded[i], epochs, settings)

    def unsloth(peer: Unsloth, i: int, **changes: Any) -> float:
        answer = peer.train(encoded[i], make_job(epochs=epochs, **changes), sampling="group_by_length")
        return float(epochs * count_tokens(encoded[i]) / answer["seconds"])

    arms: dict[str, Arm] = {"ours": ours, "TRL stock": trl, "TRL tuned": partial(trl, **GROUPED)}
    if on_gpu:
        arms["TRL tuned, padding-free"] = partial(trl, **GROUPED, padding_free=True, max_length=None)
    with open_unsloth(student) as peer:
        if peer:
            arms["unsloth"] = partial(unsloth, peer)
            arms["ours" + NO_DROPOUT] = partial(ours, dropout=0.0)
            arms["unsloth" + NO_DROPOUT] = partial(unsloth, peer, dropout=0.0)
        parity = check_parity(student, examples[: PARITY_STEPS * PARITY_BATCH], peer)
        if peer:
            for dropout in (LoraSpec().dropout, 0.0):
                unsloth(peer, 0, dropout=dropout)
        figures = interleave(arms, options)
    peers = [
        compare(
            "training",
            figures["ours" + NO_DROPOUT if name.endswith(NO_DROPOUT) else "ours"],
            figures[name],
            peer_name=name,
            unit="tokens/s",
            target=TARGETS[options.device][name.removesuffix(NO_DROPOUT)],
        )
        for name in arms
        if not name.startswith("ours")
    ]
    return Outcome(parity=parity, rows=peers)


def count_tokens(rows: Sequence[Encoded]) -> int:
    return sum(len(row.input_ids) for row in rows)


def make_job(**changes: Any) -> FineTuneJob:
    """One epoch with the paper's other LoRA settings, unless `changes` say otherwise."""
    lora = LoraSpec(**{"epochs": 1, "batch_size": BATCH_SIZE, "max_length": 2048, **changes})
    return FineTuneJob(student="", rows="", rows_hash="", lora=lora, chat=ChatSpec(system=SYSTEM))


def time_ours(student: Student, examples: Sequence[Example], job: FineTuneJob) -> float:
    """Seconds, including tokenizing, recording and saving."""
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        fine_tune(student, job, examples, folder=Path(folder), on_progress=lambda _: None)
        return time.perf_counter() - start


def time_trl(student: Student, rows: Sequence[Encoded], epochs: int, settings: dict[str, Any]) -> float:
    """Seconds on tokenized rows, without setting up."""
    trainer = make_trainer(student, rows, make_job(epochs=epochs), settings)
    start = time.perf_counter()
    trainer.train()
    return time.perf_counter() - start


def make_trainer(student: Student, rows: Sequence[Encoded], job: FineTuneJob, settings: dict[str, Any]) -> Any:
    """TRL's trainer with our LoRA settings and our first weights."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    lora, on_cpu = job.lora, student.device.type == "cpu"
    torch.manual_seed(job.seed)
    model = get_peft_model(copy_of(student).model, make_lora_config(student.model, lora))
    config = SFTConfig(
        output_dir="/tmp/pada-bench",
        per_device_train_batch_size=lora.batch_size,
        learning_rate=lora.learning_rate,
        num_train_epochs=lora.epochs,
        lr_scheduler_type=lora.scheduler,
        bf16=not on_cpu,
        use_cpu=on_cpu,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **settings,
    )
    dataset = Dataset.from_list(
        [{"input_ids": r.input_ids, "completion_mask": [int(x != IGNORE_INDEX) for x in r.labels]} for r in rows]
    )
    return SFTTrainer(model=model, args=config, train_dataset=dataset, processing_class=student.tokenizer)


class Unsloth:
    """The warm process of `unsloth_peer`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def train(self, rows: Sequence[Encoded], job: FineTuneJob, *, sampling: str) -> dict[str, Any]:
        """Seconds and losses of one fine-tuning.

        Raises:
            BenchmarkError: its process ended (see its output above), or it took another number of steps than ours.
        """
        request = {
            "lora": job.lora.model_dump(mode="json"),
            "seed": job.seed,
            "rows": [{"input_ids": row.input_ids, "labels": row.labels} for row in rows],
            "sampling": sampling,
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):  # the missing answer explains it
            print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError("unsloth's process ended; see its output above")
        answer: dict[str, Any] = json.loads(line)
        n_steps = int(job.lora.epochs) * -(-len(rows) // job.lora.batch_size)
        if len(answer["losses"]) != n_steps:
            raise BenchmarkError(f"unsloth took {len(answer['losses'])} optimizer steps, ours takes {n_steps}")
        return answer


@contextmanager
def open_unsloth(student: Student) -> Iterator[Unsloth | None]:
    """unsloth's process, if there is a Python for it.

    Raises:
        BenchmarkError: that Python cannot be run.
    """
    python = os.environ.get("PADA_UNSLOTH_PYTHON")
    if not python or student.device.type != "cuda":
        yield None
        return
    source = Path(student.source)
    command = [python, str(Path(__file__).with_name("unsloth_peer.py").resolve())]
    command += [str(source.resolve()) if source.exists() else student.source]
    with TemporaryDirectory() as folder:  # it writes compiled modules where it stands
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder)
        except OSError as exc:
            raise BenchmarkError(f"PADA_UNSLOTH_PYTHON: {exc}") from exc
        try:
            yield Unsloth(process)
        finally:
            process.kill()
            process.communicate()


def check_parity(student: Student, examples: Sequence[Example], peer: Unsloth | None = None) -> str:
    """Check that without dropout, the first steps on the same batches have the same losses as TRL's.

    For unsloth, only the first step is compared: its adapter may start from other random weights, which have no effect yet.

    Raises:
        BenchmarkError: they differ by more than the tolerance.
    """
    job = make_job(dropout=0.0, batch_size=PARITY_BATCH, scheduler="constant", warmup_ratio=0.0)
    encoder = ChatEncoder(student.tokenizer, SYSTEM)
    rows = [encoder.training_row(example, job.lora) for example in examples]
    batches = draw_batches(len(rows), PARITY_BATCH, job.seed)
    ordered = [rows[i] for _ in range(PARITY_STEPS) for i in next(batches)]
    with TemporaryDirectory() as folder:
        fine_tune(student, job, examples, folder=Path(folder), on_progress=lambda _: None)
        ours = json.loads((Path(folder) / "train_metrics.json").read_text(encoding="utf-8"))["losses"]
    trainer = make_trainer(student, ordered, job, {**TUNED, "train_sampling_strategy": "sequential"})
    trainer.train()
    theirs = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    found = (
        f"losses of the first {PARITY_STEPS} steps within {_compare_losses(student, ours, theirs, 'TRL'):.1e} of TRL's"
    )
    if peer:
        losses = peer.train(ordered, job, sampling="sequential")["losses"]
        found += f", of the first within {_compare_losses(student, ours[:1], losses[:1], 'unsloth'):.1e} of unsloth's"
    return found


def _compare_losses(student: Student, ours: list[float], theirs: list[float], name: str) -> float:
    worst = max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True))
    tolerance = PARITY_TOLERANCE[student.device.type]
    if not worst <= tolerance:
        raise BenchmarkError(f"the losses of the first steps differ by more than {tolerance}: {ours}, {name} {theirs}")
    return worst
