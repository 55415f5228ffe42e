"""Tasks whose answer is written freely: numbers, spans, code, prose."""

import json
from contextvars import ContextVar
from random import Random
from threading import Barrier
from typing import Any

import pytest

from pada_agent.core import plugins
from pada_agent.core.chat import ChatRequest
from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import ConfigError, DatasetError, ModelUnavailableError
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example, Prediction
from pada_agent.evaluation.task import DraftProblem, Task
from pada_agent.evaluation.tasks.exact_match import ExactMatch
from pada_agent.evaluation.tasks.registry import BUILT_IN, make_task
from pada_agent.prompts.prompted_model import PromptedModel
from tests.fakes import ScriptedModel
from tests.unit.evaluation.cases import answer, row

GSM8K = make_task(TaskConfig(name="gsm8k"))
NUMERIC = make_task(TaskConfig(name="numeric"))
SQUAD = make_task(TaskConfig(name="squad"))
CODE = make_task(TaskConfig(name="code"))

LEGS = row(id="n1", question="How many legs do six spiders have?", answer="6 * 8 = <<6*8=48>>48\n#### 48")
LAKE = row(
    question="What feeds the lake?",
    context="The lake above the village is fed by two springs.",
    answers={"text": ["two springs", "springs"]},
)
AREA: dict[str, Any] = {
    "task_id": "c1",
    "prompt": 'def area(w: float, h: float) -> float:\n    """Area of a rectangle."""\n',
    "canonical_solution": "    return w * h\n",
    "entry_point": "area",
    "test": "def check(candidate):\n    assert candidate(2, 3) == 6\n    assert candidate(0, 5) == 0\n",
}


def compose(task: Task, raw: RawRow, draft: dict[str, str], **given: str) -> Example | DraftProblem:
    return task.compose(draft, source=task.read(raw), given=given, example_id="syn-1")


def test_the_whole_rationale_is_trained_on_and_the_number_is_gold() -> None:
    example = GSM8K.read(LEGS)
    assert example.prompt.endswith("number.\n\nHow many legs do six spiders have?")
    assert (example.answer, GSM8K.gold(example)) == ("6 * 8 = 48\n#### 48", "48")
    assert example.reference["question"] == "How many legs do six spiders have?"


@pytest.mark.parametrize(
    ("gold", "response"),
    [
        ("Paris\u200b", "Paris"),
        ("Paris", "\ufeffPar\u00adis"),
        ("👩‍💻", "👩💻"),
        ("\u202aParis\u202c", "Paris"),
        ("شارع \u2067الملك\u2069", "شارع الملك"),
        ("\u2764\ufe0f", "\u2764"),
    ],
)
def test_invisible_characters_do_not_make_an_answer_wrong(gold: str, response: str) -> None:
    exact = make_task(TaskConfig(name="exact_match"))
    assert answer(exact, exact.read(row(question="Which?", answer=gold)), response).value == "correct"
    example = SQUAD.read(row(question="Which?", context=f"It is {gold}.", answers=[gold]))
    assert answer(SQUAD, example, response).value == "correct"


@pytest.mark.parametrize(
    ("gold", "response", "value"),
    [
        ("I don\u2019t \u2026", "i don't ...", "correct"),
        ("1990\u20131991", "1990-1991", "correct"),
        ("\u00abOui\u00bb", '"oui"', "correct"),
        ("\u2014", "-", "wrong"),
        ("\u2019", "'", "wrong"),
    ],
)
def test_printed_and_typed_signs_are_the_same_unless_they_are_all(gold: str, response: str, value: str) -> None:
    task = make_task(TaskConfig(name="exact_match"))
    assert answer(task, task.read(row(question="Which?", answer=gold)), response).value == value


@pytest.mark.parametrize(
    ("response", "noted"),
    [("Fees.", "fees"), ("**FEES**", "fees"), ("the fees", "the fees"), ("Delivery.", "Delivery."), ("", "")],
)
def test_a_label_given_by_mistake_is_noted_as_that_label_whatever_its_form(response: str, noted: str) -> None:
    task = make_task(TaskConfig(name="exact_match", labels={"fees": "a charge", "delivery": "a parcel"}))
    verdict = answer(task, task.read(row(question="When does it come?", answer="delivery")), response)
    assert (verdict.value, verdict.extracted) == ("wrong", noted)


def test_a_list_of_answers_to_a_question_with_one_is_sent_back() -> None:
    exact, draft = (
        make_task(TaskConfig(name="exact_match")),
        {"question": "Which town?", "answer": "Paris\nCity of Light"},
    )
    found = compose(exact, row(question="Which country?", answer="Estonia"), draft)
    assert isinstance(found, DraftProblem) and "has several lines" in found.reason
    made = compose(exact, row(question="Which lines?", answer="one\ntwo"), draft)
    assert isinstance(made, Example) and made.answer == "Paris\nCity of Light"


def test_a_final_answer_that_disagrees_is_refused() -> None:
    assert GSM8K.read(row(**LEGS.fields, final_answer="48.0"))
    with pytest.raises(DatasetError, match="field 'final_answer' is '49', but the answer ends in 48"):
        GSM8K.read(row(**LEGS.fields, final_answer="49"))
    with pytest.raises(DatasetError, match="expected one number: alone, behind ####"):
        GSM8K.read(row(question="How many?", answer="none"))


@pytest.mark.parametrize(
    ("response", "value", "reason"),
    [
        ("#### 48", "correct", ""),
        ("#### 48.00", "correct", ""),
        ("So $48.", "correct", "no '#### number', took the last number"),
        ("6*8 is 48\n#### 84", "wrong", "84 is not 48"),
        ("many", "wrong", "no number found"),
    ],
)
def test_numbers_are_compared_by_value(response: str, value: str, reason: str) -> None:
    verdict = answer(GSM8K, GSM8K.read(LEGS), response)
    assert (verdict.value, verdict.reason) == (value, reason)


def test_a_truncated_response_says_so() -> None:
    assert answer(GSM8K, GSM8K.read(LEGS), "well", truncated=True).reason == "no number found; the response was cut off"


def test_a_numeric_draft_is_written_like_its_source() -> None:
    draft = {"question": "Legs of two cats?", "reasoning": "2 * 4 = 8\n#### 9", "final_number": "$8.0"}
    marked = compose(GSM8K, LEGS, draft)
    assert isinstance(marked, Example) and marked.answer == "2 * 4 = 8\n#### 8"
    bare = compose(NUMERIC, row(question="Legs of six spiders?", answer=48), draft)
    assert isinstance(bare, Example) and (bare.prompt, bare.answer) == ("Legs of two cats?", "8")
    assert compose(GSM8K, LEGS, {**draft, "final_number": "eight"}) == DraftProblem(
        reason="final_number 'eight' does not hold one number"
    )
    assert isinstance(compose(GSM8K, LEGS, {**draft, "reasoning": ""}), DraftProblem)


@pytest.mark.parametrize(
    ("written", "number"), [("{15}", "15"), ("fmt(48)", "48"), (": 1,440", "1440"), ("It is 8. #### 8", "8")]
)
def test_a_final_number_may_stand_among_words(written: str, number: str) -> None:
    made = compose(NUMERIC, row(question="How many?", answer=1), {"question": "Legs?", "final_number": written})
    assert isinstance(made, Example) and made.answer == number


@pytest.mark.parametrize("written", ["C", "2 or 3", "8 * 8", ""])
def test_a_final_number_that_is_none_or_several_is_refused(written: str) -> None:
    made = compose(NUMERIC, row(question="How many?", answer=1), {"question": "Legs?", "final_number": written})
    assert isinstance(made, DraftProblem)


@pytest.mark.parametrize(
    ("reasoning", "value", "reason"),
    [
        ("2 * 4 = 8", "correct", "1 calculations hold"),
        ("2 * 4 = 8, so 8 for both of the 2", "correct", "1 calculations hold"),
        ("2 * 4 = 6, plus 2 is 8", "wrong", "does not hold: 2 * 4 = 6"),
        ("Two cats have 2 * 4 = 9", "wrong", "the reasoning ends in 9, the answer is 8"),
        ("Half of 16 is 8, so 8 of the 16 are left", "unscored", "the reasoning spells out no calculation"),
        ("2 * 8 = 16. Half is 8, so 8 of the 16 are left.", "correct", "1 calculations hold"),
        ("They have 8 of 16. One cat has 4.", "wrong", "the reasoning ends in 4, the answer is 8"),
        ("They have 8.", "unscored", "the reasoning spells out no calculation"),
    ],
)
def test_a_written_rationale_is_checked(reasoning: str, value: str, reason: str) -> None:
    made = compose(GSM8K, LEGS, {"question": "Legs of two cats?", "reasoning": reasoning, "final_number": "8"})
    assert isinstance(made, Example)
    verdict = GSM8K.verify_label(made)
    assert (verdict.value, verdict.reason) == (value, reason)


def test_squad_shows_the_passage_and_accepts_any_of_its_answers() -> None:
    example = SQUAD.read(LAKE)
    assert example.prompt.endswith("is fed by two springs.\n\nQuestion: What feeds the lake?")
    assert (example.answer, SQUAD.gold(example)) == ("two springs", "two springs / springs")
    right, near = answer(SQUAD, example, "Springs."), answer(SQUAD, example, "by two springs")
    assert (right.value, right.f1) == ("correct", 1.0)
    assert (near.value, near.f1) == ("wrong", pytest.approx(0.8))


@pytest.mark.parametrize("found", [["two springs"], "two springs"])
def test_answers_may_be_a_list_or_a_string(found: Any) -> None:
    assert SQUAD.read(row(**{**LAKE.fields, "answers": found})).answer == "two springs"


@pytest.mark.parametrize("found", [{"start": [1]}, [""], ["x", None, {"text": 7.5, "y": []}, [[]]], {"text": object()}])
def test_a_row_without_a_usable_answer_is_refused(found: Any) -> None:
    with pytest.raises(DatasetError, match=r"field 'answers' is .* expected one or more answers"):
        SQUAD.read(row(**{**LAKE.fields, "answers": found}))


def test_a_span_draft_keeps_the_passage() -> None:
    given = SQUAD.assign(SQUAD.read(LAKE), [], Random(0))
    made = compose(SQUAD, LAKE, {"question": "Where is the lake?", "answer": "above the  village"}, **given)
    assert isinstance(made, Example) and made.reference["passage"] == LAKE.fields["context"]
    assert SQUAD.verify_label(made).value == "correct"
    assert SQUAD.show(SQUAD.read(LAKE))["passage"] == given["passage"]


@pytest.mark.parametrize(
    ("draft", "reason"),
    [
        ({"question": "Where?", "answer": "in the valley"}, "does not occur word for word in the passage"),
        ({"question": "Where?", "answer": "spring"}, "does not occur word for word in the passage"),
        ({"question": "what feeds  the lake?", "answer": "springs"}, "the question is the source's own"),
        ({"question": "", "answer": "springs"}, "field 'question' is missing or empty"),
    ],
)
def test_a_span_draft_that_cannot_be_checked_is_a_problem(draft: dict[str, str], reason: str) -> None:
    made = compose(SQUAD, LAKE, draft)
    assert isinstance(made, DraftProblem) and reason in made.reason


def test_code_is_trained_on_as_a_whole_function_in_a_fence() -> None:
    example = CODE.read(row(**AREA))
    assert example.answer == f"```python\n{AREA['prompt']}    return w * h\n```"
    assert example.id == "c1" and AREA["prompt"].strip() in example.prompt
    verdicts = CODE.verify_all(
        [example] * 3, [Prediction(example_id="c1", response=r) for r in (example.answer, "    return w + h", "?")]
    )
    assert [v.value for v in verdicts] == ["correct", "wrong", "wrong"]
    assert verdicts[1].reason == "AssertionError at 'assert candidate(2, 3) == 6'"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entry_point": "volume"}, "field 'entry_point' is 'volume', but the prompt defines no such function"),
        ({"canonical_solution": "    return w *"}, "field 'canonical_solution' is .* it is not Python: line 3"),
        ({"test": ""}, "field 'test' is empty: ''. Fill it in, or drop the row"),
    ],
)
def test_a_code_row_that_cannot_be_used_says_why(changes: dict[str, str], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        CODE.read(row(**{**AREA, **changes}))


DRAFT = {
    "prompt": 'from math import pi\n\ndef circle(r: float) -> float:\n    """Area of a circle."""',
    "solution": "```python\ndef circle(r: float) -> float:\n    # by definition\n    return pi * r * r\n```",
    "tests": "assert circle(0) == 0\nassert 3.1 < circle(1) < 3.2",
}


def test_a_code_draft_is_brought_into_the_form_of_the_originals() -> None:
    made = compose(CODE, row(**AREA), DRAFT)
    assert isinstance(made, Example)
    assert made.answer == f"```python\n{DRAFT['prompt']}\n    return pi * r * r\n```"
    assert made.reference["test"] == DRAFT["tests"] and made.reference["entry_point"] == "circle"
    assert CODE.verify_label(made).value == "correct"
    assert CODE.show(made)["solution"] == made.answer.removeprefix("```python\n").removesuffix("\n```")


def test_a_solution_with_helpers_keeps_them() -> None:
    solution = "import math\n\ndef square(x):\n    return x * x\n\ndef circle(r):\n    return math.pi * square(r)"
    made = compose(CODE, row(**AREA), {**DRAFT, "solution": solution})
    assert isinstance(made, Example) and "def square" in made.answer
    assert CODE.verify_label(made).value == "correct"


def test_imports_of_a_solution_are_kept() -> None:
    solution = "import math\n\ndef circle(r):\n    return math.pi * r ** 2"
    made = compose(CODE, row(**AREA), {**DRAFT, "solution": solution})
    assert isinstance(made, Example) and made.answer.startswith("```python\nimport math\nfrom math import pi")
    assert CODE.verify_label(made).value == "correct"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prompt": "def circle(r:\n"}, "field 'prompt' is not Python: line 1"),
        ({"prompt": "x = 1"}, "field 'prompt' defines no function"),
        ({"tests": "assert circle(0) =="}, "field 'tests' is not Python: line 1"),
        ({"tests": "assert circle(0) == 0"}, "field 'tests' holds fewer than 2 assert statements"),
        ({"solution": "def circle(r:\n    return 1"}, "field 'solution' is not Python"),
        ({"solution": ""}, "field 'solution' is missing or empty"),
    ],
)
def test_a_code_draft_that_does_not_parse_is_a_problem(changes: dict[str, str], reason: str) -> None:
    made = compose(CODE, row(**AREA), {**DRAFT, **changes})
    assert isinstance(made, DraftProblem) and reason in made.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"solution": "def circle(r):\n    return r"}, "AssertionError at 'assert 3.1 < circle(1) < 3.2'"),
        ({"tests": "assert callable(circle)\nassert True"}, "the tests prove nothing"),
    ],
)
def test_a_code_draft_must_pass_tests_that_prove_something(changes: dict[str, str], reason: str) -> None:
    made = compose(CODE, row(**AREA), {**DRAFT, **changes})
    assert isinstance(made, Example)
    verdict = CODE.verify_label(made)
    assert verdict.value == "wrong" and reason in verdict.reason


@pytest.mark.parametrize(
    ("reply", "value", "reason"),
    [
        ('{"reason": "same cause", "correct": "yes"}', "correct", "same cause"),
        ('{"reason": "another cause", "correct": "no"}', "wrong", "another cause"),
        ('{"reason": "same cause", "correct": true}', "correct", "same cause"),
        ('{"reason": "another cause", "correct": "No."}', "wrong", "another cause"),
    ],
)
def test_the_judge_decides_with_a_reason(reply: str, value: str, reason: str) -> None:
    model = ScriptedModel([reply])
    task = make_task(TaskConfig(name="judge", description="Post mortems."), PromptedModel(model))
    example = task.read(row(question="Why the delay?", answer="An expired certificate."))
    verdict = answer(task, example, "The certificate had run out.")
    assert (verdict.value, verdict.reason) == (value, reason)
    assert "<answer>\nThe certificate had run out.\n</answer>" in model.prompts[0]
    assert "The task: Post mortems." in model.prompts[0] and model.requests[0].temperature == 0


def test_a_judge_that_cannot_be_read_leaves_the_example_unscored() -> None:
    task = make_task(TaskConfig(name="judge"), PromptedModel(ScriptedModel(lambda _: "I would say so")))
    example = task.read(row(question="Why?", answer="Because."))
    assert answer(task, example, "It did.").value == "unscored"


def test_no_answer_is_wrong_without_asking_and_a_judge_that_is_gone_raises() -> None:
    task = make_task(TaskConfig(name="judge"), PromptedModel(ScriptedModel([ModelUnavailableError("down")])))
    example = task.read(row(question="Why?", answer="Because."))
    assert answer(task, example, "  ").value == "wrong"
    with pytest.raises(ModelUnavailableError):
        answer(task, example, "It did.")


def test_the_judge_is_asked_about_several_answers_at_once() -> None:
    """Each call waits until all have been made, as for one provider batch. The verdicts keep the order of the answers."""
    together, step = Barrier(8), ContextVar("step", default="")
    steps = []

    def rate(request: ChatRequest) -> str:
        together.wait(5)
        steps.append(step.get())
        is_right = "Because 3." in request.messages[-1].content
        return json.dumps({"reason": "r", "correct": "yes" if is_right else "no"})

    task = make_task(TaskConfig(name="judge"), PromptedModel(ScriptedModel(rate)))
    examples = [task.read(row(question=f"Why {n}?", answer=f"Because {n}.")) for n in range(8)]
    step.set("evaluate")
    verdicts = task.verify_all(examples, [Prediction(example_id=e.id, response="It did.") for e in examples])
    assert [v.value for v in verdicts] == ["wrong"] * 3 + ["correct"] + ["wrong"] * 4
    assert [v.example_id for v in verdicts] == [e.id for e in examples]
    assert steps == ["evaluate"] * 8, "callbacks see the caller's context"


def test_the_judge_may_write_as_much_as_its_role() -> None:
    model = ScriptedModel(['{"reason": "ok", "correct": "yes"}'])
    task = make_task(TaskConfig(name="judge"), PromptedModel(model, max_output_tokens=16_000))
    answer(task, task.read(row(question="Why?", answer="Because.")), "It did.")
    assert model.requests[0].max_output_tokens == 16_000


def test_the_judge_prompt_can_be_replaced() -> None:
    model = ScriptedModel(['{"reason": "ok", "correct": "yes"}'])
    task = make_task(
        TaskConfig(name="judge"), PromptedModel(model, {"answer_judgement": "{{ question }}|{{ answer }}"})
    )
    answer(task, task.read(row(question="Why?", answer="Because.")), "It did.")
    assert model.prompts[0].startswith("Why?|It did.")


@pytest.mark.parametrize("name", ["exact_match", "numeric", "judge"])
def test_rows_may_come_as_messages(name: str) -> None:
    task = make_task(TaskConfig(name=name), PromptedModel(ScriptedModel([])))
    turns = [{"role": "user", "content": "6 * 8?"}, {"role": "assistant", "content": "48"}]
    example = task.read(row(messages=turns))
    assert (example.prompt, example.answer) == ("6 * 8?", "48")
    assert example.id == task.read(row(question="6 * 8?", answer="48")).id


@pytest.mark.parametrize(
    "messages",
    [
        [],
        "hi",
        [{"role": "user", "content": "x"}],
        [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}],
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": None}],
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": [{"image": "y"}]}],
        ["x", "y"],
    ],
)
def test_other_messages_are_refused(messages: Any) -> None:
    with pytest.raises(DatasetError, match=r"train\.jsonl:7: field 'messages' is"):
        ExactMatch(TaskConfig()).read(row(messages=messages))


def test_a_missing_column_names_those_that_are_there() -> None:
    with pytest.raises(
        DatasetError, match=r"train.jsonl: task.columns takes question from 'text', but the columns are q, answer"
    ):
        ExactMatch(TaskConfig(columns={"question": "text"})).read(row(q="x", answer="y"))


def test_every_built_in_task_is_made_by_its_name() -> None:
    assert set(BUILT_IN) == {
        "arc_challenge", "code", "exact_match", "extractive_qa", "gsm8k", "hellaswag", "humaneval", "judge",
        "multiple_choice", "numeric", "sql", "squad", "squad_v2",
    }  # fmt: skip
    for name, kind in BUILT_IN.items():
        assert type(make_task(TaskConfig(name=name), PromptedModel(ScriptedModel([])))) is kind


def test_an_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(
        ConfigError,
        match=r"task\.name: there is no task 'gsm9k'; known are arc_challenge, code.* Did you mean 'gsm8k'\?",
    ):
        make_task(TaskConfig(name="gsm9k"))


def test_a_judge_task_needs_a_judge() -> None:
    with pytest.raises(ConfigError, match=r"set models\.judge"):
        make_task(TaskConfig(name="judge"))


class _EntryPoint:
    def __init__(self, name: str, loaded: object) -> None:
        self.name, self.value, self.loaded = name, "their.tasks:Thing", loaded

    def load(self) -> object:
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded


def test_third_parties_add_tasks_as_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    class Spelling(ExactMatch):
        name = "spelling"

    points = [
        _EntryPoint("spelling", Spelling),
        _EntryPoint("gsm8k", Spelling),
        _EntryPoint("odd", dict),
        _EntryPoint("gone", ImportError("no module")),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == "pada_agent.tasks" else [])
    assert type(make_task(TaskConfig(name="spelling"))) is Spelling
    assert type(make_task(TaskConfig(name="gsm8k"))) is BUILT_IN["gsm8k"]
    with pytest.raises(ConfigError, match="is not a subclass of Task"):
        make_task(TaskConfig(name="odd"))
    with pytest.raises(ConfigError, match="does not load: ImportError: no module"):
        make_task(TaskConfig(name="gone"))


def test_calculator_annotations_are_left_out_of_every_form() -> None:
    told = [
        {"role": "user", "content": "How many legs?"},
        {"role": "assistant", "content": "6*8=<<6*8=48>>48\n#### 48"},
    ]
    assert GSM8K.read(row(messages=told)).answer == "6*8=48\n#### 48"
    assert "1 << 2 and 3 >> 2" in GSM8K.read(row(question="Is 1 << 2 and 3 >> 2?", answer="#### 4")).prompt
