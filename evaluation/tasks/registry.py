"""Tasks by name: the built-in ones, and third parties' as entry points of the group `pada_agent.tasks`."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import ConfigError
from pada_agent.core.ports import LanguageModel
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.tasks.arc_challenge import ArcChallenge
from pada_agent.evaluation.tasks.code import Code
from pada_agent.evaluation.tasks.exact_match import ExactMatch
from pada_agent.evaluation.tasks.extractive_qa import ExtractiveQa
from pada_agent.evaluation.tasks.gsm8k import Gsm8k
from pada_agent.evaluation.tasks.hellaswag import HellaSwag
from pada_agent.evaluation.tasks.humaneval import HumanEval
from pada_agent.evaluation.tasks.judge import Judge
from pada_agent.evaluation.tasks.multiple_choice import MultipleChoice
from pada_agent.evaluation.tasks.numeric import Numeric
from pada_agent.evaluation.tasks.sql import Sql
from pada_agent.evaluation.tasks.squad import Squad
from pada_agent.evaluation.tasks.squad_v2 import SquadV2

ENTRY_POINT_GROUP = "pada_agent.tasks"

_KINDS: tuple[type[Task], ...] = (
    ArcChallenge,
    Code,
    ExactMatch,
    ExtractiveQa,
    Gsm8k,
    HellaSwag,
    HumanEval,
    Judge,
    MultipleChoice,
    Numeric,
    Sql,
    Squad,
    SquadV2,
)
BUILT_IN: Mapping[str, type[Task]] = {kind.name: kind for kind in _KINDS}


def make_task(config: TaskConfig, judge: LanguageModel | None = None, prompts: Mapping[str, str] | None = None) -> Task:
    """The task `config.name`. Only tasks of kind `Judge` use `judge`, and `prompts`, the settings' template overrides.

    Raises:
        ConfigError: no task of that name, an entry point that does not load, or a judge task without a judge.
    """
    kind = find_task_kind(config.name)
    if not issubclass(kind, Judge):
        return kind(config)
    if judge is None:
        raise ConfigError(f"task.name: {config.name!r} needs an LLM to judge answers; set models.judge")
    return kind(config, judge, prompts)


def find_task_kind(name: str) -> type[Task]:
    """The class behind a task's name; built-in names cannot be taken over.

    Raises:
        ConfigError: no task of that name, or an entry point that does not give a `Task`.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    installed = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in installed:
        known = ", ".join(sorted({*BUILT_IN, *installed}))
        raise ConfigError(f"task.name: there is no task {name!r}; known are {known}")
    return _load(installed[name])


def _load(point: EntryPoint) -> type[Task]:
    try:
        kind = point.load()
    except (ImportError, AttributeError) as exc:
        raise ConfigError(f"task.name: the entry point {point.name!r} ({point.value}) does not load: {exc}") from exc
    if not (isinstance(kind, type) and issubclass(kind, Task)):
        raise ConfigError(f"task.name: the entry point {point.name!r} ({point.value}) is not a subclass of Task")
    return kind
