"""Solving without the label: who is confirmed, who is refused, and what the solver sees."""

import json
import re

import pytest

from pada_agent.agents.quality_control.answer_verification import Solved, verify_answers
from pada_agent.core.chat import ChatRequest
from pada_agent.core.config import TaskConfig, VerificationConfig
from pada_agent.core.ports import RawRow
from pada_agent.core.records import Batch, Example, Provenance
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.prompts.prompted_model import PromptedModel
from tests.fakes import ScriptedModel

BATCH = Batch(id="i1-e-b1", branch="training_error", iteration=1, source_ids=("t1",))
ORIGIN = Provenance(branch="training_error", iteration=1, batch_id="i1-e-b1", attempt=1, source_id="t1")
CHOICE = make_task(TaskConfig(name="multiple_choice"))
OPTIONS = ["a candle", "an ice cube", "a brick", "a spoon"]


def read(task: Task, example_id: str, **fields: object) -> Example:
    row = task.read(RawRow(where="t:1", fields={"id": example_id, **fields}))
    return row.model_copy(update={"provenance": ORIGIN})


def choice(example_id: str = "r1") -> Example:
    return read(CHOICE, example_id, question="Which melts first?", choices=OPTIONS, answer="an ice cube")


def verify(rows: list[Example], model: ScriptedModel, *, task: Task = CHOICE, **settings: object) -> Solved:
    return verify_answers(
        rows,
        batch=BATCH,
        attempt=1,
        task=task,
        judge=PromptedModel(model),
        settings=VerificationConfig.model_validate({"votes": 3, **settings}),
        rows_per_call=None,
        seed=0,
    )


def say(*answers: str) -> str:
    return json.dumps([{"sample": n, "working": "so", "answer": a} for n, a in enumerate(answers, start=1)])


def always(text: str) -> ScriptedModel:
    """A solver that finds the option with this text wherever it stands."""

    def solve(request: ChatRequest) -> str:
        found = re.findall(rf"^([A-Z])\. {text}", request.messages[-1].content, re.MULTILINE)
        return say(*found)

    return ScriptedModel(solve)


def test_a_label_that_the_majority_gives_is_confirmed() -> None:
    solved = verify([choice()], always("an ice cube"))
    assert [row.id for row in solved.kept] == ["r1"] and solved.rejected == () and solved.n_solved == 1


def test_a_label_that_the_majority_does_not_give_is_refused_with_the_votes_and_may_be_overruled() -> None:
    (rejection,) = verify([choice()], always("a brick")).rejected
    assert rejection.stage == "verification"
    assert rejection.reason == "solved without its label, 0 of 3 answers were 'an ice cube'"
    assert rejection.example == choice()


def test_a_solver_with_a_favourite_place_is_found_out_by_shuffled_options() -> None:
    model = ScriptedModel([say("A")] * 9)
    solved = verify([choice()], model, votes=9)
    assert len({prompt.split("<sample number")[1] for prompt in model.prompts}) > 1
    assert [r.example.id for r in solved.rejected if r.example] == ["r1"]


def test_the_solver_sees_neither_the_label_nor_which_option_is_right() -> None:
    number = read(make_task(TaskConfig(name="numeric")), "n", question="Six spiders?", answer="6 * 8 = 48\n#### 48")
    model = ScriptedModel([say("48")])
    verify([number], model, task=make_task(TaskConfig(name="numeric")), votes=1)
    assert "48" not in model.prompts[0]


@pytest.mark.parametrize(
    ("name", "fields", "votes", "kept"),
    [
        ("numeric", {"question": "Six spiders?", "answer": "#### 48"}, ("48", "46", "48 legs"), 1),
        ("numeric", {"question": "Six spiders?", "answer": "#### 48"}, ("48", "46", "42"), 0),
        ("exact_match", {"question": "Tallinn?", "answer": "Estonia"}, ("estonia.", "Estonia", "Latvia"), 1),
        ("exact_match", {"question": "Tallinn?", "answer": "Estonia"}, ("Latvia", "Latvia", "Estonia"), 0),
    ],
)
def test_numbers_and_short_answers_are_solved(
    name: str, fields: dict[str, str], votes: tuple[str, ...], kept: int
) -> None:
    task = make_task(TaskConfig(name=name))
    solved = verify([read(task, "r", **fields)], ScriptedModel([say(v) for v in votes]), task=task)
    assert (len(solved.kept), len(solved.rejected)) == (kept, 1 - kept)


def test_half_of_the_votes_is_no_majority() -> None:
    task = make_task(TaskConfig(name="numeric"))
    row = read(task, "r", question="Six spiders?", answer="48")
    assert verify([row], ScriptedModel([say("48"), say("6")]), task=task, votes=2).kept == ()


def test_a_row_without_a_usable_vote_is_kept_and_not_counted_as_solved() -> None:
    solved = verify([choice()], ScriptedModel(["hm"] * 9))
    assert len(solved.kept) == 1 and solved.n_solved == 0


def test_a_share_is_drawn_by_id_and_the_rest_is_passed_on() -> None:
    rows = [choice(f"r{n}") for n in range(40)]
    solved = verify(rows, always("a brick"), share=0.25, votes=1)
    assert 3 < solved.n_solved < 20
    assert len(solved.kept) == 40 - solved.n_solved
    assert verify(rows, always("a brick"), share=0.25, votes=1) == solved


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("extractive_qa", {"question": "Who?", "answer": "Ada", "context": "Ada came."}),
        ("judge", {"question": "Why?", "answer": "Because."}),
    ],
)
def test_what_is_checked_otherwise_is_not_solved(name: str, fields: dict[str, str]) -> None:
    task = make_task(TaskConfig(name=name), ScriptedModel([]))
    assert verify([read(task, "r", **fields)], ScriptedModel([]), task=task).n_solved == 0


def test_closed_labels_are_options_with_their_definitions() -> None:
    task = make_task(TaskConfig(name="multiple_choice", labels={"bill": "asks for money", "lamp": "gives light"}))
    model = ScriptedModel([say("lamp")])
    row = read(task, "r", question="It is dark.", answer="lamp")
    assert verify([row], model, task=task, votes=1).rejected == ()
    assert "lamp: gives light" in model.prompts[0]
