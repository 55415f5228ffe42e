"""Finds everything that is wrong with a run before anything is computed. Used by the first node and by `pada check`."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from pada_agent.core.config import RunConfig
from pada_agent.core.errors import PadaError
from pada_agent.core.task_config import TaskConfig
from pada_agent.core.wording import count
from pada_agent.evaluation.contamination import find_overlap
from pada_agent.evaluation.rows.findings import Finding, blame, stop, warn
from pada_agent.evaluation.rows.reading import ReadFile
from pada_agent.evaluation.rows.token_limits import Lengths
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.tasks.registry import BUILT_IN
from pada_agent.graph.adapters import RowAdapters
from pada_agent.graph.data_check import CheckedData, check_run_data
from pada_agent.graph.data_files import FileName
from pada_agent.graph.data_lengths import measure_lengths

MAX_LEARNING_RATE = 0.1
FEW_IN_PART = 10
"""With fewer rows in a part of validation, hardly any failure is found in it, or chance selects the model."""


class RunCheck(NamedTuple):
    """The rows that a run will use, and everything the checks found."""

    data: CheckedData
    lengths: Lengths | None
    """None if rows cannot be measured."""
    findings: list[Finding]

    @property
    def files(self) -> Mapping[FileName, ReadFile]:
        """The rows of each file, without those that were dropped."""
        return self.data.files

    @property
    def warnings(self) -> list[str]:
        """Findings that a person should know and that do not stop the run."""
        return [finding.text for finding in self.findings if not finding.stops]


def check_everything(settings: RunConfig, given: Mapping[str, Any], adapters: RowAdapters) -> RunCheck:
    """Check rows, lengths and the machine.

    Args:
        given: the graph's input. Rows in it replace those of the files.
    """
    data = check_run_data(settings, given, datasets=adapters.datasets, task=adapters.task)
    if settings.generation.sources == "held_back":
        data = keep_spare(data)
    lengths, unmeasured = _measure(settings, data, adapters)
    findings = [
        *_check_machine(adapters.task),
        *check_settings(settings),
        *check_task_settings(settings.task, adapters.task, data),
        *check_vote(settings, adapters.task),
        *data.findings,
        *check_amounts(settings, {name: len(file.examples) for name, file in data.files.items()}),
        *(lengths.findings if lengths else ()),
        *unmeasured,
    ]
    return RunCheck(data, lengths, findings)


def check_settings(settings: RunConfig) -> list[Finding]:
    """Settings that can do nothing or no good, whatever the rows are."""
    return [
        *_check_label_settings(settings),
        *_check_overridden(settings),
        *_check_learning_rate(settings.lora.learning_rate),
    ]


def check_amounts(settings: RunConfig, n_rows: Mapping[FileName, int]) -> list[Finding]:
    """Settings that leave nothing to write, hardly anything to diagnose or to select by, or only rows that select to measure the gain.

    Args:
        n_rows: number of rows by file. Files without rows are not judged.
    """
    n_train, n_validation = n_rows.get("train", 0), n_rows.get("validation", 0)
    if not settings.loop.max_iterations:
        return []
    share = settings.generation.share
    findings = []
    if n_train and not settings.generation.count_rows(n_train):
        findings.append(
            stop(
                f"generation.share of {share:g} asks for no synthetic row: it is a share of {count(n_train, 'training row')}."
                f" Set it to {math.ceil(100 / n_train) / 100:g} or more, or loop.max_iterations to 0",
                "settings",
            )
        )
    findings += _check_parts(settings, n_validation) if n_validation else []
    return findings + _check_test(settings, n_test=n_rows.get("test", 0))


def _check_test(settings: RunConfig, *, n_test: int) -> list[Finding]:
    """Whether the gain is measured on the rows that choose the best of several iterations. Real rows only measure the headroom."""
    if n_test or settings.data.test or settings.loop.max_iterations == 1 or not settings.generation.written_share:
        return []
    return [
        warn(
            "data.test is empty: the gain is then measured on the validation rows that choose the best iteration, and is probably too"
            " high. Set it to rows that are used for nothing else"
        )
    ]


def _check_parts(settings: RunConfig, n_validation: int) -> list[Finding]:
    """Parts of validation that `data.selection_fraction` makes much smaller than half of it."""
    n_selection = settings.data.count_selection(n_validation)
    parts = {"to select the best model": n_selection}
    if settings.generation.pattern_share > 0:
        parts["to be diagnosed"] = n_validation - n_selection
    return [
        warn(
            f"data.selection_fraction of {settings.data.selection_fraction:g} leaves {n} of {n_validation} validation rows {what}."
            " Set it nearer to 0.5, or use more rows"
        )
        for what, n in parts.items()
        if n < min(FEW_IN_PART, n_validation // 4)
    ]


def keep_spare(data: CheckedData) -> CheckedData:
    """Keep only those held-back rows that repeat no other row. It is a finding if none are left."""
    file = data.files.get("held_back")
    if file is None:
        return data  # another finding says why it could not be read
    others = [example for name, other in data.files.items() if name != "held_back" for example in other.examples]
    repeating = {overlap.example_id for overlap in find_overlap(file.examples, others)}
    pairs = [(e, w) for e, w in zip(file.examples, file.wheres, strict=True) if e.id not in repeating]
    spare = file._replace(examples=[e for e, _ in pairs], wheres=[w for _, w in pairs])
    none_left = [] if pairs else [stop(_NONE_TO_SPARE, "settings")]
    return data._replace(files={**data.files, "held_back": spare}, findings=[*data.findings, *none_left])


_NONE_TO_SPARE = (
    "generation.sources: held_back uses real rows, but there are none to spare. Set data.held_back to a file with such rows,"
    " or data.train_limit to fewer rows than the training file has"
)


def _check_machine(task: Task) -> list[Finding]:
    try:
        return [warn(text) for text in task.check_machine()]
    except PadaError as exc:
        return [blame(exc)]


def _check_label_settings(settings: RunConfig) -> list[Finding]:
    """Settings that need labels or their definitions, for a task without any."""
    labels, empty, undefined = settings.task.labels, "task.labels is empty", "task.labels has no definitions"
    idle = [
        ("quality.max_label_rank", settings.quality.max_label_rank is not None and not labels, empty),
        ("generation.n_shown_labels", settings.generation.n_shown_labels > 0 and not labels, empty),
        ("data.train_on_definitions", settings.data.train_on_definitions and not any(labels.values()), undefined),
    ]
    return [warn(f"{name} does nothing, because {reason}") for name, is_idle, reason in idle if is_idle]


def check_task_settings(config: TaskConfig, task: Task, data: CheckedData) -> list[Finding]:
    """Settings that the task does not read, as far as that is known. Without labels, values would be learned as they stand."""
    if config.label_values and not config.labels:
        labels = ", ".join(dict.fromkeys(config.label_values.values()))
        text = f"task.label_values does nothing, because task.labels is empty. List the labels there: [{labels}]"
        return [stop(text, "settings")]
    if type(task) not in BUILT_IN.values():
        return []
    is_closed = not any(file.examples for file in data.files.values()) or any(data.labels.values())
    read = {
        "labels": is_closed,
        "gold_is": bool(config.labels) or task.offers_options,
        "answers": task.offers_options,
        "no_answer": "is_impossible" in task.fields,
        "decimal_mark": "final_answer" in task.fields,
        "database": task.reads_database,
    }
    idle = [name for name, is_read in read.items() if not is_read and _is_set(config, name)]
    return [warn(f"task.{name} does nothing, because the task {config.name!r} does not read it") for name in idle]


def check_vote(settings: RunConfig, task: Task) -> list[Finding]:
    """Whether answers can be found by vote, if the settings ask for it."""
    if not settings.generation.solved_share or task.compares_answers:
        return []
    return [
        warn(
            f"generation.solved_share does nothing, because answers of the task {settings.task.name!r} cannot be compared by code"
        )
    ]


def _check_overridden(settings: RunConfig) -> list[Finding]:
    """Settings that differ from their defaults and that another one overrides.

    Runs that share a folder are a grid's, whose methods override settings on purpose.
    """
    lora, quality = settings.lora, settings.quality
    overridden = [
        ("lora.epochs", lora, lora.n_steps is not None, "lora.n_steps is set"),
        ("quality.threshold", quality, not quality.enabled, "quality.enabled is false"),
        ("quality.floor", quality, not quality.enabled, "quality.enabled is false"),
    ]
    return [
        warn(f"{key} does nothing, because {reason}")
        for key, group, is_overridden, reason in overridden
        if is_overridden and not settings.shared_folder and _is_set(group, key.rpartition(".")[2])
    ]


def _is_set(group: BaseModel, name: str) -> bool:
    """Whether the setting holds anything but its default, which may be made by a function."""
    return bool(getattr(group, name) != type(group).model_fields[name].get_default(call_default_factory=True))


def _check_learning_rate(rate: float) -> list[Finding]:
    message = f"lora.learning_rate is {rate:g}: above {MAX_LEARNING_RATE:g}, adapters learn nothing. Usual values are 1e-5 to 1e-3"
    return [warn(message)] if rate > MAX_LEARNING_RATE else []


def _measure(settings: RunConfig, data: CheckedData, adapters: RowAdapters) -> tuple[Lengths | None, list[Finding]]:
    if not any(file.examples for file in data.files.values()):
        return None, []
    try:
        return measure_lengths(settings, data.files, adapters), []
    except PadaError as exc:
        return None, [blame(exc)]
