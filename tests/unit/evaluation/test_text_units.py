"""Comparing texts in all scripts: what holds in English has to hold in the others."""

import pytest

from pada_agent.agents.guards.leak_guard import REDACTED, LeakGuard
from pada_agent.core.records import Example, Strategy
from pada_agent.evaluation.contamination import find_duplicates, find_overlap
from pada_agent.evaluation.repeats import rouge_l
from pada_agent.evaluation.text_units import count_words, runs_of, signs_of, units_of

# A question, nearly the same one, and another one.
ASKED = {
    "English": (
        "my meter stopped counting yesterday and the display has been dark since, when can you send somebody to look",
        "my meter stopped counting yesterday and the display has been dark since, when can you send someone to look",
        "I would like to know which tariff suits a household of four that heats with gas and cooks with electricity",
    ),
    "Chinese": (
        "我的电表昨天突然停止走字了而且显示屏一直是黑的请问你们什么时候可以派人来检查一下",
        "我的电表昨天突然停止走字了而且显示屏一直是黑的请问你们什么时候能够派人来检查一下",
        "我们家四口人用天然气取暖用电做饭请问选择哪一种资费方案比较合适能不能帮我算一算",
    ),
    "Japanese": (
        "昨日から電気メーターの表示が消えたままで何も映らないのですがいつ点検に来てもらえますか",
        "昨日から電気メーターの表示が消えたままで何も映らないのですがいつ点検に来ていただけますか",
        "四人家族でガス暖房と電気調理を使っていますがどの料金プランが合っているか教えてください",
    ),
    "Thai": (
        "มิเตอร์ไฟฟ้าของฉันหยุดทำงานเมื่อวานนี้และหน้าจอดับไปเลยคุณจะส่งคนมาตรวจสอบได้เมื่อไหร่",
        "มิเตอร์ไฟฟ้าของฉันหยุดทำงานเมื่อวานนี้และหน้าจอดับไปเลยคุณจะส่งช่างมาตรวจสอบได้เมื่อไหร่",
        "บ้านเรามีสี่คนใช้แก๊สทำความร้อนและใช้ไฟฟ้าทำอาหารควรเลือกแผนราคาแบบไหนดีช่วยแนะนำหน่อย",
    ),
    "Korean": (
        "어제부터 전기 계량기가 멈췄고 화면이 계속 꺼져 있는데 언제 점검하러 와 주실 수 있나요 기다리고 있습니다 부탁드려요",
        "어제부터 전기 계량기가 멈췄고 화면이 계속 꺼져 있는데 언제 확인하러 와 주실 수 있나요 기다리고 있습니다 부탁드려요",
        "네 식구가 가스로 난방하고 전기로 요리하는데 어떤 요금제가 맞는지 알려 주시면 감사하겠습니다 잘 부탁드립니다",
    ),
    "Arabic": (
        "توقف عداد الكهرباء عن العمل أمس والشاشة مظلمة منذ ذلك الحين متى يمكنكم إرسال شخص لفحصه من فضلكم",
        "توقف عداد الكهرباء عن العمل أمس والشاشة مظلمة منذ ذلك الحين متى يمكنكم إرسال فني لفحصه من فضلكم",
        "نحن أسرة من أربعة أفراد ندفئ البيت بالغاز ونطبخ بالكهرباء فما هي التعرفة المناسبة لنا في رأيكم",
    ),
    "Hindi": (
        "मेरा बिजली का मीटर कल से बंद है और स्क्रीन काली है आप किसी को जाँच के लिए कब भेज सकते हैं कृपया बताइए",
        "मेरा बिजली का मीटर कल से बंद है और स्क्रीन काली है आप मैकेनिक को जाँच के लिए कब भेज सकते हैं कृपया बताइए",
        "हम चार लोगों का परिवार हैं गैस से घर गर्म करते हैं और बिजली से खाना बनाते हैं कौन सा प्लान ठीक रहेगा",
    ),
}
LANGUAGES = pytest.mark.parametrize("language", ASKED)


def row(row_id: str, question: str) -> Example:
    return Example(id=row_id, prompt=question, answer="x", reference={"question": question})


@LANGUAGES
def test_one_word_changed_is_a_near_duplicate_and_another_question_is_not(language: str) -> None:
    asked, near, other = ASKED[language]
    assert [o.kind for o in find_duplicates([row("n", near)], [row("o", asked)], threshold=0.85)] == ["near"]
    assert find_duplicates([row("n", other)], [row("o", asked)], threshold=0.85) == []
    assert rouge_l(asked, other) < 0.6


@LANGUAGES
def test_a_held_out_question_inside_a_longer_one_is_found(language: str) -> None:
    asked, _, other = ASKED[language]
    assert [o.kind for o in find_overlap([row("n", f"{other} {asked} {other}")], [row("v", asked)])] == ["ngram"]
    assert find_overlap([row("n", other)], [row("v", asked)]) == []


@LANGUAGES
def test_the_leak_guard_cuts_a_quoted_question_and_leaves_an_honest_strategy(language: str) -> None:
    asked, _, other = ASKED[language]
    guard = LeakGuard([row("v", asked)], [row("t", "something else altogether, of no use here")])
    strategy = Strategy(id="s", pattern_id="p", category_name="c", strategy_name="n", generation_approach=other)
    assert guard.clear(strategy).redactions == ()
    leaking = strategy.model_copy(update={"generation_approach": f"{other}：{asked}。"})
    cleared = guard.clear(leaking).strategy.generation_approach
    assert REDACTED in cleared
    assert not find_overlap([row("n", cleared)], [row("v", asked)])


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("Don't stop", ("don", "t", "stop")),
        ("电表 stopped", ("电", "表", "stopped")),
        ("कृपया", ("कृपया",)),
        ("ガス", ("ガ", "ス")),
        ("", ()),
    ],
)
def test_words_where_there_are_spaces_and_characters_where_there_are_none(text: str, units: tuple[str, ...]) -> None:
    assert units_of(text) == units


def test_runs_are_measured_in_words() -> None:
    assert list(runs_of(["a", "b", "c"], 2)) == [(0, 2), (1, 3)]
    assert list(runs_of(list("电表停了"), 1.2)) == [(0, 2), (1, 3), (2, 4)]
    assert list(runs_of(["a"], 2)) == []
    assert count_words(["a", "电"]) == pytest.approx(1.6)


PREAMBLE = "You are a careful assistant of an energy supplier. Decide which desk has to act next and answer with its name. Message: "


def test_what_all_questions_begin_with_is_left_out() -> None:
    known = [
        row("1", f"{PREAMBLE}Why is my bill so high?"),
        row("2", f"{PREAMBLE}No power since nine."),
        row("3", f"{PREAMBLE}Who reads my meter?"),
    ]
    new = row("n", f"{PREAMBLE}The boiler gets no gas at all.")
    assert find_duplicates([new], known, threshold=0.85) == [] and find_overlap([new], known) == []
    copied = row("c", f"{PREAMBLE}No power since nine.")
    assert [o.protected_id for o in find_overlap([copied], known)] == ["2"]


def test_one_question_on_different_passages_is_no_repetition() -> None:
    def contract(row_id: str, passage: str) -> Example:
        question = "Which law governs this contract, and where is that said in the text?"
        return Example(id=row_id, prompt=f"{passage}\n\n{question}", answer="x", reference={"question": question})

    known = [
        contract("1", "This agreement is governed by the laws of Ohio."),
        contract("2", "The laws of France apply."),
    ]
    new = contract("n", "Any dispute is settled under Japanese law in the courts of Osaka.")
    assert find_overlap([new], known) == [] and find_duplicates([new], known, threshold=0.85) == []
    assert [o.protected_id for o in find_overlap([contract("c", "The laws of France apply.")], known)] == ["2"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is C?", " what  is\nC"),
        ("10+3=?", "10 + 3 = ?"),
        ("10 \u2212 3", "10 - 3"),
        ("Don\u2019t say \u201cgo\u201d!", "don't say go"),
        ("Comment\xa0?", "comment?"),
        ("\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u4f60\u597d,\u4e16 \u754c"),
        ("a\u200bb", "ab"),
        ("5\u00b2", "5^2"),
    ],
)
def test_the_same_text_in_two_spellings(one: str, other: str) -> None:
    assert signs_of(one) == signs_of(other) != ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10 + 3", "10 - 3"),
        ("-3", "3"),
        ("3.5", "3,5"),
        ("3.5", "35"),
        (".5", "5"),
        ("a != b", "a = b"),
        ("C", "C#"),
        ("(2+3)*4", "2+(3*4)"),
        ("print('5')", "print(5)"),
        ("5\u00b2", "52"),
        ("\U0001f60d", "\U0001f621"),
    ],
)
def test_signs_that_say_something(one: str, other: str) -> None:
    assert signs_of(one) != signs_of(other)
