"""How training scales: tokens per second and memory over a minute of steps, by number of rows and by tokens per row.

Each size runs in its own process, because peak memory never falls. Peer: the smallest size of the same series.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measuring import BenchmarkError, Comparison, Options, Outcome, compare
from benchmarks.rows import SYSTEM, open_student, read_examples
from benchmarks.training import make_job
from pada_agent.core.lines import split_lines
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.fine_tuning import draw_batches, fine_tune

N_ROWS = (100, 1_000, 10_000)
ROW_TOKENS = (128, 512, 2_048)
SECONDS = 60.0
QUICK_SECONDS = 3.0


class _TimeIsUp(Exception):
    """Ends a fine-tuning from its progress report."""


def run(options: Options) -> Outcome:
    """Both series."""
    by_rows = [measure_apart(options, n_rows=n) for n in N_ROWS]
    by_tokens = [measure_apart(options, n_rows=100, row_tokens=n) for n in ROW_TOKENS]
    rows = [line for n, found in zip(N_ROWS, by_rows, strict=True) for line in describe(f"{n} rows", found, by_rows[0])]
    rows += [
        line
        for n, found in zip(ROW_TOKENS, by_tokens, strict=True)
        for line in describe(f"{n} tokens per row", found, by_tokens[0])
    ]
    return Outcome(parity="none: ours alone", rows=rows)


def describe(what: str, found: dict[str, float], smallest: dict[str, float]) -> list[Comparison]:
    speed, memory = "tokens_per_second", "peak_memory_mb"
    return [
        compare(what, [found[speed]], [smallest[speed]], peer_name="smallest", unit="tokens/s"),
        compare(what, [found[memory]], [smallest[memory]], peer_name="smallest", unit="MB", less_is_better=True),
    ]


def measure_apart(options: Options, *, n_rows: int, row_tokens: int = 0) -> dict[str, float]:
    """`measure` in a new process.

    Raises:
        BenchmarkError: the process failed.
    """
    request = {**asdict(options), "data": str(options.data), "n_rows": n_rows, "row_tokens": row_tokens}
    command = [sys.executable, "-m", "benchmarks.growth", json.dumps(request)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise BenchmarkError(f"{n_rows} rows of {row_tokens or 'natural'} tokens: exit status {done.returncode}")
    found: dict[str, float] = json.loads(split_lines(done.stdout)[-1])
    print(f"  {n_rows} rows, {row_tokens or 'natural'} tokens each: {found}", flush=True)
    return found


def measure(options: Options, *, n_rows: int, row_tokens: int) -> dict[str, float]:
    """Real tokens per second and peak resident memory of a fine-tuning that is stopped after a minute."""
    student = open_student(options)
    examples = repeat(read_examples(options.data, "gsm8k", "train_1000", 1_000), n_rows)
    encoder, job = ChatEncoder(student.tokenizer, SYSTEM), make_job()
    if row_tokens:
        examples = [stretch(example, encoder, row_tokens) for example in examples]
    limit = QUICK_SECONDS if options.quick else SECONDS
    steps: list[float] = []

    def on_progress(progress: Progress) -> None:
        steps.append(time.perf_counter())
        if steps[-1] - steps[0] > limit or progress.done == progress.total:
            raise _TimeIsUp

    with TemporaryDirectory() as folder, suppress(_TimeIsUp):
        fine_tune(student, job, examples, folder=Path(folder), on_progress=on_progress)
    batches = draw_batches(n_rows, job.lora.batch_size, job.seed)
    taken = [next(batches) for _ in steps][1:]  # the first step is warm-up
    n_tokens = sum(len(encoder.training_row(examples[i], job.lora).input_ids) for batch in taken for i in batch)
    return {
        "tokens_per_second": round(n_tokens / (steps[-1] - steps[0]), 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "n_steps": len(steps),
    }


def repeat(examples: Sequence[Example], n_rows: int) -> list[Example]:
    """`n_rows` of them, repeated if there are fewer."""
    return [examples[i % len(examples)] for i in range(n_rows)]


def stretch(example: Example, encoder: ChatEncoder, n_tokens: int) -> Example:
    """The same answer after a prompt of another length, so that the row has about `n_tokens`."""
    words = example.prompt.split(" ")
    row = len(encoder.prompt(example)) + len(encoder.answers(example, (example.answer,))[0]) + 1
    fixed = len(encoder.prompt(example.model_copy(update={"prompt": ""}))) + row - len(encoder.prompt(example))
    per_word = (row - fixed) / len(words) if row > fixed else 1.0
    n_words = max(1, round((n_tokens - fixed) / per_word))
    prompt = " ".join(words[i % len(words)] for i in range(n_words))
    return example.model_copy(update={"prompt": prompt})


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    size = {key: request.pop(key) for key in ("n_rows", "row_tokens")}
    print(json.dumps(measure(Options(**{**request, "data": Path(request["data"])}), **size)))
