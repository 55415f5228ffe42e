"""A student that thinks before it answers is graded on what it answers."""

import pytest

from pada_agent.core.config import TaskConfig
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example, Prediction, Verdict
from pada_agent.evaluation.task import verify_answers
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.prompts.prompted_model import PromptedModel
from tests.fakes import ScriptedModel

NUMERIC = make_task(TaskConfig(name="numeric"))
EXACT = make_task(TaskConfig(name="exact_match"))
LABELS = make_task(TaskConfig(name="multiple_choice", answers="label"))


def grade(task: object, response: str, **fields: object) -> str:
    example = task.read(RawRow(where="x:1", fields=fields))  # type: ignore[attr-defined]
    return verify_answers(task, [example], [Prediction(example_id=example.id, response=response)])[0].value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("thought", "right"),
    [
        ("{0}", True),
        ("<think>\nThe answer is 7? No.\n</think>\n\n{0}", True),
        ("The answer is 7? No.\n</think>\n\n{0}", True),
        ("[THINK]7?[/THINK]{0}", True),
        ("<think>\nIt must be {0}, so", False),
        ("<think>{0}</think>", False),
    ],
)
def test_thoughts_count_for_nothing_and_against_nothing(thought: str, right: bool) -> None:
    value = "correct" if right else "wrong"
    assert grade(NUMERIC, thought.format("42"), question="6 times 7?", answer="42") == value
    assert grade(EXACT, thought.format("yes"), question="Open?", answer="yes") == value
    row = {"question": "Open?", "choices": ["yes", "no"], "answer": "A"}
    assert grade(LABELS, thought.format("A"), **row) == value


QA = make_task(TaskConfig(name="extractive_qa"))


@pytest.mark.parametrize("gold", ["<think>7? No.</think>\n\n{0}", "7? No.\n</think>\n\n{0}", "{0}"])
@pytest.mark.parametrize(
    ("response", "value"), [("{0}", "correct"), ("<think>so</think>{0}", "correct"), ("7", "wrong")]
)
def test_a_right_answer_is_what_follows_its_thought(gold: str, response: str, value: str) -> None:
    """`student.thoughts: open` asks for answers that bring their thoughts: all of it is learned, and the end of it is right."""
    for task, answer, more in (
        (EXACT, "yes", {}),
        (EXACT, "yes", {"answer": [gold.format("yes"), "yep"]}),
        (NUMERIC, "42", {}),
        (NUMERIC, "6 times 7\n#### 42", {}),
        (QA, "Estonia", {"passage": "Tallinn is in Estonia.", "answers": [gold.format("Estonia")]}),
    ):
        fields = {"question": "What is it?", **({} if task is QA else {"answer": gold.format(answer)}), **more}
        assert grade(task, response.format(answer), **fields) == value
        example = task.read(RawRow(where="x:1", fields=fields))
        assert example.answer == gold.format(answer), "learned as it is"


@pytest.mark.parametrize(
    "gold", ["<analysis>good</analysis>", "<think>", "Use <think> tags", "[THINK]", "Use <think> before </think"]
)
def test_marks_that_the_right_answer_has_itself_are_text(gold: str) -> None:
    for task, fields in (
        (EXACT, {"answer": gold}),
        (EXACT, {"answer": ["yes", gold]}),
        (QA, {"passage": f"They say: {gold}.", "answers": [gold]}),
    ):
        assert grade(task, gold, question="What is it?", **fields) == "correct"
        assert grade(task, "Use", question="What is it?", **fields) == "wrong"
        assert grade(task, "", question="What is it?", **fields) == "wrong"
    assert grade(EXACT, "<think>so</think>Use <think> tags", question="How?", answer="Use <think> tags") == "correct"
    label = make_task(TaskConfig(name="multiple_choice", answers="label", labels={gold: "", "other": ""}))
    assert grade(label, gold, question="What is it?", answer=gold) == "correct"


def test_the_judge_compares_answers_without_thoughts() -> None:
    model = ScriptedModel(['{"reason": "Same.", "correct": "yes"}'])
    task = make_task(TaskConfig(name="judge"), PromptedModel(model))
    fields = {"question": "Open?", "answer": "<think>7? No.</think>It is."}
    assert grade(task, "<think>8?</think>Yes, it is.", **fields) == "correct"
    assert "It is." in model.prompts[0]
    assert not any(thought in model.prompts[0] for thought in ("7?", "8?"))


def test_an_option_is_taken_as_it_is() -> None:
    task = make_task(TaskConfig(name="multiple_choice"))
    options = ("</think>", "<think>")
    example = Example(
        id="x", prompt="What closes it?", answer=options[0], options=options, reference={"choices": options}
    )
    chosen = Prediction(example_id="x", response=options[0], option_scores=(0.0, -1.0))

    def verify(example: Example, prediction: Prediction) -> Verdict:
        return Verdict(example_id=example.id, value="correct", extracted=prediction.response)

    task.verify = verify  # type: ignore[method-assign]
    assert verify_answers(task, [example], [chosen])[0].extracted == "</think>"
