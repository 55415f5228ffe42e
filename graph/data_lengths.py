"""Compares the rows of a run with the student's length limits, before anything is computed."""

from collections.abc import Mapping

from pada_agent.core.config import RunConfig
from pada_agent.evaluation.rows.reading import ReadFile
from pada_agent.evaluation.rows.token_limits import Lengths, check_lengths
from pada_agent.graph.adapters import RowAdapters
from pada_agent.graph.data_files import FileName


def measure_lengths(settings: RunConfig, files: Mapping[FileName, ReadFile], adapters: RowAdapters) -> Lengths | None:
    """Which rows are too long, and how many tokens the student may write. None if rows cannot be measured.

    Raises:
        ConfigError: the student's chat template cannot render rows like these.
    """
    if adapters.tokens is None:
        return None
    asked = ["validation", "test", *(["train"] if settings.generation.reads_training_errors else [])]
    return check_lengths(
        {str(name): file for name, file in files.items()},
        tokens=adapters.tokens,
        config=settings,
        task_limit=adapters.task.max_new_tokens,
        learned=("train", "held_back"),
        asked=asked,
    )
