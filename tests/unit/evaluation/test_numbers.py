"""Numbers of rows and of answers, by exact value."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import DatasetError
from pada_agent.core.records import Example, Prediction
from pada_agent.evaluation.rows.decimal_mark import GoldNumber, settle_decimal_mark
from pada_agent.evaluation.task import DraftProblem
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.evaluation.verifiers.arithmetic import check_calculations
from pada_agent.evaluation.verifiers.number import (
    DecimalMark,
    Number,
    exact,
    find_answer,
    format_number,
    parse_number,
    read_gold,
    same_number,
)
from tests.unit.evaluation.cases import answer, load, read_all, row

CASES = load("gold_numbers")
NUMERIC = make_task(TaskConfig(name="numeric"))


def gold_of(text: str) -> str | None:
    """Read with the decimal mark that this text alone shows."""
    try:
        mark = settle_decimal_mark([GoldNumber("f:1", text)], "auto")
    except DatasetError:
        return None
    number = read_gold(text, mark)
    return None if number is None else format_number(number)


@pytest.mark.parametrize("case", CASES["golds"], ids=lambda c: repr(c["gold"][:40]))
def test_a_gold_number_is_one_number_or_none(case: dict[str, Any]) -> None:
    assert gold_of(case["gold"]) == case["value"]


@pytest.mark.parametrize("case", CASES["golds"], ids=lambda c: repr(c["gold"][:40]))
def test_a_row_is_right_about_itself_or_refused(case: dict[str, Any]) -> None:
    raw = row(question="How many?", answer=case["gold"])
    if case["value"] is None:
        with pytest.raises(DatasetError, match=r"^train\.jsonl:7: "):
            NUMERIC.read(raw)
    else:
        example = NUMERIC.read(raw)
        assert (example.reference["number"], example.answer) == (case["value"], case["gold"].strip())
        assert answer(NUMERIC, example, example.answer).value == "correct"


@pytest.mark.parametrize("case", CASES["answers"], ids=lambda c: f"{c['gold'][:20]}: {c['response'][:40]}")
def test_answers_are_compared_by_exact_value(case: dict[str, Any]) -> None:
    example = NUMERIC.read(row(question="How many?", answer=case["gold"]))
    assert answer(NUMERIC, example, case["response"]).value == ("correct" if case["right"] else "wrong")


@pytest.mark.parametrize(
    ("value", "gold", "learned"),
    [
        (48, "48", "48"),
        (Decimal("12.50"), "12.5", "12.5"),
        (1e22, "10000000000000000000000", "10000000000000000000000"),
        (10**30 + 1, f"{10**30 + 1}", f"{10**30 + 1}"),
        (Decimal("0.1234567890123456789"), "0.1234567890123456789", "0.1234567890123456789"),
        (0.1, "0.1", "0.1"),
        (Decimal("1E-30"), "0." + "0" * 29 + "1", "0." + "0" * 29 + "1"),
    ],
)
def test_numbers_of_json_and_parquet_are_taken_as_they_are(value: Any, gold: str, learned: str) -> None:
    example = NUMERIC.read(row(question="How many?", answer=value))
    assert (NUMERIC.gold(example), example.answer) == (gold, learned)
    assert answer(NUMERIC, example, gold).value == "correct"


@pytest.mark.parametrize(
    "value", [float("inf"), True, Decimal("1E+999999"), Decimal("1E-999999"), 10**500, [1], {"a": 1}]
)
def test_what_is_no_usable_number_is_refused_with_its_value(value: Any) -> None:
    with pytest.raises(DatasetError, match=r"train\.jsonl:7: field 'answer' is .*, but expected"):
        NUMERIC.read(row(question="How many?", answer=value))


@pytest.mark.parametrize(
    ("golds", "mark"),
    [
        (["5", "6"], "."),
        (["1,234"], "."),
        (["3.5", "1.234", "1,234"], "."),
        (["1.234,56", "3,5", "1.234"], ","),
        (["1.234.567", "12,5%"], ","),
        (["1 234,5"], ","),
        (["0.577", "1.234"], "."),
        (["so 3,5 and 4.5\n#### 7"], "."),
        (["2,5 * 2 = 5\n#### 5", "6"], ","),
        (["17 / 8 = 2,125\n#### 2,125"], ","),
        (["17 / 8 = 2.125\n#### 2.125"], "."),
        (["1.000 / 4 = 250\n#### 1.000"], ","),
        (["2.5 * 2 = 5\n#### 5", "1.5 * 2 = 3\n#### 3", "2,5 * 2 = 5\n#### 5"], "."),
        (["1,000 / 4 = 250\n#### 250"], "."),
    ],
)
def test_a_comma_is_settled_for_all_files(golds: list[str], mark: str) -> None:
    seen = [GoldNumber(f"f:{i}", gold) for i, gold in enumerate(golds, 1)]
    assert settle_decimal_mark(seen, "auto") == mark


@pytest.mark.parametrize(
    ("golds", "message"),
    [
        (["5", "3,5"], r"f:2: the number '3,5' could be one number with a decimal comma, or two numbers"),
        (["1.234"], r"f:1: the number '1.234' could have three decimals or be in thousands"),
        (["1,234", "1.234"], r"f:2: the number '1.234' could have three decimals"),
        (["1.234,56", "2.5"], r"f:1: .* has a decimal comma, but '2.5' at f:2 has a decimal point"),
        (["1.234,56", "1,234"], r"f:2: the number '1,234' is ambiguous: '1.234,56' at f:1"),
    ],
)
def test_what_a_comma_leaves_open_is_refused_with_the_way_out(golds: list[str], message: str) -> None:
    seen = [GoldNumber(f"f:{i}", gold) for i, gold in enumerate(golds, 1)]
    with pytest.raises(DatasetError, match=message + ".*Set task.decimal_mark to point or comma"):
        settle_decimal_mark(seen, "auto")


def test_the_mark_of_one_file_holds_for_all_and_for_the_students_answers() -> None:
    train = [row(question="a", answer="1.234,56"), row(question="b", answer="3,5")]
    files = read_all(NUMERIC, [train, [row(question="c", answer="1.234")]])
    (_, half), (thousand,) = (file.examples for file in files)
    assert (NUMERIC.gold(half), NUMERIC.gold(thousand)) == ("3,5", "1234")
    assert [answer(NUMERIC, half, text).value for text in ("3,5", "3.5", "35")] == ["correct", "correct", "wrong"]
    assert answer(NUMERIC, thousand, "das sind 1.234").value == "correct"
    assert files[0].understood.gold == "numbers have a decimal comma"


def test_the_mark_can_be_set() -> None:
    comma = make_task(TaskConfig(name="numeric", decimal_mark="comma"))
    assert comma.gold(comma.read(row(question="a", answer="3,5"))) == "3,5"
    assert comma.read(row(question="a", answer=3.5)).answer == "3,5"
    point = make_task(TaskConfig(name="numeric", decimal_mark="point"))
    assert point.gold(point.read(row(question="a", answer="1.234"))) == "1.234"
    with pytest.raises(DatasetError, match="field 'answer' is '3,5', but expected one number"):
        point.read(row(question="a", answer="3,5"))


def test_a_final_answer_gives_the_number_that_a_rationale_does_not_mark() -> None:
    example = NUMERIC.read(row(question="a", answer="Six times eight legs are 48.", final_answer="48"))
    assert (example.answer, NUMERIC.gold(example)) == ("Six times eight legs are 48.", "48")
    with pytest.raises(DatasetError, match="field 'final_answer' is '3:4', but expected one number"):
        NUMERIC.read(row(question="a", answer="48", final_answer="3:4"))


def test_numbers_are_shown_and_told_in_the_notation_of_the_rows() -> None:
    task = make_task(TaskConfig(name="numeric", decimal_mark="comma"))
    source = task.read(row(question="a", answer="3 * 2,50 = 7,50\n#### 7,50"))
    assert task.show(source)["final_number"] == task.gold(source) == "7,5"
    verdict = answer(task, source, "#### 7,25")
    assert (verdict.extracted, verdict.reason) == ("7,25", "7,25 is not 7,5")
    with pytest.raises(DatasetError, match="field 'final_answer' is '7,4', but the answer ends in 7,5"):
        task.read(row(question="a", answer="7,50", final_answer="7,4"))


@pytest.mark.parametrize(
    ("reasoning", "number", "value", "reason"),
    [
        ("2,5 * 2 = 5", "5", "correct", "1 calculations hold"),
        ("17 / 8 = 2,125", "2,125", "correct", "1 calculations hold"),
        ("17 / 8 = 2.125", "2.125", "wrong", "does not hold: 17 / 8 = 2.125 (read with a decimal comma)"),
        ("2,5 * 2 = 6 oder 1,5", "1,5", "wrong", "does not hold: 2,5 * 2 = 6 (read with a decimal comma)"),
        ("2,5 * 3 = 7,5", "7,4", "wrong", "the reasoning ends in 7,5, the answer is 7,4"),
    ],
)
@pytest.mark.parametrize("end", ["#### {}", "$\\boxed{{{}}}$"])
def test_a_draft_is_read_written_and_checked_in_the_notation_of_the_rows(
    reasoning: str, number: str, value: str, reason: str, end: str
) -> None:
    task = make_task(TaskConfig(name="numeric", decimal_mark="comma"))
    source = task.read(row(question="a", answer="3 * 2,50 = 7,50\n" + end.format("7,50")))
    draft = {"question": "b", "reasoning": reasoning, "final_number": number}
    made = task.compose(draft, source=source, given={}, example_id="s")
    assert isinstance(made, Example)
    assert made.answer == f"{reasoning}\n" + end.format(number.replace(".", ""))
    verdict = task.verify_label(made)
    assert (verdict.value, verdict.reason) == (value, reason)
    assert answer(task, made, made.answer).value == "correct"


@pytest.mark.parametrize(
    ("reasoning", "number", "value"),
    [
        ("Elle gagne 200 * 350 = 70 000 $.", "70 000", "unscored"),
        ("Elle paie 1 250 €.", "1250", "unscored"),
        ("There are 3 500 ml bottles.", "500", "unscored"),
        ("Elle gagne 70 000 $.", "60000", "wrong"),
    ],
)
def test_a_rationale_may_end_in_a_number_whose_groups_are_spaced(reasoning: str, number: str, value: str) -> None:
    source = NUMERIC.read(row(question="a", answer="2 * 3 = 6\n#### 6"))
    draft = {"question": "b", "reasoning": reasoning, "final_number": number}
    made = NUMERIC.compose(draft, source=source, given={}, example_id="s")
    assert isinstance(made, Example)
    assert NUMERIC.verify_label(made).value == value


STEPS = "#### Step 1: Count the eggs\n6 * 8 = 48\n#### 2. Add two\n48 + 2 = 50"


@pytest.mark.parametrize(
    ("response", "value"),
    [(f"{STEPS}\n#### 50", "correct"), (f"{STEPS}\n#### Answer\n\\boxed{{50}}", "correct"), (STEPS, "correct")],
)
def test_a_heading_is_no_mark_of_the_answer(response: str, value: str) -> None:
    example = NUMERIC.read(row(question="a", answer=f"{STEPS}\n#### $50"))
    assert (NUMERIC.gold(example), NUMERIC.show(example)["reasoning"]) == ("50", STEPS)
    assert answer(NUMERIC, example, response).value == value


@pytest.mark.parametrize("end", ["#### 50", "$\\boxed{50}$"])
def test_a_draft_keeps_its_headings_and_the_mark_of_its_source(end: str) -> None:
    source = NUMERIC.read(row(question="a", answer=f"#### Step 1\n49 + 1 = 50\n{end}"))
    draft = {"question": "b", "reasoning": STEPS, "final_number": "50"}
    made = NUMERIC.compose(draft, source=source, given={}, example_id="s")
    assert isinstance(made, Example) and made.answer == f"{STEPS}\n{end}"
    assert NUMERIC.verify_label(made).reason == "2 calculations hold"


def test_a_draft_whose_reasoning_is_only_the_answer_is_refused() -> None:
    source = NUMERIC.read(row(question="a", answer="6 * 8 = 48\n#### 48"))
    draft = {"question": "b", "reasoning": "#### 50", "final_number": "50"}
    made = NUMERIC.compose(draft, source=source, given={}, example_id="s")
    assert made == DraftProblem(reason="field 'reasoning' is missing or empty")


def test_a_draft_is_boxed_where_its_source_is() -> None:
    source = NUMERIC.read(row(question="a", answer="Half of it is $\\boxed{\\frac{1}{2}}$."))
    assert NUMERIC.show(source)["reasoning"] == "Half of it is"
    draft = {"question": "b", "reasoning": "A third of it is $\\boxed{9}$", "final_number": "1/3"}
    made = NUMERIC.compose(draft, source=source, given={}, example_id="s")
    assert made == made.model_copy(update={"answer": "A third of it is\n$\\boxed{1/3}$"})  # type: ignore[union-attr]


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9))
def test_a_number_survives_being_written_and_read(value: Decimal) -> None:
    number = Number(Fraction(value))
    assert exact(value) == parse_number(format_number(number)) == number


@given(
    st.fractions() | st.decimals(allow_nan=False, allow_infinity=False, places=3).map(Fraction),
    st.booleans(),
    st.sampled_from(".,"),
)
def test_a_fraction_survives_being_written_and_read(value: Fraction, percent: bool, mark: DecimalMark) -> None:
    number = Number(value, percent)
    read = parse_number(format_number(number, mark), mark)
    assert read is not None and same_number(read, number)


@given(st.text(alphabet="0123456789.,'_ eE^x×*/%-+$€½²\\{}frac#:k\n") | st.text())
def test_no_text_breaks_the_reading_of_a_number(text: str) -> None:
    read_gold(text), find_answer(text), find_answer(f"#### {text}"), read_gold(f"\\boxed{{{text}}}", ",")


@pytest.mark.parametrize(
    "unit",
    [
        "1,111,",
        "1",
        "1.",
        "1/",
        "1:",
        "1 ",
        "\\boxed{",
        "\\frac{",
        "####",
        "2^",
        "1e",
        "²",
        "½",
        "-",
        "2^(",
        "A$",
        "3 x 10^",
    ],
)
def test_long_answers_are_read_in_a_time_that_grows_with_their_length(unit: str) -> None:
    """40,000 characters: where each start looks at all that follows, this takes minutes."""
    text = unit * (40_000 // len(unit))
    find_answer(text), read_gold(text), check_calculations(text), check_calculations(f"<<{text}={text}>>")


@pytest.mark.parametrize("formula", ["1e999999999", "9**9**9", "(" * 150 + "1", "1" * 150 + "e9"])
def test_annotations_compute_nothing_but_plain_arithmetic(formula: str) -> None:
    assert check_calculations(f"<<{formula}=5>>").n_checked == 0


def test_a_prediction_without_a_number_is_wrong() -> None:
    example = NUMERIC.read(row(question="a", answer="5"))
    verdict = NUMERIC.verify(example, Prediction(example_id="x", response="at 12:30"))
    assert (verdict.value, verdict.reason) == ("wrong", "no number found")
