from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pada_agent.evaluation.verifiers.arithmetic import check_calculations
from pada_agent.evaluation.verifiers.number import find_answer, format_number
from pada_agent.evaluation.verifiers.option_label import find_closed_label, find_label
from pada_agent.evaluation.verifiers.python_code import complete_program, replace_with_stub
from pada_agent.evaluation.verifiers.span import exact_match, find_span, matches, token_f1
from tests.unit.evaluation.cases import load

OPTIONS, CLOSED, CODE = load("option_labels"), load("closed_labels"), load("code_responses")


@pytest.mark.parametrize("case", OPTIONS["cases"], ids=lambda c: repr(c["response"]))
def test_an_option_label_is_found_or_the_reason_told(case: dict[str, Any]) -> None:
    found = find_label(case["response"], case.get("labels", OPTIONS["labels"]))
    assert (found.label, found.reason) == (case["found"], case.get("reason", ""))


@pytest.mark.parametrize("case", CLOSED["cases"], ids=lambda c: repr(c["response"]))
def test_a_closed_label_is_found_or_the_reason_told(case: dict[str, Any]) -> None:
    found = find_closed_label(case["response"], case.get("labels", CLOSED["labels"]))
    assert (found.label, found.reason) == (case["found"], case.get("reason", ""))


@pytest.mark.parametrize("case", load("numbers")["cases"], ids=lambda c: repr(c["text"]))
def test_the_number_of_an_answer_is_found(case: dict[str, Any]) -> None:
    found = find_answer(case["text"])
    assert (None if found.number is None else format_number(found.number)) == case["value"]
    assert found.marked == case["marked"]


@pytest.mark.parametrize("case", load("spans")["cases"], ids=lambda c: repr(c["response"]))
def test_spans_score_as_in_the_official_evaluation(case: dict[str, Any]) -> None:
    assert exact_match(case["response"], case["golds"]) == case["exact"]
    assert token_f1(case["response"], case["golds"]) == pytest.approx(case["f1"])


@pytest.mark.parametrize("case", load("calculations")["cases"], ids=lambda c: repr(c["text"]))
def test_calculations_are_checked(case: dict[str, Any]) -> None:
    checked = check_calculations(case["text"], case.get("mark", "."))
    assert (checked.n_checked, list(checked.wrong)) == (case["n_checked"], case["wrong"])


def test_a_span_is_looked_for_as_whole_words() -> None:
    assert find_span("Two  springs", "fed by two\nsprings.") == "two springs"
    assert find_span("spring", "fed by two springs.") is None
    assert find_span("  ", "fed by two springs.") is None


def test_invisible_characters_make_no_difference_to_a_span() -> None:
    assert find_span("two\u200bsprings", "fed by two\u00adspr\u200dings.") == "two\u00adspr\u200dings"
    assert exact_match("Par\u00adis", ["Paris\u200b"])
    assert token_f1("Paris", ["\ufeffParis"]) == 1


PRINTED = "He said \u201cdon\u2019t go\u201d in 1990\u20131991 \u2026 the e\ufb03cient \ufb01nance of\u00a0it"


@pytest.mark.parametrize(
    ("answer", "span"),
    [
        ("don't go", "don\u2019t go"),
        ('"don\'t go"', "\u201cdon\u2019t go\u201d"),
        ("1990-1991", "1990\u20131991"),
        ("1990\u20131991 ...", "1990\u20131991 \u2026"),
        ("efficient finance of it", "e\ufb03cient \ufb01nance of it"),
        ("don\u2019t", "don\u2019t"),
    ],
)
def test_a_span_is_found_however_quotes_dashes_and_ligatures_are_printed(answer: str, span: str) -> None:
    assert find_span(answer, PRINTED) == span
    assert matches(answer, [span]) and matches(span, [answer])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5-6", "56"),
        ("2-1", "21"),
        ("3:2", "32"),
        ("about 1.5", "about 15"),
        ("from -5 to 5", "from 5 to 5"),
        ("version 1.2.3", "version 12.3"),
        ("1e-5", "1e5"),
        ("C++", "C"),
        ("C#", "C++"),
        ("Na+", "Na"),
        ("O-", "O+"),
        ("hepatitis A", "hepatitis"),
        ("Vitamin A deficiency", "vitamin deficiency"),
    ],
)
def test_answers_that_only_punctuation_or_an_a_tells_apart_are_different(one: str, other: str) -> None:
    assert exact_match(one, [other])  # as in SQuAD's own evaluation
    assert not matches(one, [other]) and not matches(other, [one])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,200 men", "1200 men"),
        ("1.200", "1200"),
        ("F-16", "F16"),
        ("10:30", "1030"),
        ("12-25-2020", "12/25/2020"),
        ("555-1234", "5551234"),
        ("$5", "5"),
        ("10%", "10"),
        ("Robert A. Heinlein", "Robert Heinlein"),
        ("Once Upon A Time", "once upon a time"),
        ("a dog", "dog"),
        ("St. John's", "St Johns"),
        ("50-1,000", "50-1000"),
        ("1,000:1", "1000:1"),
    ],
)
def test_other_punctuation_and_articles_make_no_difference_to_an_answer(one: str, other: str) -> None:
    assert matches(one, [other]) and matches(other, [one])


@pytest.mark.parametrize(
    ("span", "passage"),
    [
        ("\u5e020\u4eac", "\u56fd0\u306e\u9996\u90fd\u306f\u5e020\u4eac\u3067\u3042\u308a"),
        ("Rome", "\u9996\u90fd\u306fRome\u3067\u3059"),
        ("\uc11c\uc6b8", "\uc11c\uc6b8\uc740 \uc218\ub3c4"),
        (
            "\u0e01\u0e23\u0e38\u0e07\u0e40\u0e17\u0e1e",
            "\u0e40\u0e21\u0e37\u0e2d\u0e07\u0e01\u0e23\u0e38\u0e07\u0e40\u0e17\u0e1e\u0e21\u0e2b\u0e32",
        ),
        (
            "\u0627\u0644\u0642\u0627\u0647\u0631\u0629",
            "\u0648\u0627\u0644\u0642\u0627\u0647\u0631\u0629 \u0645\u062f\u064a\u0646\u0629",
        ),
        ("\u05d9\u05e8\u05d5\u05e9\u05dc\u05d9\u05dd", "\u05d1\u05d9\u05e8\u05d5\u05e9\u05dc\u05d9\u05dd"),
        ("10", "a road of 10km"),
        ("$5", "US$5."),
    ],
)
def test_a_span_may_end_where_no_space_is_written(span: str, passage: str) -> None:
    assert find_span(span, passage) == span


@pytest.mark.parametrize(
    ("span", "passage"),
    [("Rome", "Romeo"), ("10", "in 2010"), ("stadt", "Hauptstadt"), ("\u0440\u043e\u043c", "\u0445\u0440\u043e\u043c")],
)
def test_a_span_is_no_part_of_a_word_or_number_unless_asked_for(span: str, passage: str) -> None:
    assert find_span(span, passage) is None
    assert find_span(span, passage, whole_words=False) == span


@given(st.text(max_size=80))
def test_no_text_breaks_a_verifier(text: str) -> None:
    find_label(text, OPTIONS["labels"])
    find_closed_label(text, CLOSED["labels"])
    find_answer(text)
    check_calculations(f"{text} 1 + 1 = 2")
    token_f1(text, [text])
    complete_program(CODE["prompt"], text, "double")


@pytest.mark.parametrize(
    "nested", ["1 + " * 400 + "1", "-" * 600 + "1", "w" + ".b" * 400], ids=["sum", "signs", "names"]
)
def test_programs_of_any_depth_are_read_and_not_a_crash(nested: str) -> None:
    prompt = "w = None\nX = 1\n\ndef f(x):\n    '''Add one.'''\n"
    program = complete_program(prompt, f"def f(x):\n    return x + 1\n\nif False:\n    y = {nested}\n", "f")
    assert "return x + 1" in program
    assert "pass" in replace_with_stub(f"y = {nested}\n\ndef f(x):\n    return 1\n", "f")


@pytest.mark.parametrize(
    ("code", "stub"),
    [
        ("def f(x):\n    y = 1\n    return y\nz = 2\n", "def f(x):\n    pass\nz = 2\n"),
        ("def f(x): return 'ä'\n", "def f(x): pass\n"),
        ("def g():\n    return 1\n", "def g():\n    return 1\n"),
        ("f = 0\nif f:\n    return 1\n", "f = 0\nif f:\n    return 1\n"),
        ("f = abs\n", "f = abs\n\nf = lambda *_, **__: None\n"),
    ],
)
def test_a_function_s_body_is_replaced_by_pass(code: str, stub: str) -> None:
    assert replace_with_stub(code, "f") == stub


@pytest.mark.parametrize("depth", ["\t", "  ", "        "])
@pytest.mark.parametrize("body", ["    return a + b", "return a + b", "\treturn a + b", "total = a\nreturn total + b"])
def test_a_body_is_indented_as_its_prompt_is(depth: str, body: str) -> None:
    program = complete_program(f'def add(a, b):\n{depth}"""Add.\n\n{depth}    >>> add(1, 2)"""\n', body, "add")
    found: dict[str, Any] = {}
    exec(program, found)
    assert found["add"](1, 2) == 3
