"""Questions with one short answer, compared word for word."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import ClassVar

from pada_agent.core.ports import RawRow
from pada_agent.core.records import Confusion, Example, Prediction, Verdict
from pada_agent.evaluation.task import DraftProblem, OpenQuestion, Task
from pada_agent.evaluation.tasks.drafts import assign_label, find_empty_field
from pada_agent.evaluation.tasks.gold_option import find_gold
from pada_agent.evaluation.tasks.instruction import instruct
from pada_agent.evaluation.tasks.row_reader import RowReader
from pada_agent.evaluation.verifiers.option_label import pick_option
from pada_agent.evaluation.verifiers.text import same_text


class ExactMatch(Task):
    """The student writes the answer; case and white space do not count.

        {"question": "Which country has Tallinn as its capital?", "answer": "Estonia"}

    With `config.labels` the answer is one of a closed set, and rows are like those of `multiple_choice`; the student
    still writes it, and anything beside the label is wrong.
    """

    name: ClassVar[str] = "exact_match"

    def read(self, row: RawRow) -> Example:
        reader = RowReader(row, self.config.columns)
        question, answer = reader.text("question"), self._read_answer(reader)
        return self._build(question, answer, reader.row_id(question, answer))

    def verify(self, example: Example, prediction: Prediction) -> Verdict:
        found = prediction.response.strip()
        if same_text(found, example.answer):
            return Verdict(example_id=example.id, value="correct", extracted=found)
        reason = f"expected {example.answer!r}" + ("; the response was cut off" if prediction.truncated else "")
        return Verdict(example_id=example.id, value="wrong", extracted=found, reason=reason)

    def draft_fields(self) -> dict[str, str]:
        if self.config.labels:
            return {"question": "the message or question only, without naming its label"}
        return {"question": "the question only", "answer": "the right answer, as short as in the example"}

    def show(self, example: Example) -> dict[str, str]:
        question, answer = {"question": example.reference["question"]}, example.answer
        if self.config.labels:
            return question | {"label": answer, "definition": self.config.labels[answer]}
        return question | {"answer": answer}

    def assign(self, source: Example, confusions: Sequence[Confusion], rng: Random) -> dict[str, str]:
        return assign_label(self.config.labels, source.answer, confusions, rng) if self.config.labels else {}

    def compose(
        self, draft: Mapping[str, str], *, source: Example, given: Mapping[str, str], example_id: str
    ) -> Example | DraftProblem:
        problem = find_empty_field(draft, self.draft_fields())
        if problem:
            return problem
        answer = given.get("label", source.answer) if self.config.labels else draft["answer"].strip()
        if self.config.labels and answer not in self.config.labels:
            return DraftProblem(reason=f"'{answer}' is not one of the labels {', '.join(self.config.labels)}")
        return self._build(draft["question"].strip(), answer, example_id)

    def pose(self, example: Example, rng: Random) -> OpenQuestion:
        """Labels are options; without them the answer is written freely."""
        labels = list(self.config.labels)
        return OpenQuestion(
            question=example.reference["question"],
            options=tuple(rng.sample(labels, len(labels))),
            notes=dict(self.config.labels),
        )

    def agrees(self, example: Example, answer: str, posed: OpenQuestion) -> bool:
        if posed.options:
            return pick_option(answer, posed.options) == example.answer
        return same_text(answer.strip().strip("."), example.answer.strip("."))

    def chance(self, example: Example) -> float | None:
        del example
        return 1 / len(self.config.labels) if self.config.labels else None

    def closed_label(self, example: Example) -> str | None:
        return example.answer if self.config.labels else None

    def _read_answer(self, reader: RowReader) -> str:
        if not self.config.labels:
            return reader.text("answer").strip()
        field = reader.first("answer", "label")
        labels = tuple(self.config.labels)
        gold = find_gold(reader.value(field), labels, labels)
        if gold is None:
            reader.fail(field, f"the options are {', '.join(labels)}")
        return labels[gold]

    def _build(self, question: str, answer: str, example_id: str) -> Example:
        return Example(
            id=example_id,
            prompt=instruct(self.config.instruction, question),
            answer=answer,
            reference={"question": question},
        )
