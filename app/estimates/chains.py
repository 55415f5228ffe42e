"""The steps of a run, with how long each takes: what the graph does, as far as it takes time."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pada_agent.app.estimates.calls import (
    Counts,
    asks_judge,
    count_analyses,
    count_folds,
    count_judging,
    count_voting,
    count_writing,
)
from pada_agent.app.estimates.rates import Rates
from pada_agent.app.estimates.simulation import Calls, DriverWork, Limits, Step, StudentJob, Together
from pada_agent.core.chat import Role
from pada_agent.core.compute_config import count_processes
from pada_agent.core.concurrency import MAX_WORKERS
from pada_agent.core.config import RunConfig
from pada_agent.core.model_config import ModelConfig
from pada_agent.graph.batch_rounds import count_batches_at_once


class RunChain:
    """The steps of one run, if no iteration ends it early.

    Steps have the same key as those of another run if they have the same result, as in an experiment.
    """

    def __init__(self, config: RunConfig, counts: Counts, rates: Rates) -> None:
        self._config = config
        self._counts = counts
        self._rates = rates
        self._n_synthetic = config.generation.count_rows(counts.train)
        self._own = address(config.model_dump(mode="json", exclude={"name"}))
        data = config.data.model_dump(exclude={"validation", "test", "validation_limit", "test_limit", "held_back"})
        self._student = address([config.student.model_dump(mode="json"), config.task.model_dump(mode="json")])
        self._plain = address([self._student, data, config.lora.model_dump(mode="json"), config.seed])
        """The first fine-tuning, which has no synthetic rows yet."""

    def steps(self) -> Iterator[Step]:
        """All steps, in order."""
        n_iterations = self._config.loop.max_iterations
        yield DriverWork(self._rates.start_seconds)
        yield from self._measure(self._student, "validation")
        yield self._fine_tune(self._plain, n_synthetic=0)
        yield from self._measure(self._plain, "validation")
        for iteration in range(1, n_iterations + 1):
            yield from self._iterate(iteration)
        if self._counts.test:
            tested = [self._student, self._plain, *([self._name(n_iterations)] if n_iterations else [])]
            yield Together(tuple(tuple(self._measure(model, "test")) for model in tested))

    def _iterate(self, iteration: int) -> Iterator[Step]:
        model = self._name(iteration)
        yield Together(
            tuple(tuple(lane) for lane in (self._follow_patterns(iteration), self._follow_errors(iteration)))
        )
        yield DriverWork(self._rates.iteration_seconds)
        kept = iteration if self._config.generation.accumulate else 1
        yield self._fine_tune(model, n_synthetic=kept * self._n_synthetic)
        yield from self._measure(model, "validation")

    def _answer_training_rows(self, iteration: int) -> Iterator[Step]:
        """Answers to training rows; with folds, by students that were not trained on them. Later iterations find those again."""
        if not self._config.generation.reads_training_errors:
            return
        yield from self._measure(self._name(iteration - 1), "train")
        n_folds = count_folds(self._config) if iteration == 1 else 0
        for fold in range(n_folds):
            seconds = self._seconds_to_train(n_synthetic=0) * (n_folds - 1) / n_folds
            yield self._job(f"{self._plain} fold {fold}", seconds)
            answers, n_rows = f"{self._plain} fold {fold} answers", self._counts.train / n_folds
            yield self._job(answers, n_rows * self._rates.predict_row_seconds)
            yield from self._judge(answers, round(n_rows))

    def _follow_patterns(self, iteration: int) -> Iterator[Step]:
        """Analysis of errors, then rows that follow strategies."""
        n_analyses, n_patterns = count_analyses(self._config, self._counts)
        if not n_analyses:
            return
        shared = address([self._plain, self._config.analysis.model_dump(), self._config.models.analyst.model_dump()])
        place = shared if iteration == 1 else self._name(iteration)
        for what, n in (("analyses", n_analyses), ("patterns", n_patterns), ("strategies", 1)):
            yield self._calls(f"{place} {what}", "analyst", n, width=n)
        yield from self._write(iteration, self._pattern_share, "patterns")

    def _follow_errors(self, iteration: int) -> Iterator[Step]:
        """The student's answers to the training rows, then rows that start from its errors."""
        yield from self._answer_training_rows(iteration)
        yield from self._write(iteration, 1 - self._pattern_share, "errors")

    @property
    def _pattern_share(self) -> float:
        """The patterns' part of the rows that an LLM writes."""
        generation = self._config.generation
        return generation.pattern_share / (generation.written_share or 1)

    def _write(self, iteration: int, share: float, branch: str) -> Iterator[Step]:
        """One branch's part of the rows: written, then voted on, answered and rated."""
        n_batches = math.ceil(count_writing(self._config, self._n_synthetic) * share)
        if not n_batches:
            return
        n_solved, n_rated = count_judging(
            self._config, round(self._n_synthetic * self._config.generation.written_share)
        )
        steps: tuple[tuple[str, Role, float], ...] = (
            ("written", "generator", n_batches),
            ("voted on", "generator", count_voting(self._config, self._n_synthetic) * share),
            ("answered", "judge", n_solved * share),
            ("rated", "judge", n_rated * share),
        )
        n_together = min(n_batches, count_batches_at_once(self._config.models))
        for what, role, n in steps:
            n_at_once = n_together * max(1, round(n / n_batches))
            if n_calls := round(n * self._rates.attempts):
                yield self._calls(f"{self._own} {iteration} {branch} {what}", role, n_calls, width=n_at_once)

    def _calls(self, key: str, role: Role, n: int, *, width: int) -> Calls:
        model: ModelConfig = getattr(self._config.models, role)
        return Calls(
            key=key,
            model=model.limits_key,
            n=n,
            seconds=self._rates.call_seconds[role],
            width=max(1, min(n, width, model.max_concurrency)),
        )

    def _fine_tune(self, model: str, *, n_synthetic: int) -> StudentJob:
        return self._job(model, self._seconds_to_train(n_synthetic=n_synthetic))

    def _seconds_to_train(self, *, n_synthetic: int) -> float:
        lora = self._config.lora
        if lora.n_steps is not None:
            n_rows: float = lora.n_steps * lora.batch_size
        else:
            n_rows = lora.epochs * (self._counts.train + self._config.n_definitions + n_synthetic)
        return n_rows * self._rates.train_row_seconds / count_processes(self._config.compute)

    def _measure(self, model: str, split: str) -> Iterator[Step]:
        """The evaluation, in as many jobs as the cluster's settings divide it into, and the verdicts if the judge gives them."""
        n_rows = {"train": self._counts.train, "validation": self._counts.validation, "test": self._counts.test}[split]
        rows = f"{getattr(self._config.data, split)} {n_rows}"
        n_shards = max(1, math.ceil(n_rows / self._config.compute.cluster.shard_rows))
        jobs = [
            self._job(f"{model} {split} {rows} {shard}", n_rows / n_shards * self._rates.predict_row_seconds)
            for shard in range(n_shards)
        ]
        yield jobs[0] if n_shards == 1 else Together(tuple((job,) for job in jobs))
        yield from self._judge(f"{model} {split} {rows}", n_rows)

    def _judge(self, answers: str, n: int) -> Iterator[Step]:
        """The judge's verdicts on the student's answers."""
        if asks_judge(self._config):
            judge = address(self._config.models.judge.model_dump())
            yield self._calls(f"{answers} rated by {judge}", "judge", n, width=MAX_WORKERS)

    def _job(self, key: str, seconds: float) -> StudentJob:
        return StudentJob(key=key, seconds=seconds, student=self._config.student.model)

    def _name(self, iteration: int) -> str:
        return f"{self._own} {iteration}" if iteration else self._plain


def find_limits(config: RunConfig) -> Mapping[str, Limits]:
    """The limits of the run's LLMs. Roles that share a model share its limits."""
    models = (config.models.analyst, config.models.generator, config.models.judge)
    return {model.limits_key: Limits(model.max_concurrency, model.requests_per_minute or math.inf) for model in models}


def address(values: Any) -> str:
    """Short hash of JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]
