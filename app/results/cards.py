"""Model cards and data cards in the hub's format, readable by people and machines. Pure functions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pada_agent.app.report.tables import describe_comparison, describe_rows
from pada_agent.app.text import align_columns, interval, percent
from pada_agent.core.config import RunConfig
from pada_agent.core.records import Metrics
from pada_agent.graph.summary import ModelResult, RunSummary

UNKNOWN = "unknown"
"""The hub's word for a license that nobody has stated."""
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))


def write_adapter_card(
    summary: RunSummary, model: ModelResult, base_sha256: Mapping[str, str], config: RunConfig | None = None
) -> str:
    """What the adapter is, which weights it fits, what it was trained on, how well it does, and its limits.

    The license is left to the user, because it depends on those of the base model, the data and the teacher.
    """
    base = "".join(f"- It fits only these base weights: `{n}`, SHA-256 `{sha}`.\n" for n, sha in base_sha256.items())
    tests = "".join(f"- {describe_comparison(c)}\n" for c in summary.comparisons)
    return (
        f"{_front_matter(_describe_model(summary, model, config))}\n"
        f"# {summary.name}: {model.name}\n\n"
        f"LoRA adapter for {_base_name(summary.student)}, task `{summary.task}`, made by pada-agent."
        f" Trained on {model.n_train_rows} rows, {model.n_synthetic} of them synthetic.\n\n{summary.verdict}\n\n"
        f"## Results\n\n```\n{_tabulate(model)}\n```\n\nIt was chosen on part of validation.{' Test was read once.' if model.test else ''}\n\n{tests}\n"
        f"## Limitations\n\n{base}{_list_limits(summary, config)}"
    )


def write_data_card(summary: RunSummary, n_rows: int, config: RunConfig, *, license: str = UNKNOWN) -> str:
    """What the synthetic rows are, where they come from, and their limits."""
    rated = f" and rated by `{config.models.judge.model}`" if config.quality.enabled else ""
    size = next((name for limit, name in _SIZES if n_rows < limit), "n>100K")
    values: dict[str, Any] = {
        "license": license,
        "pretty_name": f"{summary.name}, synthetic rows",
        "tags": ["pada-agent", "synthetic"],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train.jsonl"}]}],
    }
    return (
        f"{_front_matter(values | _list_sources('source_datasets', config))}\n"
        f"# {summary.name}: synthetic rows\n\n"
        f"{n_rows} rows for the task `{summary.task}`, written by `{config.models.generator.model}` against the errors of"
        f" {_base_name(summary.student)}, checked by rule{rated}, by pada-agent."
        f" {describe_rows(summary)}\n\n{summary.verdict}\n\n"
        "## Columns\n\n"
        "`prompt` and `answer`: the turns that the student was trained on. `options`: answers to choose from, empty where it"
        " writes freely. `iteration`, `branch`, `strategy`, `pattern`, `batch_id`, `attempt`: why and when the row was"
        " written. `source_id`: the training row it was written from. `generator`: the model that wrote it."
        " `in_best_model`: whether the model that the run returned was trained on it; null where the run did not note it."
        " `reason`: why the row was accepted, in the judge's words where there is a judge. `rating`: the mean of the judge's scores `adherence`,"
        " `utility` and `relevance`, 1 to 10; null where nothing was rated. Ratings are one LLM's opinion of another's rows;"
        " nothing was trained on them.\n\n"
        f"## Limitations\n\n- Each row was written from a training row: the license of the sources holds for it too.\n"
        f"{_list_limits(summary, config)}"
    )


def _front_matter(values: Mapping[str, Any]) -> str:
    return f"---\n{yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)}---\n"


def _describe_model(summary: RunSummary, model: ModelResult, config: RunConfig | None) -> dict[str, Any]:
    sources = _list_sources("datasets", config)
    return {
        "license": UNKNOWN,
        "library_name": "peft",
        "base_model": _base_name(summary.student),
        "tags": ["pada-agent", "lora", "synthetic-data"],
        **sources,
        "model-index": [
            {
                "name": f"{summary.name}: {model.name}",
                "results": [
                    _describe_result(summary.task, split, metrics, sources.get("datasets", [summary.task])[0])
                    for split, metrics in (("validation", model.validation), ("test", model.test))
                    if metrics
                ],
            }
        ],
    }


def _describe_result(task: str, split: str, metrics: Metrics, dataset: str) -> dict[str, Any]:
    found = [{"type": "accuracy", "value": round(metrics.accuracy, 4), "name": f"accuracy, {_describe_n(metrics)}"}]
    if metrics.f1 is not None:
        found.append({"type": "f1", "value": round(metrics.f1, 4), "name": "token F1"})
    return {
        "task": {"type": "text-generation", "name": task},
        "dataset": {"type": dataset, "name": dataset, "split": split},
        "metrics": found,
    }


def _describe_n(metrics: Metrics) -> str:
    return f"95 % interval {metrics.low:.3f} to {metrics.high:.3f}, n = {metrics.n}"


def _list_sources(key: str, config: RunConfig | None) -> dict[str, list[str]]:
    """Hub ids among the data locations. Leaves out files, whose location is private."""
    data = config.data if config else None
    locations = (data.train, data.validation, data.test) if data else ()
    ids = [x.removeprefix("hub:").rpartition("/")[0].partition(":")[0] for x in locations if x and x.startswith("hub:")]
    return {key: list(dict.fromkeys(ids))} if ids else {}


def _base_name(student: str) -> str:
    """For a folder or file, only its name."""
    return Path(student).name if Path(student).is_absolute() or student.startswith((".", "~")) else student


def _tabulate(model: ModelResult) -> str:
    rows = [["rows of", "n", "accuracy", "95 % interval"]]
    rows += [
        [split, str(m.n), percent(m.accuracy), interval(m)]
        for split, m in (("validation", model.validation), ("selection", model.selection), ("test", model.test))
        if m
    ]
    return align_columns(rows)


def _list_limits(summary: RunSummary, config: RunConfig | None) -> str:
    limits = [
        "One task, one seed: the intervals are about the rows, not about other seeds or data.",
        "The synthetic rows were written by an LLM. They were checked by rules and a judge, and by people only where a review says so.",
    ]
    if config:
        limits.append(f"The terms of `{config.models.generator.model}`, which wrote the rows, apply too.")
    limits += list(summary.alarms)
    return "".join(f"- {limit}\n" for limit in limits)
