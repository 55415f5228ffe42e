"""Reads a run's rows without its teacher, for what is told before a run: checks while a key is missing, and estimates."""

from typing import NoReturn

from pada_agent.core.chat import ChatRequest
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ModelUnavailableError
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.prompts.prompted_model import PromptedModel


class AbsentModel:
    """A `LanguageModel` in place of the judge. Tasks need a judge to score answers, and rarely to read rows."""

    name = "absent"

    def complete(self, request: ChatRequest) -> NoReturn:
        del request
        raise ModelUnavailableError("the rows of this task cannot be read without its judge. Set up models.judge first")

    def close(self) -> None:
        """Nothing to release."""


def make_task_alone(config: RunConfig) -> Task:
    """The run's task, to read rows with.

    Raises:
        ConfigError: there is no such task, or it cannot be used with these settings.
    """
    return make_task(config.task, PromptedModel(AbsentModel()))
