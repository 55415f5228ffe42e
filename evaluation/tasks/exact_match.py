"""Questions with one short answer, compared word for word."""

from collections.abc import Mapping, Sequence
from functools import partial
from random import Random
from typing import ClassVar

from pada_agent.core.config import TaskConfig
from pada_agent.core.raw_rows import RawRow, Settled
from pada_agent.core.records import Confusion, Example, Prediction, Verdict
from pada_agent.core.thoughts import take_answer
from pada_agent.core.wording import agree, count
from pada_agent.evaluation.rows.answers import list_answers
from pada_agent.evaluation.rows.cells import to_nfc
from pada_agent.evaluation.rows.forms import Fields
from pada_agent.evaluation.task import DraftProblem, OpenQuestion, Task
from pada_agent.evaluation.tasks.closed_labels import read_label, see_label, settle_labels
from pada_agent.evaluation.tasks.drafts import (
    CLOSED_VARIETY,
    assign_label,
    find_empty_field,
    keep_turns,
    tell_turns,
    whole_question,
)
from pada_agent.evaluation.tasks.instruction import instruct
from pada_agent.evaluation.tasks.row_reader import RowReader
from pada_agent.evaluation.verifiers.solver_answer import pick_option
from pada_agent.evaluation.verifiers.text import find_same, same_text


class ExactMatch(Task):
    """The student writes the answer. Case, white space, invisible characters, and whether quotation marks and dashes are printed
    or typed do not matter.

        {"question": "Which country has Tallinn as its capital?", "answer": "Estonia"}

    A list of answers (`answers`, or `answer` with aliases) gives further right answers; the student is trained on the
    first.

    With `config.labels`, the answer is one of a closed set, and rows look like those of `multiple_choice`. The student
    still writes the label, and any text besides it makes the answer wrong.
    """

    name: ClassVar[str] = "exact_match"

    def __init__(self, config: TaskConfig) -> None:
        answers = ("answer", "label") if config.labels else ("answer", "answers")
        self.fields: Fields = {"question": ("question",), "answer": answers}
        super().__init__(config)
        if config.labels:
            self.variety = CLOSED_VARIETY

    def settle(self, files: Sequence[Sequence[RawRow]]) -> list[Settled]:
        settled = super().settle(files)
        if not self.config.labels:
            return settled
        seen = self.look_at(files, settled, partial(see_label, config=self.config))
        return settle_labels(seen, settled, self.config)

    def read(self, row: RawRow) -> Example:
        reader = self.reader(row)
        question, answers = reader.text("question"), self._read_answers(reader)
        example = self._build(question, answers[0], reader.row_id(question, answers[0]), also=answers[1:])
        return reader.with_turns(example)

    def verify(self, example: Example, prediction: Prediction) -> Verdict:
        """A wrong answer that names another label, in whatever form, is noted as that label, because errors are grouped by the mix-up."""
        found = prediction.response.strip()
        if any(same_text(found, answer) for answer in _accepted(example)):
            return Verdict(example_id=example.id, value="correct", extracted=found)
        reason = f"expected {self.gold(example)!r}" + ("; the response was cut off" if prediction.truncated else "")
        taken_for = find_same(found, [label for label in self.config.labels if label != example.answer])
        return Verdict(example_id=example.id, value="wrong", extracted=taken_for or found, reason=reason)

    def draft_fields(self) -> dict[str, str]:
        if self.config.labels:
            return {"question": "the message or question only, without naming its label"}
        return {"question": "the question only", "answer": "the right answer, as short as in the example"}

    def show(self, example: Example) -> dict[str, str]:
        question, answer = {"question": example.reference["question"]}, example.answer
        if self.config.labels:
            facts = {"label": answer, "definition": self.config.labels[answer]}
            return question | facts | tell_turns(example)
        return question | {"answer": answer} | tell_turns(example)

    def assign(self, source: Example, confusions: Sequence[Confusion], rng: Random) -> dict[str, str]:
        label = assign_label(self.config.labels, source.answer, confusions, rng) if self.config.labels else {}
        return label | tell_turns(source)

    def compose(
        self, draft: Mapping[str, str], *, source: Example, given: Mapping[str, str], example_id: str
    ) -> Example | DraftProblem:
        problem = find_empty_field(draft, self.draft_fields())
        if problem:
            return problem
        answer = given.get("label", source.answer) if self.config.labels else draft["answer"].strip()
        if self.config.labels and answer not in self.config.labels:
            return DraftProblem(reason=f"'{answer}' is not one of the labels {', '.join(self.config.labels)}")
        if "\n" in answer and "\n" not in source.answer:  # a list of answers comes as lines
            return DraftProblem(reason=f"'{answer}' has several lines: give one answer, in the form of the example's")
        return keep_turns(source, self._build(to_nfc(draft["question"].strip()), to_nfc(answer), example_id))

    def gold(self, example: Example) -> str:
        return " / ".join(_accepted(example))

    def pose(self, example: Example, rng: Random) -> OpenQuestion:
        """Labels are options. Without labels, the answer is free text."""
        labels = list(self.config.labels)
        return OpenQuestion(
            question=whole_question(example),
            options=tuple(rng.sample(labels, len(labels))),
            notes=dict(self.config.labels),
        )

    def agrees(self, example: Example, answer: str, posed: OpenQuestion) -> bool:
        if posed.options:
            return pick_option(answer, posed.options) == example.answer
        return any(same_text(answer.strip().strip("."), accepted.strip(".")) for accepted in _accepted(example))

    def chance(self, example: Example) -> float | None:
        del example
        return 1 / len(self.config.labels) if self.config.labels else None

    def closed_label(self, example: Example) -> str | None:
        return example.answer if self.config.labels else None

    def list_doubts(self, examples: Sequence[Example]) -> list[str]:
        """Rows with several answers, which could also be meant as one answer of several parts."""
        several = [golds for example in examples if len(golds := _accepted(example)) > 1]
        if not several:
            return []
        n, shown = len(several), " or ".join(f"{gold[:60]!r}" for gold in several[0][:2])
        return [
            f"{count(n, 'row')} {agree(n, 'lists', 'list')} several answers, such as {shown}: any one counts as right,"
            " and the first is learned"
        ]

    def _read_answers(self, reader: RowReader) -> list[str]:
        if self.config.labels:
            return [read_label(reader, self.config)]
        holds_lists = reader.is_called("answer", "answers")
        answers = list_answers(reader.nested("answer") if holds_lists else reader.value("answer"))
        if not answers:
            reader.fail("answer", "expected one answer, or a list of answers that are right")
        return answers

    def _build(self, question: str, answer: str, example_id: str, also: Sequence[str] = ()) -> Example:
        golds = [take_answer(text) for text in (answer, *also)]
        return Example(
            id=example_id,
            prompt=instruct(self.config.instruction, question),
            answer=answer,
            reference={"question": question, **({"answers": golds} if golds != [answer] else {})},
        )


def _accepted(example: Example) -> list[str]:
    return list(example.reference.get("answers") or [example.answer])
