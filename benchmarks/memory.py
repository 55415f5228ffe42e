"""Resident memory of one worker with a real student, over rounds of fine-tuning and predicting with the new adapter.

Peer: the second round, because the first one still loads and sets up.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.measuring import Options, Outcome, compare
from benchmarks.rows import SYSTEM, read_examples
from pada_agent.app.adapters.compute.local_compute import LocalCompute
from pada_agent.app.adapters.storage import model_store
from pada_agent.core.jobs import ChatSpec, FineTuneJob, LoraSpec, PredictJob

N_ROUNDS, N_QUICK_ROUNDS = 10, 2
N_ROWS, N_NEW_TOKENS = 4, 8
SPEC = LoraSpec(n_steps=2, batch_size=2)


def run(options: Options) -> Outcome:
    """A line for each round from the second on."""
    found = measure(options, N_QUICK_ROUNDS if options.quick else N_ROUNDS)
    rows = [
        compare(f"round {n}", [memory], [found[1]], peer_name="round 2", unit="MB", less_is_better=True)
        for n, memory in enumerate(found[1:], start=2)
    ]
    return Outcome(parity="none: ours alone", rows=rows)


def measure(options: Options, n_rounds: int) -> list[float]:
    """The worker's resident memory after each round, in MB."""
    found = []
    with TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        examples = read_examples(options.data, "gsm8k", "train_300", N_ROWS)
        rows.write_text("".join(example.model_dump_json() + "\n" for example in examples), encoding="utf-8")
        compute = LocalCompute(Path(folder) / "objects", Path(folder) / "worker.log", device=options.device)
        try:
            for seed in range(n_rounds):
                run_round(compute, str(model_store.resolve(options.student)), str(rows), seed)
                (worker,) = psutil.Process().children()
                found.append(worker.memory_info().rss / 2**20)
                print(f"  round {seed + 1}: {found[-1]:.0f} MB", flush=True)
        finally:
            compute.close()
    return found


def run_round(compute: LocalCompute, student: str, rows: str, seed: int) -> None:
    """Fine-tune with its own seed, and answer the rows with the result."""
    tune = FineTuneJob(student=student, rows=rows, rows_hash="rows", lora=SPEC, chat=ChatSpec(system=SYSTEM), seed=seed)
    adapter = str(compute.wait(compute.submit(tune), lambda _: None))
    ask = PredictJob(
        student=student,
        adapter=adapter,
        adapter_hash=str(seed),
        rows=rows,
        rows_hash="rows",
        max_new_tokens=N_NEW_TOKENS,
        chat=ChatSpec(system=SYSTEM),
    )
    compute.wait(compute.submit(ask), lambda _: None)
