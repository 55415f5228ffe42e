"""Tasks whose answer is one of several options."""

import time
from random import Random
from typing import Any

import pytest

from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import ConfigError, DatasetError
from pada_agent.core.records import Confusion, Example
from pada_agent.evaluation.task import DraftProblem
from pada_agent.evaluation.tasks.benchmarks import HellaSwag
from pada_agent.evaluation.tasks.exact_match import ExactMatch
from pada_agent.evaluation.tasks.multiple_choice import MultipleChoice
from tests.unit.evaluation.cases import answer, read_all, row

ORGANS = {
    "id": "q1",
    "question": "Which organ pumps blood?",
    "choices": [{"label": "A", "text": "liver"}, {"label": "B", "text": "heart"}, {"label": "C", "text": "lung"}],
    "answerKey": "B",
}
QUEUES = {"billing": "money questions", "delivery": "parcels", "other": "the rest"}
BY_TEXT = MultipleChoice(TaskConfig())
BY_LABEL = MultipleChoice(TaskConfig(answers="label"))
CLOSED = MultipleChoice(TaskConfig(labels=QUEUES, columns={"question": "text", "answer": "queue"}))
MESSAGE = row(text="Where is my parcel?", queue="delivery")


def test_by_text_the_question_is_asked_alone_and_every_option_is_scored() -> None:
    example = BY_TEXT.read(row(**ORGANS))
    assert (example.prompt, example.answer) == ("Which organ pumps blood?", "heart")
    assert example.options == ("liver", "heart", "lung")
    assert example.reference == {
        "question": "Which organ pumps blood?",
        "choices": ["liver", "heart", "lung"],
        "labels": ["A", "B", "C"],
        "gold": 1,
        "closed": False,
    }


def test_by_label_the_options_are_listed_and_the_label_is_written() -> None:
    example = BY_LABEL.read(row(**ORGANS))
    assert example.prompt == (
        "Answer with the label of the right option only.\n\nWhich organ pumps blood?\n\nA. liver\nB. heart\nC. lung"
    )
    assert (example.answer, example.options) == ("B", ())


def test_an_option_that_is_there_twice_is_right_under_either_label() -> None:
    example = BY_LABEL.read(row(question="Which?", choices=["heart", "heart", "lung"], answer="B"))
    assert [answer(BY_LABEL, example, label).value for label in "ABC"] == ["correct", "correct", "wrong"]


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("Vitamin C", True),
        ("vitamin c.", True),
        ("The correct answer is: Vitamin C", True),
        ("B (Vitamin C)", True),
        ("C", False),
        ("C. Vitamin D", False),
        ("Vitamin D", False),
        ("I believe Vitamin C helps, as does C", False),
        ("both A and B", False),
    ],
)
def test_the_letter_in_an_options_text_is_not_its_label(response: str, right: bool) -> None:
    choices = ["Vitamin A", "Vitamin C", "Vitamin D", "Both A and B"]
    example = BY_LABEL.read(row(question="Which prevents scurvy?", choices=choices, answer="B"))
    assert answer(BY_LABEL, example, response).value == ("correct" if right else "wrong")
    both = BY_LABEL.read(row(question="Which dissolve?", choices=choices, answer="D"))
    assert answer(BY_LABEL, both, "Both A and B").value == "correct"


@pytest.mark.parametrize("response", ["A", "A) 21", "I choose A) 21 because it fits", "The answer is A) 21", "a) 21"])
def test_a_label_that_a_text_begins_with_is_found(response: str) -> None:
    example = BY_LABEL.read(row(question="How many?", choices=["A) 21", "B) 22"], answer="A"))
    assert answer(BY_LABEL, example, response).value == "correct"


@pytest.mark.parametrize("response", ["The answer is 4", "Answer: 4.", "4", "The answer is 4, because it is 8"])
def test_a_label_is_meant_where_the_text_of_another_option_is_the_same(response: str) -> None:
    options = [{"label": str(n), "text": str(2 * n)} for n in range(1, 5)]
    example = BY_LABEL.read(row(question="How many?", choices=options, answerKey="4"))
    assert answer(BY_LABEL, example, response).value == "correct"


def test_options_that_name_labels_are_left_out_quickly() -> None:
    """Without a pattern for each row that takes long to compile."""
    rows = [[f"A {n}th dog", f"A {n}th cat", "Vitamin C"] for n in range(40)]
    started = time.process_time()
    examples = [BY_LABEL.read(row(question="Which?", choices=choices, answer="B")) for choices in rows]
    assert {answer(BY_LABEL, example, "B, not vitamin C").value for example in examples} == {"correct"}
    assert time.process_time() - started < 1


def test_an_instruction_stands_before_the_question_in_both_forms() -> None:
    by_text = MultipleChoice(TaskConfig(instruction="Pick."))
    by_label = MultipleChoice(TaskConfig(instruction="Pick.", answers="label"))
    assert by_text.read(row(**ORGANS)).prompt == "Pick.\n\nWhich organ pumps blood?"
    assert by_label.read(row(**ORGANS)).prompt.startswith("Pick.\n\nWhich organ")


@pytest.mark.parametrize(
    ("changes", "gold"),
    [
        ({"answerKey": "c"}, 2),
        ({"answerKey": None, "label": 0}, 0),
        ({"answerKey": None, "answer": "Heart"}, 1),
        ({"choices": ["liver", "heart"], "answerKey": "B"}, 1),
        ({"choices": {"label": ["1", "2"], "text": ["liver", "heart"]}, "answerKey": "1"}, 0),
        ({"choices": {"label": ["1", "2"], "text": ["liver", "heart"]}, "answerKey": 1}, 0),
        ({"choices": None, "endings": ["a", "b", "c", "d"], "answerKey": None, "label": 0}, 0),
        ({"answerKey": 3}, 2),
        ({"choices": ["3", "2", "9"], "answerKey": None, "answer": "2"}, 1),
    ],
)
def test_the_gold_option_is_named_in_many_ways(changes: dict[str, Any], gold: int) -> None:
    assert BY_TEXT.read(row(**{**ORGANS, **changes})).reference["gold"] == gold


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answerKey": "F"}, "train.jsonl:7: field 'answerKey' is 'F', but the options are A, B, C"),
        ({"answerKey": 4}, "field 'answerKey' is 4, but the options are"),
        ({"answerKey": -1}, "field 'answerKey' is -1, but"),
        ({"answerKey": True}, "field 'answerKey' is True, but"),
        ({"answerKey": float("nan")}, "field 'answerKey' is empty: nan. Fill it in, or drop the row"),
        ({"question": " "}, "field 'question' is empty: ' '. Fill it in"),
        ({"question": ["x"]}, "expected text, not list"),
        ({"choices": ["one"]}, "expected a list of two or more options"),
        ({"choices": "AB"}, "expected a list of two or more options"),
        ({"choices": ["one", ""]}, "expected strings, or {label, text} with some text"),
        ({"choices": [{"label": "A", "text": "x"}, {"label": "A", "text": "y"}]}, "a different label for each"),
        ({"choices": {"label": ["A"], "text": ["x", "y"]}}, "expected as many labels as texts"),
    ],
)
def test_a_row_that_cannot_be_used_says_where_and_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        BY_TEXT.read(row(**{**ORGANS, **changes}))
    assert str(caught.value).startswith("train.jsonl:7: ") and message in str(caught.value)


def test_scored_options_are_compared_with_the_gold_text() -> None:
    example = BY_TEXT.read(row(**ORGANS))
    assert answer(BY_TEXT, example, "heart", option_scores=(-2, -1, -3)).value == "correct"
    wrong = answer(BY_TEXT, example, "lung", option_scores=(-2, -3, -1))
    assert (wrong.value, wrong.extracted, wrong.reason) == ("wrong", "lung", "chose 'lung', right is 'heart'")


@pytest.mark.parametrize("scores", [(-1.0, -2.0), (-1.0, float("nan"), -2.0)])
def test_broken_scores_are_unscored_not_wrong(scores: tuple[float, ...]) -> None:
    assert answer(BY_TEXT, BY_TEXT.read(row(**ORGANS)), "heart", option_scores=scores).value == "unscored"
    assert answer(BY_TEXT, BY_TEXT.read(row(**ORGANS)), "kidney").value == "unscored"


def test_written_labels_are_parsed() -> None:
    example = BY_LABEL.read(row(**ORGANS))
    assert answer(BY_LABEL, example, "(B) heart").value == "correct"
    assert answer(BY_LABEL, example, "C").reason == "chose C, right is B"
    assert answer(BY_LABEL, example, "A or B").reason.startswith("ambiguous: names")
    assert answer(BY_LABEL, example, "hm").reason == "no option found; right is B"


def draft_for(example: Example, **changes: str) -> Example | DraftProblem:
    draft = {"question": "Which organ filters blood?", "correct": "kidney", "wrong_1": "skin", "wrong_2": "ear"}
    return BY_TEXT.compose({**draft, **changes}, source=example, given={}, example_id="syn-1")


def test_a_draft_becomes_a_row_like_its_source() -> None:
    made = draft_for(BY_TEXT.read(row(**ORGANS)))
    assert isinstance(made, Example)
    assert (made.prompt, made.answer, made.id) == ("Which organ filters blood?", "kidney", "syn-1")
    assert sorted(made.options) == ["ear", "kidney", "skin"] and made.reference["labels"] == ["A", "B", "C"]
    assert made.options[made.reference["gold"]] == "kidney"


def test_an_example_composed_from_its_own_show_keeps_its_content() -> None:
    source = BY_TEXT.read(row(**ORGANS))
    made = BY_TEXT.compose(BY_TEXT.show(source), source=source, given={}, example_id="x")
    assert isinstance(made, Example)
    assert (made.prompt, made.answer, sorted(made.options)) == (source.prompt, source.answer, sorted(source.options))


def test_the_place_of_the_right_option_tells_nothing() -> None:
    source = BY_TEXT.read(row(**ORGANS))
    draft = BY_TEXT.show(source)
    made = [BY_TEXT.compose(draft, source=source, given={}, example_id=f"x{i}") for i in range(300)]
    places = [m.reference["gold"] for m in made if isinstance(m, Example)]
    assert all(70 < places.count(place) < 130 for place in range(3))
    assert BY_TEXT.compose(draft, source=source, given={}, example_id="x0") == made[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"question": ""}, "field 'question' is missing or empty"),
        ({"correct": "  "}, "field 'correct' is missing or empty"),
        ({"wrong_2": ""}, "field 'wrong_2' is missing or empty"),
        ({"wrong_1": "Kidney "}, "the correct option 'kidney' is also among the wrong ones"),
        ({"wrong_1": "ear", "wrong_2": "EAR"}, "two of the wrong options are the same"),
    ],
)
def test_a_flawed_draft_is_a_problem(changes: dict[str, str], reason: str) -> None:
    assert draft_for(BY_TEXT.read(row(**ORGANS)), **changes) == DraftProblem(reason=reason)


def test_no_more_wrong_options_are_used_than_the_source_has() -> None:
    made = draft_for(BY_TEXT.read(row(**ORGANS)), wrong_3="never used")
    assert isinstance(made, Example) and "never used" not in made.options


def test_a_closed_set_makes_its_labels_the_options_of_every_row() -> None:
    example = CLOSED.read(MESSAGE)
    assert (example.prompt, example.answer, example.options) == (
        "Where is my parcel?",
        "delivery",
        ("billing", "delivery", "other"),
    )
    assert example.reference["closed"] and CLOSED.closed_label(example) == "delivery"
    assert CLOSED.gold(example) == "delivery" and BY_TEXT.closed_label(BY_TEXT.read(row(**ORGANS))) is None
    assert BY_TEXT.gold(BY_TEXT.read(row(**ORGANS))) == BY_TEXT.read(row(**ORGANS)).answer


def test_a_closed_label_can_be_written() -> None:
    task = MultipleChoice(TaskConfig(labels=QUEUES, answers="label"))
    example = task.read(row(question="Where is my parcel?", answer="delivery"))
    assert example.prompt.endswith("Where is my parcel?\n\nbilling\ndelivery\nother")
    assert "parcels" not in example.prompt
    assert answer(task, example, "Delivery.").value == "correct"


def test_a_label_outside_the_set_is_refused() -> None:
    with pytest.raises(DatasetError, match="field 'queue' is 'sales', but the options are billing, delivery, other"):
        CLOSED.read(row(text="Hi", queue="sales"))


def test_one_label_is_no_choice() -> None:
    with pytest.raises(ConfigError, match=r"task\.labels"):
        MultipleChoice(TaskConfig(labels={"yes": ""}))


def test_without_confusions_the_source_label_is_assigned() -> None:
    assert CLOSED.assign(CLOSED.read(MESSAGE), [], Random(0)) == {"label": "delivery", "definition": "parcels"}
    assert BY_TEXT.assign(BY_TEXT.read(row(**ORGANS)), [], Random(0)) == {}


def test_labels_are_assigned_by_how_often_they_were_missed() -> None:
    confusions = [
        Confusion(gold="billing", predicted="other", count=9),
        Confusion(gold="other", predicted="billing", count=3),
        Confusion(gold="gone", predicted="billing", count=99),
    ]
    rng = Random(0)
    drawn = [CLOSED.assign(CLOSED.read(MESSAGE), confusions, rng) for _ in range(400)]
    assert 0.7 < sum(d["label"] == "billing" for d in drawn) / 400 < 0.8
    assert {d["label"] for d in drawn} == {"billing", "other"}
    assert drawn[0].keys() == {"label", "definition", "easily_mistaken_for", "definition_of_that"}
    assert all(d["easily_mistaken_for"] != d["label"] for d in drawn)


@pytest.mark.parametrize("n_options", [2, 5])
def test_a_draft_has_as_many_options_as_its_source(n_options: int) -> None:
    texts = [f"organ {i}" for i in range(n_options)]
    source = BY_TEXT.read(row(question="Which one pumps blood?", choices=texts, answerKey="A"))
    fields = BY_TEXT.draft_fields_for([source])
    made = BY_TEXT.compose({name: f"some {name}" for name in fields}, source=source, given={}, example_id="s")
    assert isinstance(made, Example) and len(made.options) == n_options


def test_a_closed_draft_takes_its_label_from_what_was_assigned() -> None:
    source = CLOSED.read(MESSAGE)
    assert list(CLOSED.draft_fields()) == ["question"]
    made = CLOSED.compose({"question": "I paid twice"}, source=source, given={"label": "billing"}, example_id="s")
    assert isinstance(made, Example) and (made.answer, made.options) == ("billing", source.options)
    assert isinstance(CLOSED.compose({}, source=source, given={}, example_id="s"), DraftProblem)


def test_hellaswag_rows_may_hold_only_the_official_columns() -> None:
    fields = {"ctx": "He opens the tap.", "endings": ["Water runs.", "It snows.", "He flies.", "No."], "label": "0"}
    example = HellaSwag(TaskConfig(name="hellaswag")).read(row(**fields))
    assert (example.prompt, example.answer, len(example.id)) == ("He opens the tap.", "Water runs.", 12)


def test_a_copy_of_hellaswag_may_name_the_right_ending_by_a_letter() -> None:
    """The official file counts from 0; copies that add lettered `choices` and an `answerKey` keep the old columns too."""
    endings = ["Water runs.", "It snows."]
    lettered = {"choices": [{"label": "AB"[i], "text": text} for i, text in enumerate(endings)]}
    rows = [row(ctx="He opens the tap.", endings=endings, label=0, **lettered, answerKey="A")]
    rows += [row(ctx="It is winter.", endings=endings, label=1, **lettered, answerKey="B")]
    examples = read_all(HellaSwag(TaskConfig(name="hellaswag")), [rows])[0].examples
    assert [e.answer for e in examples] == endings


def test_exact_match_ignores_case_and_white_space_only() -> None:
    task = ExactMatch(TaskConfig(name="exact_match"))
    example = task.read(row(question="Capital of Peru?", answer="Lima"))
    assert answer(task, example, " lima\n").value == "correct"
    assert answer(task, example, "Lima, Peru").value == "wrong"
    assert answer(task, example, "", truncated=True).reason == "expected 'Lima'; the response was cut off"


def test_exact_match_keeps_to_a_closed_set() -> None:
    task = ExactMatch(TaskConfig(name="exact_match", labels=QUEUES))
    example = task.read(row(question="Where is my parcel?", answer="Delivery"))
    assert (example.answer, task.closed_label(example)) == ("delivery", "delivery")
    made = task.compose({"question": "I paid twice"}, source=example, given={"label": "billing"}, example_id="s")
    assert isinstance(made, Example) and made.answer == "billing"
    assert isinstance(
        task.compose({"question": "x"}, source=example, given={"label": "sales"}, example_id="s"), DraftProblem
    )
    with pytest.raises(DatasetError, match="the options are billing, delivery, other"):
        task.read(row(question="x", answer="sales"))
