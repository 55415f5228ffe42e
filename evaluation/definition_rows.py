"""Training rows made of what the user wrote about each label (`data.train_on_definitions`)."""

from collections.abc import Sequence

from pada_agent.core.records import Example
from pada_agent.evaluation.contamination import find_overlap
from pada_agent.evaluation.task import DraftProblem, Task


def make_definition_rows(task: Task, training: Sequence[Example], protected: Sequence[Example]) -> list[Example]:
    """One row for each label of a closed set that has a definition: the definition is the question, the label is the answer.

    Definitions that repeat a protected (held-out) row are left out. Empty if all training rows have earlier turns, because
    a definition has none.
    """
    source = next((row for row in training if task.closed_label(row) is not None and not row.history), None)
    if source is None:
        return []
    made = [
        task.compose(
            {task.question_field: definition}, source=source, given={"label": label}, example_id=f"definition-{label}"
        )
        for label, definition in task.config.labels.items()
        if definition
    ]
    rows = [row for row in made if not isinstance(row, DraftProblem)]
    repeating = {overlap.example_id for overlap in find_overlap(rows, protected)}
    return [row for row in rows if row.id not in repeating]
