"""Questions whose answer is a number, usually at the end of a rationale."""

from collections.abc import Mapping
from decimal import Decimal
from random import Random
from typing import ClassVar

from pada_agent.core.ports import RawRow
from pada_agent.core.records import Example, Prediction, Verdict
from pada_agent.evaluation.task import DraftProblem, OpenQuestion, Task
from pada_agent.evaluation.tasks.drafts import find_empty_field
from pada_agent.evaluation.tasks.instruction import instruct
from pada_agent.evaluation.tasks.row_reader import RowReader
from pada_agent.evaluation.verifiers.arithmetic import check_calculations
from pada_agent.evaluation.verifiers.number import find_answer, find_numbers, format_number, parse_number


class Numeric(Task):
    """A number, with or without a rationale that ends in `#### number`.

        {"question": "How many legs do six spiders have?", "answer": "6 * 8 = 48\\n#### 48"}
        {"question": "How many legs do six spiders have?", "answer": "48"}

    The student is trained on `answer` as it stands, also when it comes as `messages`. A column `final_answer`, if
    there, has to agree with it.
    """

    name: ClassVar[str] = "numeric"
    max_new_tokens = 256
    default_instruction: ClassVar[str] = ""

    def read(self, row: RawRow) -> Example:
        reader = RowReader(row, self.config.columns)
        question, answer = reader.text("question"), reader.text("answer").strip()
        number = find_answer(answer).value
        if number is None:
            reader.fail("answer", "expected a number in it, best as a last line '#### number'")
        if reader.has("final_answer") and parse_number(reader.text("final_answer")) != number:
            reader.fail("final_answer", f"the answer ends in {format_number(number)}")
        return self._build(question, answer, reader.row_id(question, answer))

    def verify(self, example: Example, prediction: Prediction) -> Verdict:
        """Numbers are equal by value: `$1,200.0` is `1200`."""
        found, gold = find_answer(prediction.response), self.gold(example)
        if found.value is None:
            cut = "; the response was cut off" if prediction.truncated else ""
            return Verdict(example_id=example.id, value="wrong", reason=f"no number found{cut}")
        right = found.value == parse_number(gold)
        notes = [] if right else [f"{format_number(found.value)} is not {gold}"]
        notes += [] if found.marked or "####" not in example.answer else ["no '#### number', took the last number"]
        notes += ["the response was cut off"] if prediction.truncated else []
        return Verdict(
            example_id=example.id,
            value="correct" if right else "wrong",
            extracted=format_number(found.value),
            reason="; ".join(notes),
        )

    def draft_fields(self) -> dict[str, str]:
        return {
            "question": "the problem, with every figure that is needed to solve it",
            "reasoning": "the solution step by step, each calculation written out, such as 6 * 8 = 48",
            "final_number": "the final number alone, in digits, such as 48",
        }

    def show(self, example: Example) -> dict[str, str]:
        reasoning = example.answer.partition("####")[0].strip()
        return {"question": example.reference["question"], "reasoning": reasoning, "final_number": self.gold(example)}

    def compose(
        self, draft: Mapping[str, str], *, source: Example, given: Mapping[str, str], example_id: str
    ) -> Example | DraftProblem:
        """Written like the source: rationale and `#### number`, or the number alone."""
        del given
        bare = parse_number(source.answer) is not None
        problem = find_empty_field(draft, ["question", "final_number"] if bare else self.draft_fields())
        if problem:
            return problem
        number = _only_number(draft["final_number"])
        if number is None:
            return DraftProblem(reason=f"final_number '{draft['final_number']}' does not hold one number")
        reasoning = draft.get("reasoning", "").partition("####")[0].strip()
        answer = format_number(number) if bare else f"{reasoning}\n#### {format_number(number)}"
        return self._build(draft["question"].strip(), answer, example_id)

    def verify_label(self, example: Example) -> Verdict:
        """The rationale's last number, or its last result after `=`, is the answer; and its calculations hold."""
        reasoning, gold = example.answer.partition("####")[0], self.gold(example)
        ends = [*find_numbers(reasoning)[-1:], *find_numbers(reasoning.rpartition("=")[2])[:1]]
        if ends and parse_number(gold) not in ends:
            reason = f"the reasoning ends in {format_number(ends[0])}, the answer is {gold}"
            return Verdict(example_id=example.id, value="wrong", extracted=format_number(ends[0]), reason=reason)
        calculations = check_calculations(reasoning)
        if calculations.wrong:
            reason = f"does not hold: {'; '.join(calculations.wrong)}"
            return Verdict(example_id=example.id, value="wrong", extracted=gold, reason=reason)
        if not calculations.n_checked:
            return Verdict(example_id=example.id, value="unscored", reason="the reasoning spells out no calculation")
        reason = f"{calculations.n_checked} calculations hold"
        return Verdict(example_id=example.id, value="correct", extracted=gold, reason=reason)

    def pose(self, example: Example, rng: Random) -> OpenQuestion:
        del rng
        return OpenQuestion(question=example.reference["question"])

    def gold(self, example: Example) -> str:
        return str(example.reference["number"])

    def solution(self, example: Example) -> str:
        """The whole rationale, which tells where a wrong one leaves the path."""
        return example.answer

    def _build(self, question: str, answer: str, example_id: str) -> Example:
        number = find_answer(answer).value
        return Example(
            id=example_id,
            prompt=instruct(self.config.instruction or self.default_instruction, question),
            answer=answer,
            reference={"question": question, "number": format_number(number) if number is not None else ""},
        )


def _only_number(text: str) -> Decimal | None:
    """The number, or the only one in the text: weak writers put words and brackets around it."""
    whole, answer, found = parse_number(text), find_answer(text), find_numbers(text)
    if whole is not None or answer.marked:
        return whole if whole is not None else answer.value
    return found[0] if len(found) == 1 else None
