"""The driver's own work by number of rows: everything but the models in one attempt at a batch of synthetic rows.

The graph's synthesis runs on randomly drawn rows, with a teacher and an embedder that answer at once, and without a student. The
judge refuses a fifth of the rows, so that batches are written again. Each size runs in its own process, because peak memory never
falls. Peer: the limit.
"""

import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np

from benchmarks.measuring import BenchmarkError, Comparison, Options, Outcome, compare
from pada_agent.app.adapters.storage.artifacts import FileArtifactStore
from pada_agent.core.chat import ChatReply, ChatRequest
from pada_agent.core.config import RunConfig
from pada_agent.core.lines import split_lines
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Batch, BatchReport, Example, Prediction, Ref, ScoredRow, Usage, Verdict
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.builder import build_synthesis
from pada_agent.graph.models import FINE_TUNED, TrainedModel
from pada_agent.graph.state import DataSplits, IterationPlan
from pada_agent.graph.storing import put_rows
from pada_agent.prompts.prompted_model import PromptedModel

SIZES = ((1_000, 500), (10_000, 5_000), (100_000, 50_000))
"""Training rows and held-out rows."""
QUICK_SIZES = ((200, 100), (1_600, 800))
LIMITS_MS = {10_000: 20.0, 100_000: 50.0}
"""The driver's time for one attempt at a batch, by training rows."""
LIMIT_INDEX_SECONDS = 60.0
LIMIT_MEMORY_MB = 2_048.0
N_BATCHES, QUICK_BATCHES = 100, 10
ROWS_PER_BATCH = 5
N_LABELS = 20
N_WORDS = 20_000
"""Number of words that rows are drawn from, with frequencies as in a language: that of the nth word is proportional to 1/n."""
ROW_WORDS = (6, 30)
"""Shortest and longest row."""
DIMENSIONS = 384
SCORES = ("adherence", "utility", "relevance")


def run(options: Options) -> Outcome:
    """One line for each size and figure."""
    sizes = QUICK_SIZES if options.quick else SIZES
    n_batches = QUICK_BATCHES if options.quick else N_BATCHES
    found = [measure_apart(n_train, n_held_out, n_batches) for n_train, n_held_out in sizes]
    return Outcome(
        parity=f"most embeddings of a held-out text: {max(figures['embeddings'] for figures in found):g}",
        rows=[row for figures in found for row in describe(figures)],
    )


def describe(found: dict[str, float]) -> list[Comparison]:
    """The figures of one size, with their limits."""
    n_train = int(found["n_train"])
    what = f"{n_train} and {found['n_held_out']:g} rows"
    figures = [
        ("driver, an attempt at a batch", "attempt_ms", LIMITS_MS.get(n_train, max(LIMITS_MS.values())), "ms"),
        ("index", "index_seconds", LIMIT_INDEX_SECONDS, "s"),
        ("peak memory", "peak_memory_mb", LIMIT_MEMORY_MB, "MB"),
        ("embeddings of a held-out text", "embeddings", 1.0, "times"),
    ]
    return [
        compare(
            f"{name}, {what}",
            [found[key]],
            [limit],
            peer_name="limit",
            unit=unit,
            less_is_better=True,
            target=1.0,
        )
        for name, key, limit, unit in figures
    ]


def measure_apart(n_train: int, n_held_out: int, n_batches: int) -> dict[str, float]:
    """`measure` in a new process.

    Raises:
        BenchmarkError: the process failed.
    """
    command = [sys.executable, "-m", "benchmarks.scale", str(n_train), str(n_held_out), str(n_batches)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise BenchmarkError(f"{n_train} and {n_held_out} rows: exit status {done.returncode}")
    found: dict[str, float] = json.loads(split_lines(done.stdout)[-1])
    print(f"  {found}", flush=True)
    return found


def measure(n_train: int, n_held_out: int, n_batches: int) -> dict[str, float]:
    """Seconds of processor time outside of models: for what is computed once, and for an attempt at a batch."""
    with TemporaryDirectory() as folder:
        world = World(Path(folder), n_train, n_held_out)
        index_seconds, _ = world.write(0)
        found = [world.write(n) for n in range(1, n_batches + 1)]
    n_attempts = sum(report.attempts for _, report in found)
    return {
        "n_train": n_train,
        "n_held_out": n_held_out,
        "attempt_ms": round(1000 * sum(seconds for seconds, _ in found) / n_attempts, 2),
        "attempts": n_attempts,
        "index_seconds": round(index_seconds, 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "embeddings": round(world.count_held_out_embeddings() / n_held_out, 3),
    }


@dataclass
class Outside:
    """Processor time of the models, which does not count as the driver's."""

    seconds: float = 0.0


class DrawnRows:
    """Texts of a made-up language."""

    def __init__(self) -> None:
        rng = Random("words")
        self._words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(N_WORDS)]
        self._weights = list(accumulate(1 / n for n in range(1, N_WORDS + 1)))

    def text(self, seed: str) -> str:
        rng = Random(seed)
        return " ".join(rng.choices(self._words, cum_weights=self._weights, k=rng.randint(*ROW_WORDS)))


class Teacher:
    """A `LanguageModel` that gives valid answers at once."""

    name = "drawn"

    def __init__(self, drawn: DrawnRows, outside: Outside) -> None:
        self._drawn = drawn
        self._outside = outside

    def close(self) -> None: ...

    def complete(self, request: ChatRequest) -> ChatReply:
        start = time.thread_time()
        prompt, template = request.messages[-1].content, str(request.tags["prompt"])
        answer: Any
        if template == "answer_solving":
            answer = [
                {"sample": n, "working": "", "answer": find_letter(text)} for n, text in find_items(prompt, "sample")
            ]
        elif template == "quality_control":
            answer = [rate(n, text) for n, text in find_items(prompt, "sample")]
        else:
            answer = [
                {"row": n, "question": f"{self._drawn.text(f'{request.draw}/{n}')} {find_label(text)}"}
                for n, text in find_items(prompt, "row")
            ]
        text = json.dumps(answer)
        self._outside.seconds += time.thread_time() - start
        return ChatReply(text=text, usage=Usage(n_calls=1), key=sha256(prompt.encode()).hexdigest()[:8])


def find_items(prompt: str, tag: str) -> list[tuple[int, str]]:
    """Number and text of each item in a prompt."""
    return [(int(n), text) for n, text in re.findall(rf'<{tag} number="(\d+)">\n(.*?)</{tag}>', prompt, re.DOTALL)]


def find_label(text: str) -> str:
    found = re.findall(r"label\d+", text)
    return found[0] if found else ""


def find_letter(text: str) -> str:
    return find_label(text) or "A"


def rate(number: int, text: str) -> dict[str, Any]:
    """A poor rating for a fifth of the rows."""
    score = 3 if int(sha256(text.encode()).hexdigest(), 16) % 5 == 0 else 9
    return {"sample": number, "reason": "as it is", "feedback": "again", **dict.fromkeys(SCORES, score)}


@dataclass
class CountingEmbedder:
    """An `Embedder` whose vectors depend only on the text. It remembers nothing, but counts."""

    outside: Outside
    n_embedded: dict[str, int] = field(default_factory=dict)

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        start = time.thread_time()
        for text in texts:
            self.n_embedded[text] = self.n_embedded.get(text, 0) + 1
        found = [self._embed(text) for text in texts]
        self.outside.seconds += time.thread_time() - start
        return found

    def _embed(self, text: str) -> list[float]:
        vector = np.random.default_rng(abs(hash(text))).standard_normal(DIMENSIONS).astype(np.float32)
        return cast(list[float], (vector / np.linalg.norm(vector)).tolist())


class World:
    """The adapters of a run with drawn rows, and its state as a batch receives it."""

    def __init__(self, folder: Path, n_train: int, n_held_out: int) -> None:
        self._outside = Outside()
        self._drawn = DrawnRows()
        self.embedder = CountingEmbedder(self._outside)
        self.settings = make_settings()
        self.store = FileArtifactStore(folder / "objects")
        self.task = make_task(self.settings.task)
        self.train, self.held_out = self._draw("train", n_train), self._draw("validation", n_held_out)
        teacher = PromptedModel(Teacher(self._drawn, self._outside), {})
        self.adapters = Adapters(
            datasets=cast(Any, None),
            store=self.store,
            compute=cast(Any, None),
            embedder=self.embedder,
            task=self.task,
            analyst=teacher,
            generator=teacher,
            judge=teacher,
            student="none",
            usage=dict,
            publish=lambda *_: None,
            close=lambda: None,
            peak_memory_mb=lambda: None,
        )
        self._synthesis = build_synthesis(lambda _: self.adapters)
        self._state = self._make_state()

    def write(self, number: int) -> tuple[float, BatchReport]:
        """One batch through all its attempts: processor seconds outside of models, and the outcome."""
        rng = Random(f"batch {number}")
        batch = Batch(
            id=f"i1-e{number}",
            iteration=1,
            branch="training_error",
            source_ids=tuple(row.id for row in rng.sample(self.train, ROWS_PER_BATCH)),
        )
        start, before = time.process_time(), self._outside.seconds
        done = self._synthesis.invoke({**self._state, "batch": batch, "n_rows": ROWS_PER_BATCH})
        seconds = time.process_time() - start - (self._outside.seconds - before)
        return seconds, done["batches"][batch.id]

    def count_held_out_embeddings(self) -> int:
        return sum(self.embedder.n_embedded.get(row.prompt, 0) for row in self.held_out)

    def _draw(self, split: str, n: int) -> list[Example]:
        rows = [
            {"id": f"{split}-{i}", "question": self._drawn.text(f"{split}/{i}"), "answer": f"label{i % N_LABELS}"}
            for i in range(n)
        ]
        return [self.task.read(RawRow(where=f"{split}:{i}", fields=row)) for i, row in enumerate(rows, start=1)]

    def _make_state(self) -> dict[str, Any]:
        wrong = [self._answer_wrongly(row) for row in self.train[::4]]
        failures = put_rows(self.store, "failures", wrong)
        return {
            "settings": self.settings,
            "iteration": 1,
            "data": DataSplits(
                train=put_rows(self.store, "train", self.train),
                validation=put_rows(self.store, "validation", self.held_out),
                n_diagnosis=len(self.held_out) // 2,
            ),
            "plan": IterationPlan(
                diagnosed_model=FINE_TUNED,
                n_pattern_rows=0,
                n_training_error_rows=len(self.train) // 2,
                validation_failures=Ref(key="none"),
                training_failures=failures,
            ),
            "models": {FINE_TUNED: TrainedModel(name=FINE_TUNED, iteration=0)},
        }

    def _answer_wrongly(self, row: Example) -> ScoredRow:
        return ScoredRow(
            example=row,
            prediction=Prediction(example_id=row.id, response="label0"),
            verdict=Verdict(example_id=row.id, value="wrong", reason="another label"),
        )


def make_settings() -> RunConfig:
    labels = {f"label{i}": f"what is called {i}" for i in range(N_LABELS)}
    return RunConfig.model_validate(
        {
            "name": "scale",
            "task": {"name": "multiple_choice", "labels": labels},
            "data": {"train": "memory:train", "validation": "memory:validation"},
            "generation": {"rows_per_call": ROWS_PER_BATCH},
        }
    )


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))))
