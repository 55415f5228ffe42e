"""Written questions take the form that all real ones share, and no other."""

import pytest

from pada_agent.agents.data_generation.question_form import MIN_ROWS, QuestionForm, find_form
from pada_agent.core.config import TaskConfig
from pada_agent.core.records import Draft, Example, Provenance
from pada_agent.evaluation.tasks.exact_match import ExactMatch

TASK = ExactMatch(TaskConfig(name="exact_match"))


def rows(*texts: str) -> list[Example]:
    return [
        Example(id=f"r{n}", prompt=text, answer="a", reference={"question": text})
        for n, text in enumerate(texts * MIN_ROWS)
    ]


@pytest.mark.parametrize(
    ("texts", "form"),
    [
        (("how long is it", "where is it"), QuestionForm(is_lower=True, has_no_mark=True)),
        (("how long is it?", "where is it"), QuestionForm(is_lower=True)),
        (("How long is it", "where is it"), QuestionForm(has_no_mark=True)),
        (("How long is it?", "where is it"), None),
        (("多长", "在哪里"), QuestionForm(has_no_mark=True)),
    ],
)
def test_a_form_is_what_all_questions_share(texts: tuple[str, ...], form: QuestionForm | None) -> None:
    assert find_form(rows(*texts), TASK) == form


def test_few_rows_show_no_form() -> None:
    assert find_form(rows("how long is it")[: MIN_ROWS - 1], TASK) is None


@pytest.mark.parametrize(
    ("question", "shaped"), [("How long is it?", "how long is it"), ("where", "where"), ("???", "???")]
)
def test_a_draft_takes_the_form(question: str, shaped: str) -> None:
    origin = Provenance(branch="pattern", iteration=1, batch_id="b", attempt=1, source_id="s")
    draft = Draft(row=0, fields={TASK.question_field: question, "other": "Kept?"}, provenance=origin)
    found = QuestionForm(is_lower=True, has_no_mark=True).shape(draft, TASK)
    assert found.fields == {TASK.question_field: shaped, "other": "Kept?"}
