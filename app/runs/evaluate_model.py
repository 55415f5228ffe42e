"""Measure one model on one split, outside a run."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pada_agent.app import wiring
from pada_agent.app.run_folder.events import OnEvent, RunEvent
from pada_agent.app.runs.driver import ignore
from pada_agent.app.text import interval, percent
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ArtifactError, ConfigError, DatasetError
from pada_agent.core.jobs import PredictJob
from pada_agent.core.ports import RawRow
from pada_agent.core.records import Example, Metrics
from pada_agent.evaluation.rows.reading import read_files
from pada_agent.evaluation.statistics import summarize
from pada_agent.evaluation.task import verify_answers
from pada_agent.graph.context import Adapters
from pada_agent.graph.nodes.evaluating import read_predictions

Split = Literal["validation", "test"]


def evaluate_model(config: RunConfig, *, adapter: Path | None, split: Split, on_event: OnEvent = ignore) -> Metrics:
    """Accuracy of the student, with `adapter` or untouched. Works in the folder `runs_folder/evaluate`.

    Raises:
        ConfigError: the settings name no such split.
        ArtifactError: `adapter` holds no adapter.
    """
    config = config.model_copy(update={"name": "evaluate"})
    if adapter and not (adapter / "adapter_config.json").is_file():
        raise ArtifactError(f"{adapter}: holds no adapter (no adapter_config.json). Give a run's best/ folder.")
    try:
        adapters = wiring.connect(config)
        examples = _read_split(config, split, adapters)
        job = _make_job(config, adapter, examples, adapters)
        folder = adapters.compute.wait(
            adapters.compute.submit(job), lambda p: on_event(RunEvent(mode="custom", data=p.model_dump()))
        )
        return summarize(verify_answers(adapters.task, examples, read_predictions(folder)))
    finally:
        wiring.close(config)


def describe_metrics(metrics: Metrics, *, split: Split) -> str:
    """One line."""
    unscored = f", {metrics.n_unscored} could not be scored" if metrics.n_unscored else ""
    f1 = f", F1 {metrics.f1:.3f}" if metrics.f1 is not None else ""
    return f"{split}: {percent(metrics.accuracy)} of {metrics.n} (95 % interval {interval(metrics)}{f1}{unscored})"


def _read_split(config: RunConfig, split: Split, adapters: Adapters) -> list[Example]:
    data = config.data
    is_test = split == "test"
    location, limit = (data.test, data.test_limit) if is_test else (data.validation, data.validation_limit)
    if not location:
        raise ConfigError(f"data.{split}: the settings name no rows")
    rows = adapters.datasets.read(location, limit=limit, shuffle=data.shuffle)
    return read_files(adapters.task, [rows, *_fetch_others(config, split, adapters)])[0].examples


def _fetch_others(config: RunConfig, split: Split, adapters: Adapters) -> list[list[RawRow]]:
    """Rows of the run's other files, where they can be read: what labels and numbers mean is settled from all of them."""
    data = config.data
    held_out = (data.validation, data.validation_limit) if split == "test" else (data.test, data.test_limit)
    found = []
    for location, limit in ((data.train, data.train_limit), held_out):
        with suppress(DatasetError):
            found += [adapters.datasets.read(location, limit=limit, shuffle=data.shuffle)] if location else []
    return found


def _make_job(config: RunConfig, adapter: Path | None, examples: list[Example], adapters: Adapters) -> PredictJob:
    key = adapters.store.key("evaluate", examples)
    return PredictJob(
        student=adapters.student,
        adapter=str(adapter) if adapter else None,
        adapter_hash=_hash_folder(adapter) if adapter else None,
        rows=str(adapters.store.write_rows(key, examples)),
        rows_hash=key,
        max_new_tokens=config.student.max_new_tokens or adapters.task.max_new_tokens,
        stop=adapters.task.stop,
        batch_size=config.student.eval_batch_size,
        chat=config.student.chat,
    )


def _hash_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
