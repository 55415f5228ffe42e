"""Settings that the arms of a grid cannot change, because the grid decides them or because answers could not be compared then."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pada_agent.app.adapters.llm.response_cache import name_model
from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import spell_out
from pada_agent.evaluation.tasks.registry import find_task_kind

OF_THE_GRID: Mapping[str, str] = MappingProxyType(
    {
        "seed": "the grid decides it (`seeds`)",
        "name": "the grid decides it: runs are named after task, size, arm and seed",
        "runs_folder": "the grid decides it (`runs_folder`)",
        "shared_folder": "the grid decides it: all of its runs share one folder",
    }
)
"""Settings that no `set` of a grid can change, and why."""
SIZED = ("data.train_limit", "data.train_shuffle")
"""Settings that `sizes` decides."""
JUDGEMENT = "prompts.answer_judgement"
SAME_FOR_ALL = (
    *("data.test", "data.test_limit", "data.validation", "data.validation_limit", "data.shuffle"),
    *("task", JUDGEMENT),
)
"""Settings, or groups of them, that decide which rows are answered, and what counts as right."""
FREE = ("task.description",)
"""Settings in these groups that an arm may change: only the LLM agents see it."""
READING = (
    *("task.columns", "task.missing", "task.label_values", "task.gold_is", "task.database", "task.turns"),
    "task.allow_unisolated_code",
)
"""Settings of a task that only decide how rows are read, or whether. Finished runs may differ in them if their rows are the same."""


def find_fixed(settings: Mapping[str, Any], *, is_sized: bool, of_arm: bool) -> Iterator[str]:
    """Settings of a `set` that cannot be changed there, or that it gives twice, each with the reason.

    Args:
        is_sized: whether the grid's `sizes` decide the number of training rows.
        of_arm: whether this is the `set` of one arm; else it is for all arms of a task.
    """
    keys = [key for key, _ in spell_out(settings)]
    yield from (f"{key}: is given twice. Remove one" for key, n in Counter(keys).items() if n > 1)
    for key in dict.fromkeys(keys):
        if not all(key.split(".")):
            yield f"{key!r}: is not the key of a setting, such as lora.n_steps"
        elif reason := OF_THE_GRID.get(key):
            yield f"{key}: {reason}. Leave it out here"
        elif is_sized and key in SIZED:
            yield f"{key}: the grid decides it (`sizes`). Leave it out here"
        elif of_arm and _is_in(key, ("review",)):
            yield f"{key}: an experiment cannot wait for a person. Leave it out"
        elif of_arm and _is_in(key, SAME_FOR_ALL) and key not in FREE:
            yield (
                f"{key}: arms are compared on their answers to the same questions. Change it for all of them, in the task's `set`"
            )


def find_scored_otherwise(ours: RunConfig, theirs: RunConfig) -> list[str]:
    """Keys of settings that differ and decide which answers to the same rows are right.

    Raises:
        ConfigError: there is no such task.
    """
    here, there = (_list_scoring(config) for config in (ours, theirs))
    differ = [key for key in here if here[key] != there[key] and key not in (*FREE, *READING)]
    judges = [
        {JUDGEMENT: config.prompts.answer_judgement, "models.judge": name_model(config.models.judge, None)}
        for config in (ours, theirs)
    ]
    if judges[0] != judges[1] and find_task_kind(ours.task.name).asks_judge:
        differ += [key for key in judges[0] if judges[0][key] != judges[1][key]]
    return differ


def _list_scoring(config: RunConfig) -> dict[str, Any]:
    """Settings of the task. Of the labels, only their names: definitions are for the LLM agents."""
    return {**dict(spell_out({"task": config.task.model_dump()})), "task.labels": list(config.task.labels)}


def _is_in(key: str, groups: Sequence[str]) -> bool:
    return any(f"{key}.".startswith(f"{group}.") for group in groups)
