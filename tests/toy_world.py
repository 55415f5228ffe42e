"""A small world for the real graph: a student that copies its nearest training row, an embedder that counts words,
and a teacher that answers every prompt in form. All are complete, deterministic and free of torch."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

from pada_agent.agents.guards.registry import find_guards
from pada_agent.app.adapters.storage.artifacts import FileArtifactStore
from pada_agent.core.chat import ChatRequest
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import TrainingError
from pada_agent.core.jobs import Job
from pada_agent.core.memory import Memory
from pada_agent.core.ports import LanguageModel, TokenCounter
from pada_agent.core.progress import Progress
from pada_agent.core.records import BatchReport, Usage
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.batch_rounds import read_reports
from pada_agent.graph.summary import RunSummary
from pada_agent.prompts.prompted_model import PromptedModel
from tests.fakes import MemoryDatasets, ScriptedModel
from tests.toy_student import run_toy_job, words

LABELS = {"fruit": "things that grow on trees", "tool": "things to work with", "animal": "things that run about"}


class NearestRowCompute:
    """`Compute` with a student that answers what the training row with the most words in common answers.

    The untouched student always takes the first option (with a system turn, the last). Every job that really runs is noted in `ran`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self.ran: list[Job] = []

    def submit(self, job: Job) -> str:
        spec = job.model_dump(exclude={"rows", "targets", "adapter", "start_from"})
        job_id = f"{job.kind}-{hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]}"
        with self._lock:
            if not (self._folder / job_id).exists():
                self._run(job, scratch := self._folder / f".{job_id}.{uuid4().hex}")
                with suppress(OSError):  # another instance was quicker
                    scratch.rename(self._folder / job_id)
        return job_id

    def wait(self, job_id: str, on_progress: Callable[[Progress], None]) -> Path:
        on_progress(Progress(stage="toy", done=1, total=1))
        if not (self._folder / job_id).exists():
            raise TrainingError(f"no job {job_id}")
        return self._folder / job_id

    def cancel(self, job_id: str) -> None:
        raise TrainingError(f"{job_id}: toy jobs are over before they can be cancelled")

    def close(self) -> None: ...

    def _run(self, job: Job, folder: Path) -> None:
        self.ran.append(job)
        run_toy_job(job, folder)


class WordCountEmbedder:
    """`Embedder` with one dimension per hashed word."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [self._embed(text) for text in texts]

    def _embed(self, text: str) -> list[float]:
        vector = [0.0] * 64
        for word in words(text):
            vector[int(hashlib.sha256(word.encode()).hexdigest(), 16) % 64] += 1.0
        norm = sum(x * x for x in vector) ** 0.5 or 1.0
        return [x / norm for x in vector]


def texts_of(prompt: str, tag: str) -> list[tuple[int, str]]:
    """Number and text of each item that a prompt shows."""
    found = re.findall(rf'<{tag} number="(\d+)">\n(.*?)</{tag}>', prompt, re.DOTALL)
    return [(int(n), text) for n, text in found]


def numbers_in(prompt: str, tag: str) -> list[int]:
    return [int(n) for n in re.findall(rf'<{tag} number="(\d+)">', prompt)]


def solve_toy(question: str) -> str:
    """The right label: of a row of the toy's own, or the one that a written row names."""
    known = {row["question"]: row["answer"] for row in (*TRAIN, *VALIDATION, *TEST)}
    return next((label for text, label in known.items() if text in question), "") or next(
        (label for label in LABELS if label in words(question)), "fruit"
    )


def say_fruit(question: str) -> str:
    """A solver that agrees with rows of one label alone."""
    del question
    return "fruit"


def teach(request: ChatRequest, *, score: int = 8, solve: Callable[[str], str] = solve_toy) -> str:
    """A teacher that always answers in form; `score` is what it gives as a judge, `solve` answers a question."""
    prompt, template = request.messages[-1].content, str(request.tags["prompt"])
    answers: dict[str, Callable[[], Any]] = {
        "probe": lambda: {"ready": True},
        "error_analysis": lambda: [
            {
                "sample_idx": n,
                "error_cause": f"overlooked the word {'apple' if n % 2 else 'hammer'}",
                "scenario_category": f"case {n % 2}",
            }
            for n in numbers_in(prompt, "sample")
        ],
        "pattern_categorization": lambda: {
            "category_name": "mixed up kinds",
            "error_pattern": "the student takes the name of a thing for the name of another thing",
            "representative_samples": [1],
        },
        "strategy_drafting": lambda: [
            {
                "pattern": int(n),
                "strategy_name": f"approach {n}",
                "generation_approach": f"{'Write short riddles about orchards.' if n == '1' else 'Describe workshops and their smells.'} Number {n}.",
                "key_elements": ["a thing", "a place"],
            }
            for n in re.findall(r"Pattern (\d+):", prompt)
        ],
        "pattern_guided_generation": lambda: [_write_row(n, text, request) for n, text in texts_of(prompt, "row")],
        **dict.fromkeys(
            ("training_error_generation", "contrast_generation", "similar_item_generation", "question_wording"),
            lambda: [_write_row(n, text, request) for n, text in texts_of(prompt, "row")],
        ),
        "rephrasing": lambda: [_write_row(n, prompt, request) for n in numbers_in(prompt, "row")],
        "answer_solving": lambda: [
            {"sample": n, "working": "it says so", "answer": solve(text)} for n, text in texts_of(prompt, "sample")
        ],
        "quality_control": lambda: [
            {
                "sample": n,
                "reason": "clear enough",
                "adherence": score,
                "utility": score,
                "relevance": score,
                "feedback": "be clearer",
            }
            for n in numbers_in(prompt, "sample")
        ],
    }
    return json.dumps(answers[template]())


def _write_row(number: int, asked: str, request: ChatRequest) -> dict[str, Any]:
    """Words that were never written before, and the name of the label it is for."""
    token = hashlib.sha256(f"{number}/{request.draw}".encode()).hexdigest()
    made_up = " ".join(token[i : i + 6] for i in range(0, 48, 6))
    label = re.search(r"^label: (\w+)$", asked, re.MULTILINE)
    return {"row": number, "question": f"tell me about {made_up}" + (f" of a {label[1]}" if label else "")}


def make_rows(split: str, texts: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"id": f"{split}-{i}", "question": text, "answer": label} for i, (text, label) in enumerate(texts)]


TRAIN = make_rows(
    "train",
    [
        ("a red apple on the sill", "fruit"),
        ("pears in the old basket", "fruit"),
        ("the plum stain on a shirt", "fruit"),
        ("hammer and nails downstairs", "tool"),
        ("somebody borrowed the long saw", "tool"),
        ("which spanner fits this bolt", "tool"),
        ("a fox crossed the road", "animal"),
        ("our hen has stopped laying", "animal"),
        # The same words as the row above and another label: a training error for a student that copies.
        ("has our hen stopped laying", "tool"),
    ],
)
VALIDATION = make_rows(
    "validation",
    [
        ("apple peel everywhere", "fruit"),
        ("the saw is blunt", "tool"),
        ("a badger under the shed", "animal"),
        ("cherries for dessert tonight", "fruit"),
        ("glue that never sets", "tool"),
        ("hedgehog asleep in leaves", "animal"),
        ("a quince is not for eating raw", "fruit"),
        ("the chisel needs an edge", "tool"),
        ("swallows came back early", "animal"),
        ("ten kilos of damsons", "fruit"),
    ],
)
TEST = make_rows(
    "test",
    [
        ("grapes went mouldy fast", "fruit"),
        ("bolt cutters went missing", "tool"),
        ("a goat ate the hedge", "animal"),
        ("walnuts stain fingers", "fruit"),
    ],
)


def make_settings(**changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "name": "toy",
        "task": {"name": "multiple_choice", "labels": LABELS},
        "data": {"train": "memory:train", "validation": "memory:validation", "test": "memory:test"},
        "analysis": {"errors_per_call": 2, "max_clusters": 3},
        "generation": {"share": 1.0, "rows_per_call": 2},
        "quality": {"max_regenerations": 2},
        "loop": {"max_iterations": 2, "patience": 2},
    }
    for key, value in changes.items():
        values[key] = (
            {**values[key], **value} if isinstance(values.get(key), dict) and isinstance(value, dict) else value
        )
    return RunConfig.model_validate(values)


def _always(tokens: TokenCounter) -> Callable[[object], TokenCounter]:
    return lambda _: tokens


@dataclass
class ToyWorld:
    """Adapters over a folder, and what they saw."""

    folder: Path
    teacher: LanguageModel = field(default_factory=lambda: ScriptedModel(teach))
    judge: LanguageModel | None = None
    memory: Mapping[str, Sequence[Mapping[str, Any]]] = field(
        default_factory=lambda: {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    )
    tokens: TokenCounter | None = None
    published: list[RunSummary] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = FileArtifactStore(self.folder / "objects")
        self.compute = NearestRowCompute(self.folder / "objects")
        self.kept = Memory()

    def read_reports(self, summary: RunSummary) -> list[BatchReport]:
        """How each batch of a run over this world fared."""
        return read_reports(summary.batches, self.store)

    def connect(self, settings: RunConfig) -> Adapters:
        teacher = PromptedModel(self.teacher, settings.prompts.overrides())
        return Adapters(
            datasets=MemoryDatasets(self.memory),
            store=self.store,
            compute=self.compute,
            embedder=WordCountEmbedder(),
            task=make_task(settings.task),
            analyst=teacher,
            generator=teacher,
            judge=PromptedModel(self.judge or self.teacher, settings.prompts.overrides()),
            guards=find_guards(settings.guard.plugins),
            student="toy",
            make_tokens=_always(self.tokens) if self.tokens else None,
            usage=lambda: {"generator": Usage(n_calls=1)},
            publish=lambda summary, _: self.published.append(summary),
            close=lambda: None,
            peak_memory_mb=lambda: None,
            memory=self.kept,
        )
