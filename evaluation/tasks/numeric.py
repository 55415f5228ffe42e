"""Questions whose answer is a number, usually at the end of a rationale."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from random import Random
from types import MappingProxyType
from typing import ClassVar, TypeGuard

from pada_agent.core.raw_rows import RawRow, Settled
from pada_agent.core.records import Confusion, Example, Prediction, Verdict
from pada_agent.core.thoughts import take_answer
from pada_agent.evaluation.rows.cells import to_nfc
from pada_agent.evaluation.rows.decimal_mark import GoldNumber, settle_decimal_mark
from pada_agent.evaluation.rows.forms import Fields
from pada_agent.evaluation.task import DraftProblem, OpenQuestion, Task
from pada_agent.evaluation.tasks.drafts import find_empty_field, keep_turns, tell_turns, whole_question
from pada_agent.evaluation.tasks.instruction import instruct
from pada_agent.evaluation.tasks.row_reader import RowReader
from pada_agent.evaluation.verifiers.arithmetic import check_calculations
from pada_agent.evaluation.verifiers.number import (
    DecimalMark,
    Number,
    exact,
    find_answer,
    find_marked,
    find_numbers,
    format_number,
    parse_number,
    read_gold,
    same_number,
)
from pada_agent.evaluation.verifiers.number_notation import join_groups

NO_NUMBER = (
    "expected one number: alone, behind #### on the last line, or in \\boxed{} (a time, a date, a ratio, a list, or a number"
    " with words that change it is none)"
)

_SENTENCE_END = re.compile(r"[.!?]\s|\n")


class Numeric(Task):
    """A number, with or without a rationale that ends in `#### number`.

        {"question": "How many legs do six spiders have?", "answer": "6 * 8 = 48\\n#### 48"}
        {"question": "How many legs do six spiders have?", "answer": "48"}

    The student is trained on `answer` as it is, also when it comes as `messages`. Its gold is one number: the whole
    answer, the number after `####`, or the content of `\\boxed{}`; any other row is refused (`verifiers.number` says what
    a number is). A column `final_answer`, if there, has to agree with it, and gives it where the answer marks none.
    """

    name: ClassVar[str] = "numeric"
    fields: Fields = MappingProxyType(
        {"question": ("question",), "answer": ("answer",), "final_answer": ("final_answer",)}
    )
    max_new_tokens = 256
    compares_answers = True
    variety = "Each new problem has its own story, people and numbers."
    default_instruction: ClassVar[str] = ""

    def settle(self, files: Sequence[Sequence[RawRow]]) -> list[Settled]:
        """Also decides between decimal point and decimal comma, for all files."""
        settled = super().settle(files)
        golds = [gold for seen in self.look_at(files, settled, _list_golds) for gold in seen]
        mark = settle_decimal_mark(golds, self.config.decimal_mark)
        return [form.model_copy(update={"decimal_mark": mark}) for form in settled]

    def read(self, row: RawRow) -> Example:
        reader = self.reader(row)
        number = _read_gold(reader)
        question, answer = reader.text("question"), _read_answer(reader)
        return reader.with_turns(
            self._build(question, answer, reader.row_id(question, answer), number, reader.settled.decimal_mark)
        )

    def verify(self, example: Example, prediction: Prediction) -> Verdict:
        """Numbers are compared by value: `$1,200.0` equals `1200`, and `3/4` equals `0.75`."""
        mark, gold = _mark(example), self.gold(example)
        found = find_answer(prediction.response, mark)
        if found.number is None:
            cut = "; the response was cut off" if prediction.truncated else ""
            return Verdict(example_id=example.id, value="wrong", reason=f"no number found{cut}")
        readings = [number for number in (found.number, found.apart) if number is not None]
        right = next((number for number in readings if _is_gold(number, example)), None)
        notes = [] if right else [f"{format_number(found.number, mark)} is not {gold}"]
        is_unmarked = not found.marked and find_marked(example.answer, mark) is not None
        notes += ["no '#### number', took the last number"] if is_unmarked else []
        notes += ["the response was cut off"] if prediction.truncated else []
        return Verdict(
            example_id=example.id,
            value="correct" if right else "wrong",
            extracted=format_number(right or found.number, mark),
            reason="; ".join(notes),
        )

    def draft_fields(self) -> dict[str, str]:
        return {
            "question": "the problem, with every figure that is needed to solve it",
            "reasoning": "the solution step by step, each calculation written out, such as 6 * 8 = 48",
            "final_number": "the final number alone, in digits, such as 48",
        }

    def show(self, example: Example) -> dict[str, str]:
        reasoning = _before_number(example.answer, _mark(example)).strip()
        written = {"reasoning": reasoning, "final_number": self.gold(example)}
        return {"question": example.reference["question"], **written, **tell_turns(example)}

    def assign(self, source: Example, confusions: Sequence[Confusion], rng: Random) -> dict[str, str]:
        del confusions, rng
        return tell_turns(source)

    def compose(
        self, draft: Mapping[str, str], *, source: Example, given: Mapping[str, str], example_id: str
    ) -> Example | DraftProblem:
        """Written like the source: rationale and `#### number` or `\\boxed{number}`, or the number alone."""
        del given
        mark = _mark(source)
        is_bare = parse_number(source.answer, mark) is not None
        reasoning = _before_number(to_nfc(draft.get("reasoning", "")), mark).strip()
        needed = ["question", "final_number"] if is_bare else self.draft_fields()
        problem = find_empty_field({**draft, "reasoning": reasoning}, needed)
        if problem:
            return problem
        number = _only_number(draft["final_number"], mark)
        if number is None:
            return DraftProblem(reason=f"final_number '{draft['final_number']}' does not hold one number")
        question, written = to_nfc(draft["question"].strip()), format_number(number, mark)
        is_boxed = "boxed" in source.answer and find_marked(source.answer, mark) is None
        end = f"$\\boxed{{{written}}}$" if is_boxed else f"#### {written}"
        answer = written if is_bare else f"{reasoning}\n{end}"
        return keep_turns(source, self._build(question, answer, example_id, number, mark))

    def verify_label(self, example: Example) -> Verdict:
        """The rationale must end in the answer, and its calculations must be right.

        It ends in the result after its last `=`, or in a number of its last sentence.
        """
        mark, gold = _mark(example), self.gold(example)
        reasoning = _before_number(example.answer, mark)
        ends = _list_ends(reasoning, mark)
        if ends and not any(_is_gold(end, example) for end in ends):
            last = format_number(ends[-1], mark)
            reason = f"the reasoning ends in {last}, the answer is {gold}"
            return Verdict(example_id=example.id, value="wrong", extracted=last, reason=reason)
        calculations = check_calculations(reasoning, mark)
        if calculations.wrong:
            note = " (read with a decimal comma)" if mark == "," else ""
            reason = f"does not hold: {'; '.join(calculations.wrong)}{note}"
            return Verdict(example_id=example.id, value="wrong", extracted=gold, reason=reason)
        if not calculations.n_checked:
            return Verdict(example_id=example.id, value="unscored", reason="the reasoning spells out no calculation")
        reason = f"{calculations.n_checked} calculations hold"
        return Verdict(example_id=example.id, value="correct", extracted=gold, reason=reason)

    def pose(self, example: Example, rng: Random) -> OpenQuestion:
        del rng
        return OpenQuestion(question=whole_question(example))

    def word_answer(self, answer: str, posed: OpenQuestion) -> str | None:
        """None also for an answer without digits: `twelve` does not say that 12 is wrong."""
        return super().word_answer(answer, posed) if find_answer(answer).number is not None else None

    def gold(self, example: Example) -> str:
        """The right number, in the notation of the rows."""
        return str(example.reference["number"]).replace(".", _mark(example))

    def solution(self, example: Example) -> str:
        """The whole rationale, which shows where a wrong one goes astray."""
        return example.answer

    def _build(self, question: str, answer: str, example_id: str, number: Number, mark: DecimalMark) -> Example:
        reference = {"question": question, "number": format_number(number)}
        return Example(
            id=example_id,
            prompt=instruct(self.config.instruction or self.default_instruction, question),
            answer=answer,
            reference=reference | ({"decimal_mark": ","} if mark == "," else {}),
        )


def _read_answer(reader: RowReader) -> str:
    """The text to learn. A number that is not a text is written in plain notation."""
    value = reader.value("answer")
    number = exact(value) if _is_number(value) else None
    return reader.text("answer").strip() if number is None else format_number(number, reader.settled.decimal_mark)


def _read_gold(reader: RowReader) -> Number:
    """The row's one number.

    Raises:
        DatasetError: the answer is not a single number, or `final_answer` is a different one.
    """
    number = _read_number(reader, "answer")
    final = _read_number(reader, "final_answer") if reader.has("final_answer") else None
    if final is None and reader.has("final_answer"):
        reader.fail("final_answer", NO_NUMBER)
    if number is None and final is not None:
        number = find_answer(take_answer(reader.text("answer")), reader.settled.decimal_mark).number
    if number is None:
        reader.fail("answer", NO_NUMBER)
    if final is not None and not same_number(number, final):
        reader.fail("final_answer", f"the answer ends in {format_number(number, reader.settled.decimal_mark)}")
    return number


def _read_number(reader: RowReader, field: str) -> Number | None:
    value = reader.value(field)
    return (
        exact(value) if _is_number(value) else read_gold(take_answer(reader.text(field)), reader.settled.decimal_mark)
    )


def _is_number(value: object) -> TypeGuard[int | float | Decimal]:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _list_golds(reader: RowReader) -> list[GoldNumber]:
    """Texts that should be numbers."""
    values = [(name, reader.value(name)) for name in ("answer", "final_answer") if reader.has(name)]
    return [GoldNumber(reader.where, take_answer(value)) for _, value in values if isinstance(value, str)]


def _mark(example: Example) -> DecimalMark:
    return "," if example.reference.get("decimal_mark") == "," else "."


def _is_gold(number: Number, example: Example) -> bool:
    """`reference` holds the gold number with a decimal point, whatever the rows use."""
    wanted = parse_number(str(example.reference["number"]))
    return wanted is not None and same_number(number, wanted)


def _before_number(answer: str, mark: DecimalMark) -> str:
    """The rationale without the marked number at its end."""
    marked = find_marked(answer, mark)
    if marked is not None:
        return answer[: marked.start]
    before, boxed, _ = answer.rpartition("\\boxed")
    return before.rstrip("$ ") if boxed else answer


def _list_ends(reasoning: str, mark: DecimalMark) -> list[Number]:
    """The first number after the last `=`, and those of the last sentence that has any. A space may group digits or not."""
    _, equals, rest = reasoning.rpartition("=")
    ends: list[Number] = []
    for text in dict.fromkeys((rest, join_groups(rest))):
        ends += find_numbers(text, mark)[:1] if equals else []
        sentences = (find_numbers(sentence, mark) for sentence in reversed(_SENTENCE_END.split(text)))
        ends += next(filter(None, sentences), [])
    return ends


def _only_number(text: str, mark: DecimalMark) -> Number | None:
    """The number, or the only one in the text: weak writers put words and brackets around it."""
    whole, answer, found = parse_number(text, mark), find_answer(text, mark), find_numbers(join_groups(text), mark)
    if whole is not None or answer.marked:
        return whole if whole is not None else answer.number
    return found[0] if len(found) == 1 else None
