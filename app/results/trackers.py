"""Logs a finished run to an experiment tracker through the tracker's own library. All three are optional extras."""

import importlib
import json
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any, Literal

from pada_agent.app.adapters.storage.artifacts import explain_writing
from pada_agent.app.prerequisites import list_unpriced
from pada_agent.app.run_folder import layout
from pada_agent.core.config_files import spell_out
from pada_agent.core.errors import ConfigError
from pada_agent.core.jobs import read_train_metrics
from pada_agent.core.records import Record
from pada_agent.graph.summary import ModelResult, RunSummary, find_main

Tracker = Literal["mlflow", "wandb", "tensorboard"]
PROJECT = "pada-agent"
MAX_CHARACTERS = 500
"""Maximum length of a setting. The whole file is logged as well if the tracker accepts files."""

_REFUSED = re.compile(r"[^\w.-]")
"""Characters that MLflow refuses in the name of a figure, and spaces."""


class Figure(Record):
    """A number to log."""

    name: str
    value: float
    step: int
    """0 for figures of the whole run."""
    axis: Literal["model", "optimizer_step"] = "model"
    """What `step` counts. For models, 0 is the untouched one, followed by the others in the order in which they were measured."""


class TrackedRun(Record):
    """What is sent to a tracker."""

    folder: Path
    name: str
    verdict: str
    settings: dict[str, str]
    """Settings by dotted key. A mapping such as `task.labels` is one setting, as JSON, because trackers refuse names with some of the
    characters that labels contain."""
    figures: tuple[Figure, ...]


def track_run(folder: Path, *, to: Tracker) -> str:
    """Log the run in `folder`. Returns a line that says where to find it.

    Raises:
        ArtifactError: this is not a finished run.
        ConfigError: the tracker is not installed, or refuses.
    """
    config, summary = layout.load_run_config(folder), layout.load_summary(folder)
    run = TrackedRun(
        folder=folder,
        name=summary.name,
        verdict=summary.verdict,
        settings={key: _word_setting(value) for key, value in spell_out(config.model_dump(mode="json"))},
        figures=(*collect_figures(summary, list_unpriced(config, summary.usage)), *read_losses(summary, folder)),
    )
    trackers: dict[Tracker, Callable[[TrackedRun], str]] = {
        "mlflow": log_to_mlflow,
        "wandb": log_to_wandb,
        "tensorboard": log_to_tensorboard,
    }
    return trackers[to](run)


def collect_figures(summary: RunSummary, unpriced: Sequence[str] = ()) -> Iterator[Figure]:
    """Accuracy and rows of each model, then gain, cost, rows and time of the whole run.

    Args:
        unpriced: roles whose cost is not known, and left out.
    """
    for step, model in enumerate(summary.models):
        yield from (Figure(name=name, value=value, step=step) for name, value in _describe_model_run(model))
    if main := find_main(summary.comparisons, summary.models):
        yield Figure(name=f"gain/{main.split}_accuracy", value=main.difference, step=0)
        yield Figure(name=f"gain/{main.split}_p_value", value=main.p_value, step=0)
    for name, n in (("requested", summary.rows.requested), ("written", summary.rows.written)):
        yield Figure(name=f"rows/{name}", value=n, step=0)
    yield Figure(name="rows/accepted", value=summary.rows.accepted, step=0)
    for stage, n in summary.rows.rejected.items():
        yield Figure(name=f"rows/rejected_{_REFUSED.sub('_', stage)}", value=n, step=0)
    for role, usage in summary.usage.items():
        yield Figure(name=f"llm/{role}_calls", value=usage.n_calls, step=0)
        yield Figure(name=f"llm/{role}_tokens", value=usage.input_tokens + usage.output_tokens, step=0)
        if role not in unpriced:
            yield Figure(name=f"llm/{role}_usd", value=usage.cost_usd, step=0)
    for stage, seconds in summary.seconds_by_stage.items():
        yield Figure(name=f"seconds/{stage}", value=seconds, step=0)


def read_losses(summary: RunSummary, folder: Path) -> Iterator[Figure]:
    """Training loss by optimizer step, for every fine-tuned model whose adapter is available and recorded it."""
    for model in summary.models:
        if model.adapter:
            losses = read_train_metrics(folder / model.adapter).losses
            for step, loss in enumerate(losses, 1):
                yield Figure(name=f"loss/{model.name}", value=loss, step=step, axis="optimizer_step")


def log_to_mlflow(run: TrackedRun) -> str:
    """Log to the server or folder in MLFLOW_TRACKING_URI."""
    mlflow = _load("mlflow", "mlflow")
    try:
        with mlflow.start_run(run_name=run.name, description=run.verdict) as started:
            for key, value in run.settings.items():
                mlflow.log_param(key, value)
            for figure in run.figures:
                mlflow.log_metric(figure.name, figure.value, step=figure.step)
            for path in _list_files(run.folder):
                mlflow.log_artifact(str(path))
    except mlflow.exceptions.MlflowException as exc:
        raise ConfigError(f"mlflow: {exc}") from exc
    return f"mlflow: run {started.info.run_id} at {mlflow.get_tracking_uri()}"


def log_to_wandb(run: TrackedRun) -> str:
    """Log to the account that is logged in. WANDB_MODE=offline only writes a folder."""
    wandb = _load("wandb", "wandb")
    try:
        with wandb.init(project=PROJECT, name=run.name, notes=run.verdict, config=run.settings) as started:
            started.define_metric("*", step_metric="model")
            started.define_metric("loss/*", step_metric="optimizer_step")
            for (axis, step), values in _group_by_step(run.figures).items():
                started.log({axis: step, **values})
            for path in _list_files(run.folder):
                started.save(str(path), base_path=str(run.folder), policy="now")
    except wandb.errors.Error as exc:
        raise ConfigError(f"wandb: {exc}") from exc
    return f"wandb: {started.url or started.dir}"


def log_to_tensorboard(run: TrackedRun) -> str:
    """Log to the folder `tensorboard` of the run."""
    target = run.folder / "tensorboard"
    tensorboard = _load("torch.utils.tensorboard", "tensorboard")
    with explain_writing(target), tensorboard.SummaryWriter(log_dir=str(target)) as writer:
        writer.add_text("verdict", run.verdict)
        settings = "\n".join(f"{key}: {value}" for key, value in run.settings.items())
        writer.add_text("settings", indent(settings, "    ", lambda _: True))  # Markdown: shown as it is
        for figure in run.figures:
            writer.add_scalar(figure.name, figure.value, figure.step)
    return f"tensorboard --logdir {shlex.quote(str(target))}"


def _word_setting(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
    return "" if value is None else text[:MAX_CHARACTERS]


def _describe_model_run(model: ModelResult) -> list[tuple[str, float]]:
    found = [("rows/train", float(model.n_train_rows)), ("rows/synthetic", float(model.n_synthetic))]
    for split, metrics in (("validation", model.validation), ("selection", model.selection), ("test", model.test)):
        if metrics:
            figures = {"accuracy": metrics.accuracy, "low": metrics.low, "high": metrics.high}
            found += [(f"{split}/{name}", value) for name, value in figures.items()]
    return found


def _group_by_step(figures: tuple[Figure, ...]) -> dict[tuple[str, int], dict[str, float]]:
    grouped: dict[tuple[str, int], dict[str, float]] = {}
    for figure in figures:
        grouped.setdefault((figure.axis, figure.step), {})[figure.name] = figure.value
    return grouped


def _list_files(folder: Path) -> list[Path]:
    names = (layout.REPORT, layout.SUMMARY, layout.CONFIG)
    return [folder / name for name in names if (folder / name).is_file()]


def _load(module: str, extra: Tracker) -> Any:
    try:
        found = importlib.import_module(module)
        if found.__file__ is None:  # the folder `wandb` that a run of W&B left here imports as an empty package
            raise ImportError(f"{module} is a folder, not the library")
        return found
    except ImportError as exc:
        raise ConfigError(f"{extra} cannot be loaded ({exc}). Get it with: pip install 'pada-agent[{extra}]'") from exc
