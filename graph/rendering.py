"""How a run's jobs render the student's rows."""

from pada_agent.core.jobs import ChatSpec
from pada_agent.core.student_config import StudentConfig
from pada_agent.graph.adapters import Adapters


def choose_chat(student: StudentConfig, adapters: Adapters) -> ChatSpec:
    """The chat format from the settings, numbered by what the student's template needs, so that results of another rendering are not reused.

    Raises:
        ConfigError, TrainingError: the student's tokenizer or its chat template cannot be used.
    """
    tokens = adapters.tokens
    return student.chat.model_copy(update={"rendering": tokens.rendering}) if tokens else student.chat
