"""C2: choosing among options of several tokens by likelihood, on HellaSwag and ARC-Challenge rows, in rows per second.

- ours: `training.scoring.score_options`.
- lm-eval: EleutherAI's harness with its Hugging Face backend, through `options_task.yaml`, in batches of 16.

Both score the same token sequences. lm-eval counts the prompt's last line break as part of the option, which adds the same
amount to all options of a row. So picks are compared by summed log-probability, and sums up to a constant per row.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from benchmarks.measuring import BenchmarkError, Options, Outcome, compare, interleave
from benchmarks.rows import SYSTEM, cut, open_student, read_examples
from pada_agent.core.records import Example
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.scoring import score_options
from pada_agent.training.students import Student

TASKS = ("hellaswag", "arc_challenge")
ROWS = 200
SUM_TOLERANCE = 1e-2
"""In nats, for sums of ten to a few hundred log-probabilities in fp32."""
TIE = 1e-4
"""If the two best options are closer than this, in nats, either may be picked."""

Sums = list[list[float]]
"""Summed log-probability by row and option."""


def run(options: Options) -> Outcome:
    """Both arms on the same slices. Every slice is compared, then the timings are combined.

    Raises:
        DatasetError: there are no rows.
        BenchmarkError: picks differ.
    """
    student = open_student(options)
    peer = open_peer(student)
    found = [measure(task, student, peer, options) for task in TASKS]
    return Outcome(
        parity="; ".join(outcome.parity for outcome in found), rows=[row for outcome in found for row in outcome.rows]
    )


def measure(task: str, student: Student, peer: Any, options: Options) -> Outcome:
    """One task's rows, a third in each repetition."""
    n_rows = 8 if options.quick else ROWS
    examples = read_examples(options.data, task, "validation", n_rows)
    parts = list(cut(examples, -(-n_rows // options.repetitions)))
    sums: dict[str, dict[int, Sums]] = {"ours": {}, "lm-eval": {}}

    def ours(i: int) -> float:
        start = time.perf_counter()
        sums["ours"][i] = score_ours(student, parts[i])
        return len(parts[i]) / (time.perf_counter() - start)

    def lm_eval(i: int) -> float:
        start = time.perf_counter()
        sums["lm-eval"][i] = score_peer(peer, student, parts[i])
        return len(parts[i]) / (time.perf_counter() - start)

    figures = interleave({"ours": ours, "lm-eval": lm_eval}, options)
    parity = check_parity(task, [flatten(sums["ours"]), flatten(sums["lm-eval"])])
    row = compare(task, figures["ours"], figures["lm-eval"], peer_name="lm-eval hf", unit="rows/s", target=1.8)
    return Outcome(parity=parity, rows=[row])


def flatten(parts: Mapping[int, Sums]) -> Sums:
    return [row for _, part in sorted(parts.items()) for row in part]


def score_ours(student: Student, examples: Sequence[Example]) -> Sums:
    predictions = score_options(student, ChatEncoder(student.tokenizer, SYSTEM), examples, on_done=lambda _: None)
    return [
        [score * len(option) for score, option in zip(p.option_scores, e.options, strict=True)]
        for p, e in zip(predictions, examples, strict=True)
    ]


def open_peer(student: Student) -> Any:
    """lm-eval's model around the same weights."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=student.model, tokenizer=student.tokenizer, backend="causal", batch_size=16, add_bos_token=False
    )


def score_peer(peer: Any, student: Student, examples: Sequence[Example]) -> Sums:
    """The harness from the task file to its report, rows of a JSON file in between."""
    from lm_eval import evaluator
    from lm_eval.tasks import TaskManager

    encoder = ChatEncoder(student.tokenizer, SYSTEM)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        rows = [{"prompt": student.tokenizer.decode(encoder.prompt(e)), "options": list(e.options)} for e in examples]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        config = yaml.safe_load(Path(__file__).with_name("options_task.yaml").read_text(encoding="utf-8"))
        config["dataset_kwargs"] = {"data_files": {"test": str(path)}, "cache_dir": folder}
        tasks = TaskManager(include_defaults=False).load([config])
        results = evaluator.evaluate(lm=peer, task_dict=tasks, bootstrap_iters=0)
    samples = sorted(results["samples"]["pada_options"], key=lambda sample: sample["doc_id"])
    return [[float(reply[0]) for reply in sample["filtered_resps"]] for sample in samples]


def check_parity(task: str, sums: Sequence[Sums]) -> str:
    """Check that the same option is best in both, and that sums differ by one constant per row.

    Raises:
        BenchmarkError: names the row.
    """
    n_ties = 0
    for i, (ours, theirs) in enumerate(zip(*sums, strict=True)):
        shifts = [a - b for a, b in zip(ours, theirs, strict=True)]
        if max(shifts) - min(shifts) > SUM_TOLERANCE:
            raise BenchmarkError(
                f"{task}, row {i}: sums differ by more than a constant: ours {ours}, lm-eval's {theirs}"
            )
        if ours.index(max(ours)) != theirs.index(max(theirs)):
            best, second = sorted(ours, reverse=True)[:2]
            if best - second > TIE:
                raise BenchmarkError(f"{task}, row {i}: picks differ: ours {ours}, lm-eval's {theirs}")
            n_ties += 1
    n_rows = len(sums[0])
    return f"{task}: {n_rows - n_ties} of {n_rows} picks are the same, {n_ties} are ties within {TIE}"
