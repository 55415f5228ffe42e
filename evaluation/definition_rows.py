"""Training rows made of what the user wrote about each label (`data.train_on_definitions`)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pada_agent.core.records import Example
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.task import DraftProblem, Task


class DefinitionRows(NamedTuple):
    """Definitions as training rows, and which were left out."""

    rows: list[Example]
    warnings: list[str]
    """Why a definition is not trained on, one line for each."""


def make_definition_rows(
    task: Task,
    training: Sequence[Example],
    protected: Sequence[Example],
    *,
    explain_unlearnable: Callable[[Example], str | None] = lambda _: None,
) -> DefinitionRows:
    """One row for each label of a closed set that has a definition: the definition is the question, the label is the answer.

    Left out are definitions that repeat a protected (held-out) row, and those that the student cannot be trained on. There are
    none if all training rows have earlier turns, because a definition has none.

    Args:
        explain_unlearnable: why the student cannot be trained on a row. None if it can.
    """
    if not any(task.config.labels.values()):
        return DefinitionRows([], [])
    source = next((row for row in training if task.closed_label(row) is not None and not row.history), None)
    if source is None:
        return DefinitionRows([], ["definitions are not trained on, because all training rows have earlier turns"])
    held_out, rows, warnings = RowSet.of(protected), list[Example](), list[str]()
    for label, definition in task.config.labels.items():
        if not definition:
            continue
        row = task.compose(
            {task.question_field: definition}, source=source, given={"label": label}, example_id=f"definition-{label}"
        )
        if isinstance(row, DraftProblem):
            reason: str | None = row.reason
        elif overlap := held_out.find_overlap(row):
            reason = f"it repeats the held-out row {overlap.protected_id}"
        else:
            reason = explain_unlearnable(row)
        if reason or isinstance(row, DraftProblem):
            warnings.append(f"the definition of '{label}' is not trained on: {reason}")
        else:
            rows.append(row)
    return DefinitionRows(rows, warnings)
