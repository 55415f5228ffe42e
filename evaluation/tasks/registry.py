"""Tasks by name: the built-in ones, and those of other packages through the entry point group `pada_agent.tasks`."""

from collections.abc import Mapping

from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import ConfigError
from pada_agent.core.plugins import TASKS, find_part
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.tasks.benchmarks import ArcChallenge, HellaSwag, HumanEval, Squad, SquadV2
from pada_agent.evaluation.tasks.code import Code
from pada_agent.evaluation.tasks.exact_match import ExactMatch
from pada_agent.evaluation.tasks.extractive_qa import ExtractiveQa
from pada_agent.evaluation.tasks.gsm8k import Gsm8k
from pada_agent.evaluation.tasks.judge import Judge
from pada_agent.evaluation.tasks.multiple_choice import MultipleChoice
from pada_agent.evaluation.tasks.numeric import Numeric
from pada_agent.evaluation.tasks.sql import Sql
from pada_agent.prompts.prompted_model import PromptedModel

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


def make_task(config: TaskConfig, judge: PromptedModel | None = None) -> Task:
    """The task named `config.name`.

    Args:
        judge: needed only by tasks that ask a judge. Comes with the prompts and the token limit of the settings.

    Raises:
        ConfigError: there is no task of that name, its entry point cannot be loaded, or it needs a judge and has none.
    """
    kind = find_task_kind(config.name)
    if kind.asks_judge and judge is None:
        raise ConfigError(f"task.name: {config.name!r} needs an LLM to judge answers; set models.judge")
    return kind.make(config, judge)


def find_task_kind(name: str) -> type[Task]:
    """The class of the task with this name. Other packages cannot replace built-in names.

    Raises:
        ConfigError: there is no task of that name, or its entry point does not give a complete `Task` of that name.
    """
    return find_part(
        name,
        TASKS,
        built_in=BUILT_IN,
        accept=lambda found: isinstance(found, type) and issubclass(found, Task),
    )
