"""Model cards and data cards in the hub's format, readable by people and machines. Pure functions."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pada_agent.app.prerequisites import list_unpriced
from pada_agent.app.report.tables import describe_comparison, describe_rows
from pada_agent.app.text import align_columns, interval, percent
from pada_agent.core.config import RunConfig
from pada_agent.core.hub_names import HUB_ID, split_commit
from pada_agent.core.records import Branch, Metrics
from pada_agent.graph.summary import ModelResult, RunSummary

UNKNOWN = "unknown"
"""The hub's word for a license that nobody has stated."""
_HUB_ROWS = re.compile(rf"hub:({HUB_ID})")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))


def write_adapter_card(
    summary: RunSummary,
    model: ModelResult,
    base_sha256: Mapping[str, str],
    config: RunConfig | None = None,
    *,
    n_real: int = 0,
) -> str:
    """What the adapter is, which weights it fits, what it was trained on, how well it does, and its limits.

    The license is left to the user, because it depends on those of the base model, the data and the teacher.

    Args:
        n_real: how many of the rows that the run added are real ones.
    """
    n_written = model.n_synthetic - n_real
    added = [f"{n_written} of them synthetic"] * bool(n_written)
    added += [f"{n_real} of them real ones that were held back at first"] * bool(n_real)
    base = "".join(f"- It fits only these base weights: `{n}`, SHA-256 `{sha}`.\n" for n, sha in base_sha256.items())
    tests = "".join(f"- {describe_comparison(c)}\n" for c in summary.comparisons)
    return (
        f"{_front_matter(_describe_model(summary, model, config, is_synthetic=n_written > 0))}\n"
        f"# {summary.name}: {model.name}\n\n"
        f"LoRA adapter for {_base_name(summary.student)}, task `{summary.task}`, made by pada-agent."
        f" Trained on {', '.join([f'{model.n_train_rows} rows', *added])}.\n\n{summary.verdict}\n\n"
        f"## Results\n\n```\n{_tabulate(model)}\n```\n\nIt was chosen on part of validation.{' Test was read once.' if model.test else ''}\n\n{tests}\n"
        f"## Limitations\n\n{base}{_list_limits(summary, config, is_synthetic=n_written > 0)}"
    )


def write_data_card(
    summary: RunSummary, n_by_branch: Mapping[Branch, int], config: RunConfig, *, license: str = UNKNOWN
) -> str:
    """What the added rows are, where they come from, and their limits."""
    n_rows, n_real = sum(n_by_branch.values()), n_by_branch.get("held_back", 0)
    is_synthetic = n_rows > n_real
    kind = ("added" if n_real else "synthetic") if is_synthetic else "real"
    size = next((name for limit, name in _SIZES if n_rows < limit), "n>100K")
    values: dict[str, Any] = {
        "license": license,
        "pretty_name": f"{summary.name}, {kind} rows",
        "tags": ["pada-agent", *["synthetic"] * is_synthetic],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train.jsonl"}]}],
    }
    return (
        f"{_front_matter(values | _list_sources('source_datasets', config))}\n"
        f"# {summary.name}: {kind} rows\n\n"
        f"{n_rows} rows for the task `{summary.task}`, which pada-agent added to the training data of {_base_name(summary.student)}."
        f"{_describe_writing(n_by_branch, config)}{_describe_real(n_real, n_rows)}"
        f" {describe_rows(summary, list_unpriced(config, summary.usage))}\n\n{summary.verdict}\n\n"
        "## Columns\n\n"
        "`prompt` and `answer`: the turns that the student was trained on. `options`: answers to choose from, empty where it"
        " writes freely. `system` and `history`: the row's own system turn, null where it has none, and the turns before `prompt`,"
        " pairs of a question and its answer. `iteration`, `branch`, `strategy`, `pattern`, `batch_id`, `attempt`: why and when the row was"
        " written; the branch of real rows is `held_back`. `source_id`: the training row it was written from, or a real row's own"
        " id. `generator`: the model that wrote it; null for real rows."
        " `in_best_model`: whether the model that the run returned was trained on it; null where the run did not note it."
        " `reason`: why the row was accepted, in the judge's words where there is a judge. `rating`: the mean of the judge's scores `adherence`,"
        " `utility` and `relevance`, 1 to 10; null where nothing was rated. Ratings are one LLM's opinion of another's rows;"
        " nothing was trained on them.\n\n"
        f"## Limitations\n\n- Each row {_word_origin(is_synthetic, n_real)}: the license of the sources applies to it, too.\n"
        f"{_list_limits(summary, config, is_synthetic=is_synthetic)}"
    )


def _describe_writing(n_by_branch: Mapping[Branch, int], config: RunConfig) -> str:
    """Who wrote rows, what for, and how they were checked. Empty if all are real."""
    n_blind = n_by_branch.get("training_error", 0) if config.generation.sources == "training_rows" else 0
    n_written = sum(n for branch, n in n_by_branch.items() if branch != "held_back")
    if not n_written:
        return ""
    aim = "against the student's errors"
    if n_blind:
        aim = (
            f"{n_written - n_blind} of them {aim}"
            if n_blind < n_written
            else "from training rows, whatever the student's errors"
        )
    rated = f" and rated by `{config.models.judge.model}`" if config.quality.enabled else ""
    return (
        f" {_count(n_written, sum(n_by_branch.values()))} were written by `{config.models.generator.model}`, {aim}, and checked by"
        f" rules{rated}."
    )


def _describe_real(n_real: int, n_rows: int) -> str:
    """Empty if there are none."""
    if not n_real:
        return ""
    return f" {_count(n_real, n_rows)} are real rows that were held back at first: no LLM wrote, checked or rated them."


def _count(n: int, n_rows: int) -> str:
    return "All" if n == n_rows else str(n)


def _word_origin(is_synthetic: bool, n_real: int) -> str:
    origins = ["was written from a training row"] * is_synthetic + ["is a real row"] * bool(n_real)
    return " or ".join(origins)


def _front_matter(values: Mapping[str, Any]) -> str:
    return f"---\n{yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)}---\n"


def _describe_model(
    summary: RunSummary, model: ModelResult, config: RunConfig | None, *, is_synthetic: bool
) -> dict[str, Any]:
    sources = _list_sources("datasets", config)
    return {
        "license": UNKNOWN,
        "library_name": "peft",
        "base_model": _base_name(summary.student),
        "tags": ["pada-agent", "lora", *["synthetic-data"] * is_synthetic],
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
    return f"95% interval {metrics.low:.3f} to {metrics.high:.3f}, n = {metrics.n}"


def _list_sources(key: str, config: RunConfig | None) -> dict[str, list[str]]:
    """Hub ids among the data locations. Leaves out files, whose location is private."""
    if config is None:
        return {}
    data = config.data
    held_back = data.held_back if config.generation.sources == "held_back" else ""
    locations = (data.train, data.validation, data.test, held_back)
    ids = [found[1] for location in locations if (found := _HUB_ROWS.match(location or ""))]
    return {key: list(dict.fromkeys(ids))} if ids else {}


def _base_name(student: str) -> str:
    """The plain name of a hub model. For a folder or file, only its name."""
    return (
        Path(student).name
        if Path(student).is_absolute() or student.startswith((".", "~"))
        else split_commit(student).name
    )


def _tabulate(model: ModelResult) -> str:
    rows = [["rows of", "n", "accuracy", "95% interval"]]
    rows += [
        [split, str(m.n), percent(m.accuracy), interval(m)]
        for split, m in (("validation", model.validation), ("selection", model.selection), ("test", model.test))
        if m
    ]
    return align_columns(rows)


def _list_limits(summary: RunSummary, config: RunConfig | None, *, is_synthetic: bool) -> str:
    limits = ["One task, one seed: the intervals are about the rows, not about other seeds or data."]
    if is_synthetic:
        checks = "rules and a judge" if _has_judge(summary, config) else "rules"
        limits.append(
            f"The synthetic rows were written by an LLM. They were checked by {checks}, and by people only where a review says so."
        )
    if is_synthetic and config:
        limits.append(f"The terms of `{config.models.generator.model}`, which wrote the rows, apply too.")
    limits += list(summary.alarms)
    return "".join(f"- {limit}\n" for limit in limits)


def _has_judge(summary: RunSummary, config: RunConfig | None) -> bool:
    """Whether an LLM rated or answered rows. Without settings, as far as the summary says it."""
    rates = config.quality.enabled if config else summary.ratings.n_accepted > 0
    return rates or summary.rows.solved > 0
