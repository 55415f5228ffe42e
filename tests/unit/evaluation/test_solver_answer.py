"""What a solver picks, and what its options are listed under."""

from itertools import permutations

import pytest

from pada_agent.core.config import TaskConfig
from pada_agent.evaluation.task import OpenQuestion
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.evaluation.verifiers.solver_answer import choose_marks, declines, pick_option
from tests.unit.evaluation.cases import row

TOPICS = ("lost card", "fees", "delivery")


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (TOPICS, "letter"),
        (("2", "4", "8"), "letter"),
        (("A ball", "a candle", "I am"), "letter"),
        (("A", "B", "tie"), "number"),
        (("a", "b", "c"), "number"),
        (("Plan B", "Plan C"), "number"),
        (("liver", "both A and C"), "number"),
        (("方案B", "方案C"), "number"),
        (("方案B", "第3章"), "exact words"),
        (("Ｂ", "Ｃ"), "number"),
        (tuple(f"label{n}" for n in range(27)), "number"),
        (tuple(str(n) for n in range(27)), "exact words"),
        (("A", "B", "AB", "0"), "exact words"),
        (("A", "B", "top 5"), "exact words"),
    ],
)
def test_options_are_listed_under_what_none_of_them_has_in_its_text(options: tuple[str, ...], kind: str) -> None:
    assert choose_marks(options).kind == kind
    assert choose_marks(options[::-1]).kind == kind


@pytest.mark.parametrize(
    "options", [("A", "B", "tie"), ("A", "B", "AB", "0"), ("1", "2", "3"), ("A", "1", "2"), ("Plan B", "Plan A", "B")]
)
def test_an_option_is_picked_by_its_mark_and_by_its_text_in_every_order(options: tuple[str, ...]) -> None:
    for order in permutations(options):
        for mark, option in zip(choose_marks(order).marks or order, order, strict=True):
            assert [pick_option(said, order) for said in (mark, f"{mark}. {option}", option)] == [option] * 3


def test_numbers_are_picked_where_there_are_more_options_than_letters() -> None:
    options = tuple(f"label{n}" for n in range(1, 31))
    assert [pick_option(said, options) for said in ("1", "30", "(27)", "A")] == ["label1", "label30", "label27", None]


@pytest.mark.parametrize(
    ("said", "option"),
    [
        ("fees: a charge", "fees"),
        ("fees (a charge)", "fees"),
        ("**Fees**", "fees"),
        ("B. fees: a charge", "fees"),
        ("Option: fees", "fees"),
        ("the fees label", "fees"),
        ("lost card: not delivery", "lost card"),
        ("答案是B", "fees"),
        ("선택 B입니다", "fees"),
        ("Ｂ", "fees"),
        ("fe\u200bes", "fees"),
        ("not fees", None),
        ("fees or delivery", None),
        ("none of these", None),
        ("I cannot tell", None),
        ("I cannot tell whether it is fees", None),
        ("N/A", None),
        ("D", None),
        ("", None),
    ],
)
def test_an_option_is_picked_by_its_words_or_there_is_none(said: str, option: str | None) -> None:
    assert pick_option(said, TOPICS) == option


@pytest.mark.parametrize("options", [("(a)", "a"), ("*", "+", ""), ("Other", "Other (please specify)"), ("U.S.", "US")])
def test_an_option_is_picked_by_exactly_its_words(options: tuple[str, ...]) -> None:
    assert [pick_option(option, options) for option in options if option] == [option for option in options if option]
    assert pick_option("", options) is None


def test_an_option_that_says_that_there_is_no_answer_can_be_picked() -> None:
    options = ("yes", "no", "I cannot tell")
    assert pick_option("I cannot tell.", options) == "I cannot tell"
    assert pick_option("I have no idea", options) is None


@pytest.mark.parametrize(
    "said",
    [
        *(
            "",
            " ",
            "?",
            "-",
            "unknown",
            "Unclear.",
            "N/A",
            "not sure",
            "I can't tell",
            "I don’t know",
            "I do not know.",
        ),
        *("Cannot be determined", "It is unclear", "It's impossible to say", "Not enough information", "I am not sure"),
        *("Sorry, I cannot answer this", "The answer cannot be known"),
        *(
            "Das weiß ich nicht.",
            "Das kann man nicht sagen",
            "Leider kann ich das nicht beantworten",
            "Nicht genug Informationen",
        ),
        *(
            "Je ne sais pas",
            "Impossible de répondre",
            "No lo sé",
            "No se puede determinar",
            "Não sei",
            "Non si può dire",
        ),
        *("Не знаю", "Невозможно определить", "недостаточно данных", "不知道", "抱歉，无法确定", "题目信息不足"),
        *("分かりません", "情報が不足しています", "알 수 없음", "정보 부족"),
    ],
)
def test_an_answer_that_gives_none_is_told(said: str) -> None:
    assert declines(said)


@pytest.mark.parametrize(
    "said",
    [
        "48",
        "none",
        "no",
        "Estonia",
        "Unknown Pleasures",
        "Know-how",
        "I, Robot",
        "国",
        "Keine",
        "kann fliegen",
        "impossible",
        "No",
        "Нет",
        "不是",
        "未知数学",
        "不明確な説明",
        "desconto",
    ],
)
def test_an_answer_is_not_taken_for_none(said: str) -> None:
    assert not declines(said)


@pytest.mark.parametrize("name", ["exact_match", "multiple_choice"])
def test_a_solver_s_letter_is_worded_as_the_option_it_saw(name: str) -> None:
    task = make_task(TaskConfig(name=name, labels=dict.fromkeys(TOPICS, "")))
    assert task.word_answer("B", OpenQuestion(question="Why?", options=TOPICS)) == "fees"


@pytest.mark.parametrize(
    ("said", "agrees", "words"),
    [("12", True, "12"), ("13 eggs", False, "13 eggs"), ("twelve", False, None), ("2√3", False, None)],
)
def test_an_answer_without_a_number_says_nothing_against_a_number(said: str, agrees: bool, words: str | None) -> None:
    task = make_task(TaskConfig(name="numeric"))
    example = task.read(row(question="How many eggs?", answer="12"))
    posed = OpenQuestion(question="How many eggs?")
    assert (task.agrees(example, said, posed), task.word_answer(said, posed)) == (agrees, words)
