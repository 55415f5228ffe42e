"""Training rows of a closed label set."""

from pada_agent.core.config import TaskConfig
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example
from pada_agent.evaluation.tasks.registry import make_task

LABELS = {f"label {n}": "" for n in range(12)}


def make_labelled_rows(config: TaskConfig, n: int) -> list[Example]:
    """The labels take turns."""
    task = make_task(config)
    return [
        task.read(RawRow(where=f"t:{i}", fields={"question": f"question {i}", "answer": f"label {i % len(LABELS)}"}))
        for i in range(n)
    ]
