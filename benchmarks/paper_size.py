"""C4-paper: an iteration of the paper's size, more than 200 LLM calls, against its critical path.

It uses the real graph and worker. Calls take as long as recorded ones of the same kind. Their answers are valid and all
different, so that no row is refused as a copy, and the judge sends back one row in forty.

The critical path is computed from when each call and job of this very run began and ended: how long they would have taken if
each had begun as soon as everything it needs was there, with as many LLM calls and jobs at once as in the run.
"""

import json
import random
import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.critical_path import Step, find_waits, schedule
from benchmarks.iteration import AT_ONCE, RECORDING, Wrap, choose_pace, make_config, run_iteration
from benchmarks.measuring import BenchmarkError, Comparison, Options, Outcome, compare
from benchmarks.recording import ANALYSIS, RecordedCall, read
from pada_agent.core.chat import ChatRequest
from pada_agent.core.config import RunConfig
from pada_agent.core.jobs import Job
from pada_agent.core.ports import Compute
from pada_agent.core.progress import Progress
from pada_agent.graph.adapters import Adapters

SETTINGS = {
    "data.train_limit": "null",
    "data.validation_limit": "null",
    "generation.share": 3.2,
    "generation.match_form": False,
    "analysis.max_errors": 150,
    "analysis.errors_per_call": 5,
    "analysis.max_clusters": 4,
    "quality.rows_per_call": "null",
    "quality.max_regenerations": 3,
}
"""Settings in addition to C4's: batches of five rows that are rated together, as in the paper."""
QUICK = {"data.validation_limit": 20, "generation.share": 0.5}
GOOD, POOR = 8, 3
SENT_BACK = 40
"""One row in this many is rated too low."""
NUMBERS = ("row", "sample", "sample_idx", "pattern")
START = "paper-start"
TARGET = 0.9


class FormTeacher:
    """Chooses a recorded call of the same kind for its latency, and makes up an answer that its schema accepts."""

    def __init__(self, calls: Sequence[RecordedCall]) -> None:
        self._calls = calls
        self._words = sorted(set(re.findall(r"[a-z]{3,}", " ".join(call.text for call in calls).lower())))

    def __call__(self, request: ChatRequest, key: str) -> RecordedCall:
        rng = random.Random(key)
        alike = [call for call in self._calls if call.prompt == request.tags["prompt"]]
        if not alike or request.json_schema is None:
            raise BenchmarkError(f"{RECORDING.name} has no call of {request.tags['prompt']}")
        text = json.dumps(self._fill(request.json_schema, rng, number=1))
        return rng.choice(alike).model_copy(update={"text": text})

    def _fill(self, schema: dict[str, Any], rng: random.Random, *, number: int, name: str = "") -> Any:
        if schema["type"] == "array":
            return [self._fill(schema["items"], rng, number=n + 1) for n in range(schema.get("minItems", 1))]
        if schema["type"] == "object":
            fields = schema["properties"].items()
            return {name: self._fill(inner, rng, number=number, name=name) for name, inner in fields}
        if schema["type"] == "string":
            return " ".join(rng.sample(self._words, 12))
        return number if name in (*NUMBERS, "") else POOR if rng.randrange(SENT_BACK) == 0 else GOOD


@dataclass
class Watched:
    """A compute backend that times its jobs, from `submit` to the end of `wait`."""

    compute: Compute
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)

    def submit(self, job: Job) -> str:
        start = time.time()
        job_id = self.compute.submit(job)
        self.spans.setdefault(job_id, (start, start))
        return job_id

    def wait(self, job_id: str, on_progress: Callable[[Progress], None]) -> Path:
        folder = self.compute.wait(job_id, on_progress)
        self.spans[job_id] = (self.spans[job_id][0], time.time())
        return folder

    def cancel(self, job_id: str) -> None:
        self.compute.cancel(job_id)

    def close(self) -> None:
        self.compute.close()


def run(options: Options) -> Outcome:
    """One iteration, after the fine-tuning that it starts from."""
    with TemporaryDirectory() as folder:
        row, told = measure(Path(folder), options)
    return Outcome(parity=told, rows=[row])


def measure(folder: Path, options: Options, *, wrap: Wrap = lambda adapters: adapters) -> tuple[Comparison, str]:
    """Wall time compared with the critical path, and in words what was waited for.

    Args:
        wrap: puts other adapters in place of the real ones.
    """
    settings = SETTINGS | (QUICK if options.quick else {})
    start = make_config(folder, START, options, **settings, **{"loop.max_iterations": 0})
    run_iteration(start, pace=0.0, n_at_once=1, wrap=wrap)
    config = make_config(folder, "paper-size", options, **settings)
    jobs: list[Watched] = []

    def watch(adapters: Adapters) -> Adapters:
        wrapped = wrap(adapters)
        jobs.append(Watched(wrapped.compute))
        return replace(wrapped, compute=jobs[-1])

    known = {path.name for path in (folder / START / "objects").iterdir()}
    done = run_iteration(
        config,
        pace=choose_pace(options),
        n_at_once=AT_ONCE,
        wrap=watch,
        choose=FormTeacher(read(RECORDING)),
        start_from=START,
    )
    spans = {name: span for name, span in jobs[-1].spans.items() if name not in known}
    steps = find_steps(config, spans, began=done.started)
    shortest = max(end for _, end in schedule(steps, {"llm": AT_ONCE, "job": 1}).values())
    calls = [step for step in steps if step.kind == "llm"]
    row = compare(
        f"{len(calls)} LLM calls, critical path",
        [done.graph_seconds],
        [shortest],
        peer_name="critical path",
        unit="s",
        target=TARGET,
        less_is_better=True,
    )
    return row, tell_waits(steps)


def find_steps(config: RunConfig, jobs: dict[str, tuple[float, float]], *, began: float) -> list[Step]:
    """The run's calls and jobs, each with what it needs, in an order in which they can run."""
    ledger = Path(config.runs_folder) / config.name / "llm_calls.sqlite"
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as database, database:
        rows = database.execute("SELECT key, tags, started, seconds FROM calls ORDER BY started").fetchall()
    found = [(key, json.loads(tags), (start - began, start - began + seconds)) for key, tags, start, seconds in rows]
    spans = {name: (start - began, end - began) for name, (start, end) in jobs.items()}
    first_training = min((start for name, (start, _) in spans.items() if name.startswith("fine_tune")), default=0.0)
    answered = tuple(name for name, (start, _) in spans.items() if start < first_training)
    steps = [Step(name, "job", "answers to training rows", spans[name]) for name in answered]
    steps += find_calls(found, answered)
    last = tuple(step.id for step in steps)
    for name, span in sorted(spans.items(), key=lambda item: item[1]):
        if name not in answered:
            steps.append(Step(name, "job", name.partition("-")[0], span, last))
            last = (name,)
    return steps


def find_calls(
    found: Sequence[tuple[str, dict[str, Any], tuple[float, float]]], answered: tuple[str, ...]
) -> list[Step]:
    """What calls need: a batch its plan, an attempt the ratings of the previous one, a round of top-ups all earlier rounds."""
    steps: list[Step] = []
    before: tuple[str, ...] = ()
    for stage in ANALYSIS:
        now = [Step(key, "llm", stage, span, before) for key, tags, span in found if tags["prompt"] == stage]
        steps, before = [*steps, *now], tuple(step.id for step in now) or before
    of_round: dict[int, list[str]] = {}
    of_batch: dict[str, list[str]] = {}
    for key, tags, span in found:
        if tags["prompt"] in ANALYSIS:
            continue
        batch, round_ = str(tags["batch"]), find_round(str(tags["batch"]))
        earlier = tuple(name for n, names in of_round.items() if n < round_ for name in names)
        plan = earlier or (answered if "-e-" in batch else (*before, *answered))
        steps.append(Step(key, "llm", str(tags["prompt"]), span, tuple(of_batch.get(batch, ())) or plan))
        of_round.setdefault(round_, []).append(key)
        of_batch[batch] = [key]
    return steps


def find_round(batch: str) -> int:
    """0 for the first round, then the number of the top-up."""
    named = re.search(r"-t(\d+)-", batch)
    return int(named[1]) if named else 0


def tell_waits(steps: Sequence[Step]) -> str:
    waits = {stage: seconds for stage, seconds in find_waits(steps).items() if seconds >= 0.05}
    told = [f"{stage} {seconds:.1f} s" for stage, seconds in sorted(waits.items(), key=lambda item: -item[1])]
    return "begun later than possible: " + (", ".join(told) or "nothing")
