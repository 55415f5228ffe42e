"""Finds the form that all training questions share, such as lower case, and gives it to written questions."""

from collections.abc import Sequence

from pada_agent.core.records import Draft, Example, Record
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.task import Task

MIN_ROWS = 20
"""With fewer rows than this, no form is assumed."""
MARKS = "?.!"


class QuestionForm(Record):
    """What all training questions have in common."""

    is_lower: bool = False
    """There are no capital letters."""
    has_no_mark: bool = False
    """There is no punctuation mark (one of `MARKS`) at the end."""

    def shape(self, draft: Draft, task: Task) -> Draft:
        """The draft with its question in this form."""
        name = task.question_field
        question = draft.fields.get(name, "")
        shaped = question.lower() if self.is_lower else question
        shaped = shaped.rstrip().rstrip(MARKS).rstrip() if self.has_no_mark else shaped
        if shaped == question or not shaped:
            return draft
        return draft.model_copy(update={"fields": {**draft.fields, name: shaped}})


def find_form(training: Sequence[Example], task: Task) -> QuestionForm | None:
    """The form of these rows. None if they share none, or if there are too few to tell."""
    rows = RowSet.of(training)

    def find() -> QuestionForm | None:
        questions = [task.show(row).get(task.question_field, "") for row in rows]
        if len(questions) < MIN_ROWS:
            return None
        has_case = any(q.lower() != q.upper() for q in questions)
        form = QuestionForm(
            is_lower=has_case and all(q == q.lower() for q in questions),
            has_no_mark=not any(q.rstrip().endswith(tuple(MARKS)) for q in questions),
        )
        return form if form.is_lower or form.has_no_mark else None

    return rows.remember("question form", find)
