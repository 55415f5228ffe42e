"""C3 and G2: greedy generation on GSM8K prompts, in real output tokens per second (not counting padding or tokens after the end).

On CPU with two students: one fine-tuned on other rows, as evaluated in each iteration of a run, and the untouched one, which is
evaluated once and often writes up to the limit. On a GPU with the given student.

- ours: `training.generation.greedy.generate`, with as many rows at once as by default.
- generate: transformers' `generate`, rows in their order, in batches of 32, padded on the left.
- on a GPU also transformers' continuous batching (`generate_batch`), and vLLM if it is installed, including its start.

All get the same prompt tokens. Texts have to be equal; if they diverge at two tokens whose logits are within 1e-4, the row
counts as a tie. On a GPU in bf16, that margin is wider.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks.measuring import BenchmarkError, Options, Outcome, compare, interleave
from benchmarks.rows import SYSTEM, cut, open_student, read_examples
from pada_agent.core.jobs import ChatSpec, FineTuneJob, LoraSpec, PredictJob
from pada_agent.core.records import Example
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.fine_tuning import fine_tune
from pada_agent.training.generation.greedy import generate
from pada_agent.training.predicting import merge_adapter
from pada_agent.training.students import Student

BATCH_SIZE = 32
N_TUNING = 128
TIE = {"cpu": 1e-4, "cuda": 0.5}
"""Logits this close may go either way. In bf16, neighboring values are 0.06 to 0.125 apart."""

MAX_TIED = 0.2
"""Fraction of the rows."""

T = TypeVar("T")


@dataclass(frozen=True)
class Written:
    """One row's output, without its end of turn."""

    text: str
    n_tokens: int
    tokens: tuple[int, ...] = ()
    """Empty for ours, which keeps only texts."""


Write = Callable[[Student, ChatEncoder, Sequence[Example], int], list[Written]]


def run(options: Options) -> Outcome:
    """All arms on the same slices, for each student.

    Raises:
        DatasetError: there are no rows.
        BenchmarkError: texts differ.
    """
    student = open_student(options)
    students = {"untouched student": student}
    if options.device == "cpu":
        students = {"fine-tuned student": fine_tuned(student, options), **students}
    outcomes = [compare_arms(student, name, options) for name, student in students.items()]
    return Outcome(parity="; ".join(o.parity for o in outcomes), rows=[row for o in outcomes for row in o.rows])


def fine_tuned(student: Student, options: Options) -> Student:
    """The student after one epoch on rows of the training split."""
    examples = read_examples(options.data, "gsm8k", "train_300", BATCH_SIZE if options.quick else N_TUNING)
    job = FineTuneJob(student="", rows="", rows_hash="", lora=LoraSpec(epochs=1), chat=ChatSpec(system=SYSTEM))
    with tempfile.TemporaryDirectory() as folder:
        fine_tune(student, job, examples, folder=Path(folder), on_progress=lambda _: None)
        return merge_adapter(student, Path(folder))


def compare_arms(student: Student, name: str, options: Options) -> Outcome:
    """One student's table."""
    on_gpu = student.device.type == "cuda"
    n_rows, max_new_tokens = (8, 24) if options.quick else ((4 if on_gpu else 2) * BATCH_SIZE, 256)
    examples = read_examples(options.data, "gsm8k", "validation", n_rows * options.repetitions)
    parts = list(cut(examples, n_rows))
    encoder = ChatEncoder(student.tokenizer, SYSTEM)
    writers: dict[str, Write] = {"ours": write_ours, "generate": write_hf}
    if on_gpu:
        writers["generate_batch"] = write_continuous
        if find_spec("vllm"):
            writers["vLLM cold"] = write_vllm
    written: dict[str, dict[int, list[Written]]] = {arm: {} for arm in writers}

    def time_arm(arm: str, i: int) -> float:
        start = time.perf_counter()
        written[arm][i] = writers[arm](student, encoder, parts[i], max_new_tokens)
        seconds = time.perf_counter() - start
        return sum(row.n_tokens for row in written[arm][i]) / seconds

    figures = interleave({arm: partial(time_arm, arm) for arm in writers}, options)
    done = {i: part for i, part in enumerate(parts) if i in written["ours"]}
    parity = [
        f"{name}, {arm}: " + check_parity(student, encoder, join(done), [join(written["ours"]), join(written[arm])])
        for arm in writers
        if arm != "ours"
    ]
    targets = {"generate": 4.0 if on_gpu else 2.0, "generate_batch": 2.0, "vLLM cold": 10.0}
    peers = [
        compare(name, figures["ours"], figures[arm], peer_name=arm, unit="tokens/s", target=targets[arm])
        for arm in writers
        if arm != "ours"
    ]
    return Outcome(parity="; ".join(parity), rows=peers)


def join(parts: Mapping[int, Sequence[T]]) -> list[T]:
    """All parts, in order."""
    return [item for _, part in sorted(parts.items()) for item in part]


def write_ours(
    student: Student, encoder: ChatEncoder, examples: Sequence[Example], max_new_tokens: int
) -> list[Written]:
    job = PredictJob(student="", rows="", rows_hash="", max_new_tokens=max_new_tokens)
    predictions = generate(student, encoder, examples, job=job, on_done=lambda _: None)
    return [Written(text=p.response, n_tokens=p.n_new_tokens) for p in predictions]


def write_hf(student: Student, encoder: ChatEncoder, examples: Sequence[Example], max_new_tokens: int) -> list[Written]:
    rows = []
    for part in cut(list(examples), BATCH_SIZE):
        prompts = [encoder.prompt(example) for example in part]
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=student.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=student.device)
        out = student.model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=encoder.end_token_id,
            pad_token_id=encoder.end_token_id,
        )
        rows += [read(student, row, encoder.end_token_id) for row in out[:, width:].tolist()]
    return rows


def write_continuous(
    student: Student, encoder: ChatEncoder, examples: Sequence[Example], max_new_tokens: int
) -> list[Written]:
    """transformers' continuous batching. It only logs errors, so the number of rows is checked.

    Raises:
        BenchmarkError: a row is missing.
    """
    from transformers import GenerationConfig

    config = GenerationConfig(do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=encoder.end_token_id)
    prompts = [encoder.prompt(example) for example in examples]
    outputs = student.model.generate_batch(inputs=prompts, generation_config=config)
    if len(outputs) != len(prompts):
        raise BenchmarkError(f"generate_batch gave {len(outputs)} of {len(prompts)} rows")
    return [read(student, output.generated_tokens, encoder.end_token_id) for output in outputs.values()]


def write_vllm(
    student: Student, encoder: ChatEncoder, examples: Sequence[Example], max_new_tokens: int
) -> list[Written]:
    """vLLM including its start, which a run would pay for each new adapter."""
    from vllm import LLM, SamplingParams

    with tempfile.TemporaryDirectory() as folder:
        student.model.save_pretrained(folder)
        student.tokenizer.save_pretrained(folder)
        engine = LLM(model=folder, dtype="bfloat16", gpu_memory_utilization=0.5)
        settings = SamplingParams(temperature=0, max_tokens=max_new_tokens, stop_token_ids=[encoder.end_token_id])
        prompts: Any = [{"prompt_token_ids": encoder.prompt(example)} for example in examples]
        return [
            read(student, list(o.outputs[0].token_ids), encoder.end_token_id)
            for o in engine.generate(prompts, settings)
        ]


def read(student: Student, tokens: list[int], end: int) -> Written:
    """What comes before the end of turn."""
    kept = tokens[: tokens.index(end)] if end in tokens else tokens
    return Written(text=decode(student, kept), n_tokens=len(kept), tokens=tuple(kept))


def decode(student: Student, tokens: Sequence[int]) -> str:
    text: str = student.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def check_parity(
    student: Student, encoder: ChatEncoder, examples: Sequence[Example], written: Sequence[list[Written]]
) -> str:
    """How many texts are the same, and how many diverge at a tie.

    Raises:
        BenchmarkError: a text differs otherwise (names the row), or there are so many ties, as with random weights, that little
            is compared.
    """
    n_ties = 0
    for example, ours, theirs in zip(examples, *written, strict=True):
        if ours.text == theirs.text:
            continue
        gap = measure_gap(student, encoder.prompt(example), theirs.tokens[: count_common(student, ours, theirs)])
        if gap > TIE[student.device.type]:
            raise BenchmarkError(f"row {example.id}: texts differ, at logits {gap:.2e} apart: {ours}, {theirs}")
        n_ties += 1
    n_all = len(examples)
    if n_ties > MAX_TIED * n_all:
        raise BenchmarkError(f"{n_ties} of {n_all} texts diverge at a tie: use a student with trained weights")
    return f"{n_all - n_ties} of {n_all} texts are the same, {n_ties} diverge at a tie"


def count_common(student: Student, ours: Written, theirs: Written) -> int:
    """How many of their first tokens agree with our text."""
    lengths = range(len(theirs.tokens) + 1)
    return max(n for n in lengths if ours.text.startswith(decode(student, theirs.tokens[:n])))


@torch.inference_mode()
def measure_gap(student: Student, prompt: list[int], common: Sequence[int]) -> float:
    """Difference between the two highest logits after the tokens that both wrote."""
    ids = torch.tensor([[*prompt, *common]], device=student.device)
    best, second = student.model(input_ids=ids).logits[0, -1].float().topk(2).values.tolist()
    return float(best - second)
