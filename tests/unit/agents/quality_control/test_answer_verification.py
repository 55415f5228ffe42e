"""Solving without the label: who is confirmed, who is refused, and what the solver sees."""

import json
import re

import pytest

from pada_agent.agents.quality_control.answer_verification import Solved, verify_answers
from pada_agent.agents.quality_control.judge_calibration import Claim
from pada_agent.core.chat import ChatRequest
from pada_agent.core.config import TaskConfig, VerificationConfig
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example, Provenance
from pada_agent.evaluation.task import Task
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.prompts.prompted_model import PromptedModel
from tests.fakes import ScriptedModel

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
        draw="i1-e-b1/1",
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
        prompt = request.messages[-1].content
        found = re.findall(rf"^([A-Z])\. {text}", prompt, re.MULTILINE)
        return say(*(found * prompt.count("<sample number") if len(found) == 1 else found))

    return ScriptedModel(solve)


def test_a_label_that_the_majority_gives_is_confirmed() -> None:
    solved = verify([choice()], always("an ice cube"))
    assert [row.id for row in solved.kept] == ["r1"] and solved.rejected == () and solved.n_solved == 1


def test_a_label_that_the_majority_does_not_give_is_refused_with_the_votes_and_may_be_overruled() -> None:
    (rejection,) = verify([choice()], always("a brick")).rejected
    assert rejection.stage == "verification"
    assert rejection.reason == "answered on its own it comes out as 'a brick', not 'an ice cube' (0 of 3 answers agree)"
    assert rejection.example == choice()


def test_a_solver_with_a_favourite_place_is_found_out_by_shuffled_options() -> None:
    model = ScriptedModel([say("A")] * 9)
    solved = verify([choice()], model, votes=9)
    assert len(set(model.prompts)) > 1
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
    task = make_task(TaskConfig(name=name), PromptedModel(ScriptedModel([])))
    assert verify([read(task, "r", **fields)], ScriptedModel([]), task=task).n_solved == 0


def test_closed_labels_are_options_with_their_definitions() -> None:
    task = make_task(TaskConfig(name="multiple_choice", labels={"bill": "asks for money", "lamp": "gives light"}))
    model = ScriptedModel([say("lamp")])
    row = read(task, "r", question="It is dark.", answer="lamp")
    assert verify([row], model, task=task, votes=1).rejected == ()
    assert "lamp: gives light" in model.prompts[0]


LABELS = {"bill": "asks for money", "lamp": "gives light", "door": "opens"}
CLOSED = make_task(TaskConfig(name="multiple_choice", labels=LABELS))


def closed(example_id: str, question: str, label: str) -> Example:
    return read(CLOSED, example_id, question=question, answer=label)


def label_of(prompt: str, text: str) -> str:
    """The letter under which a label is listed."""
    return re.findall(rf"^([A-Z])\. {text}", prompt, re.MULTILINE)[0]


def test_labels_of_a_closed_set_are_listed_once_a_call() -> None:
    def solve(request: ChatRequest) -> str:
        prompt = request.messages[-1].content
        return say(label_of(prompt, "lamp"), label_of(prompt, "door"))

    model = ScriptedModel(solve)
    rows = [closed("r1", "It is dark.", "lamp"), closed("r2", "Who knocks?", "bill")]
    solved = verify(rows, model, task=CLOSED, votes=None)
    (prompt,) = model.prompts
    assert prompt.count("gives light") == 1 and prompt.count("<sample number") == 2
    assert [row.id for row in solved.kept] == ["r1"]
    assert solved.rejected[0].reason == "answered on its own it comes out as 'door', not 'bill'"


@pytest.mark.parametrize(
    ("task", "settings", "temperatures"),
    [
        (CLOSED, {}, [0.0]),
        (CHOICE, {}, [0.0]),
        (make_task(TaskConfig(name="numeric")), {}, []),
        (make_task(TaskConfig(name="numeric")), {"votes": 3}, [0.7] * 3),
        (CLOSED, {"votes": 0}, []),
        (CLOSED, {"votes": 1, "temperature": 0.3}, [0.3]),
    ],
)
def test_closed_answers_get_one_vote_at_temperature_0_and_written_ones_none_unless_settings_say_so(
    task: Task, settings: dict[str, object], temperatures: list[float]
) -> None:
    fields: dict[str, object] = {"question": "Six spiders?", "answer": "48"}
    if task is CLOSED:
        fields["answer"] = "lamp"
    if task is CHOICE:
        fields = {"question": "Which melts first?", "choices": OPTIONS, "answer": "a brick"}
    model = ScriptedModel(lambda _: say("A"))
    verify([read(task, "r", **fields)], model, task=task, **{"votes": None, **settings})
    assert [request.temperature for request in model.requests] == temperatures


def test_known_rows_are_answered_among_the_rows_and_counted_apart() -> None:
    row, good = closed("r1", "It is dark.", "lamp"), closed("t1", "The door is stuck.", "door")
    probes = [
        Claim(id="probe-1", question=good, claimed=good),
        Claim(id="probe-2", question=good, claimed=closed("t2", "How much?", "bill")),
    ]

    def solve(request: ChatRequest) -> str:
        prompt = request.messages[-1].content
        samples = prompt.split("<sample number=")[1:]
        return say(*(label_of(prompt, "lamp" if "dark" in s else "door") for s in samples))

    solved = verify_answers(
        [row],
        draw="i1-e-b1/1",
        task=CLOSED,
        judge=PromptedModel(ScriptedModel(solve)),
        settings=VerificationConfig(),
        rows_per_call=None,
        seed=0,
        probes=probes,
    )
    assert [r.id for r in solved.kept] == ["r1"] and solved.n_solved == 1
    assert solved.answered == {"probe-1": True, "probe-2": False}


def test_no_more_rows_are_solved_at_once_than_the_answer_has_room_for() -> None:
    model = ScriptedModel(lambda r: say(*["A"] * r.messages[-1].content.count("<sample number")))
    verify_answers(
        [closed(f"r{n}", f"question {n}", "lamp") for n in range(5)],
        draw="i1-e-b1/1",
        task=CLOSED,
        judge=PromptedModel(model, max_output_tokens=130),
        settings=VerificationConfig(),
        rows_per_call=None,
        seed=0,
    )
    assert sorted(prompt.count("<sample number") for prompt in model.prompts) == [1, 2, 2]


PREFERENCES = {"A": "the first reply is better", "B": "the second is better", "tie": "equal"}


@pytest.mark.parametrize("name", ["exact_match", "multiple_choice"])
@pytest.mark.parametrize("labels", [PREFERENCES, {"A": "", "B": "", "AB": "", "0": ""}], ids=["letters", "words"])
def test_labels_that_are_letters_are_not_taken_for_places_in_the_list(name: str, labels: dict[str, str]) -> None:
    task = make_task(TaskConfig(name=name, labels=labels))

    def find_a(request: ChatRequest) -> str:
        listed = re.findall(r"^(?:(\w+)\.|-) A(?::|$)", request.messages[-1].content, re.MULTILINE)
        return say(listed[0] or "A")

    for n in range(20):
        right, wrong = (read(task, f"r{n}", question=f"Replies {n}", answer=label) for label in "AB")
        assert verify([right], ScriptedModel(find_a), task=task, votes=1).kept == (right,)
        assert verify([wrong], ScriptedModel(find_a), task=task, votes=1).kept == ()


@pytest.mark.parametrize(
    ("labels", "asked", "listed"),
    [
        (LABELS, "the letter of", r"^A\. \w+: "),
        (PREFERENCES, "the number of", r"^1\. \w+: "),
        ({"A": "x", "B": "y", "1": "z"}, "the exact words of", r"^- A: x$"),
    ],
)
def test_the_solver_is_told_what_to_answer_with(labels: dict[str, str], asked: str, listed: str) -> None:
    task = make_task(TaskConfig(name="exact_match", labels=labels))
    model = ScriptedModel(["[]"] * 3)
    verify([read(task, "r", question="Which?", answer=next(iter(labels)))], model, task=task, votes=1)
    assert f"give {asked} the one that fits best" in model.prompts[0]
    assert f"the answer alone: its {asked.split(' of')[0].removeprefix('the ')}" in model.prompts[0]
    assert re.search(listed, model.prompts[0], re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "settings", "answer", "said"),
    [
        ("exact_match", {"labels": LABELS}, "lamp", "I cannot tell"),
        ("multiple_choice", {"labels": LABELS}, "lamp", "none of them"),
        ("exact_match", {}, "Estonia", "I do not know"),
        ("numeric", {}, "48", "It cannot be determined."),
    ],
)
def test_an_answer_that_gives_none_is_no_vote(name: str, settings: dict[str, object], answer: str, said: str) -> None:
    task = make_task(TaskConfig.model_validate({"name": name, **settings}))
    row = read(task, "r", question="Which?", answer=answer)
    solved = verify([row], ScriptedModel([say(said)] * 3), task=task, votes=3)
    assert (solved.kept, solved.rejected, solved.n_solved) == ((row,), (), 0)
    solved = verify([row], ScriptedModel([say(said), say(said), say(answer)]), task=task, votes=3)
    assert (solved.kept, solved.n_solved) == ((row,), 1)


def test_an_option_that_is_copied_with_its_definition_is_a_vote_for_it() -> None:
    solved = verify(
        [closed("r1", "It is dark.", "lamp")], ScriptedModel([say("lamp: gives light")]), task=CLOSED, votes=1
    )
    assert len(solved.kept) == 1 and solved.n_solved == 1


def test_the_writer_is_told_the_option_that_most_votes_gave_and_no_letter() -> None:
    task = make_task(TaskConfig(name="exact_match", labels=LABELS))
    votes = iter(["door", "bill", "door"])
    model = ScriptedModel(lambda request: say(label_of(request.messages[-1].content, next(votes))))
    (rejection,) = verify([read(task, "r", question="It is dark.", answer="lamp")], model, task=task, votes=3).rejected
    assert rejection.reason == "answered on its own it comes out as 'door', not 'lamp' (0 of 3 answers agree)"
