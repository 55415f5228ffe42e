"""Questions answered by a span of a passage."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import ClassVar

from pada_agent.core.ports import RawRow
from pada_agent.core.records import Confusion, Example, Prediction, Verdict
from pada_agent.evaluation.task import DraftProblem, Task
from pada_agent.evaluation.tasks.drafts import find_empty_field
from pada_agent.evaluation.tasks.instruction import instruct
from pada_agent.evaluation.tasks.row_reader import RowReader
from pada_agent.evaluation.verifiers.span import exact_match, find_span, token_f1
from pada_agent.evaluation.verifiers.text import same_text


class ExtractiveQa(Task):
    """A passage, a question, and one or more accepted spans.

        {"question": "What feeds the lake?", "answers": {"text": ["two springs", "springs"]},
         "context": "The lake above the village is fed by two springs and freezes in most winters."}

    `answers` may also be a list of strings, or `answer` a single one. The student is trained on the first.
    Exact match decides the verdict; F1 stands beside it.
    """

    name: ClassVar[str] = "extractive_qa"
    max_new_tokens = 48
    default_instruction: ClassVar[str] = "Answer the question with the exact words of the passage, as few as possible."

    def read(self, row: RawRow) -> Example:
        reader = RowReader(row, self.config.columns)
        question, passage = reader.text("question"), reader.text("context", "passage")
        answers = _read_answers(reader)
        return self._build(question, passage, answers, reader.row_id(f"{passage}\n{question}", answers[0]))

    def verify(self, example: Example, prediction: Prediction) -> Verdict:
        golds: list[str] = example.reference["answers"]
        found = prediction.response.strip()
        right = exact_match(found, golds)
        return Verdict(
            example_id=example.id,
            value="correct" if right else "wrong",
            extracted=found,
            reason="" if right else f"expected {self.gold(example)}",
            f1=token_f1(found, golds),
        )

    def draft_fields(self) -> dict[str, str]:
        return {
            "question": "a new question that the passage answers",
            "answer": "the answer, copied word for word from the passage, as short as possible",
        }

    def show(self, example: Example) -> dict[str, str]:
        reference = example.reference
        return {"question": reference["question"], "answer": example.answer, "passage": reference["passage"]}

    def assign(self, source: Example, confusions: Sequence[Confusion], rng: Random) -> dict[str, str]:
        """The source's passage: a new question on it keeps the answer checkable."""
        del confusions, rng
        return {"passage": source.reference["passage"]}

    def compose(
        self, draft: Mapping[str, str], *, source: Example, given: Mapping[str, str], example_id: str
    ) -> Example | DraftProblem:
        problem = find_empty_field(draft, self.draft_fields())
        if problem:
            return problem
        question, answer = draft["question"].strip(), draft["answer"].strip()
        passage = given.get("passage", source.reference["passage"])
        if same_text(question, source.reference["question"]):
            return DraftProblem(reason="the question is the source's own; ask something else about the passage")
        span = find_span(answer, passage)
        if span is None:
            return DraftProblem(reason=f"the answer '{answer}' does not stand word for word in the passage")
        return self._build(question, passage, [span], example_id)

    def verify_label(self, example: Example) -> Verdict:
        """The answer stands in the passage; whether it answers the question is for an LLM to say."""
        if find_span(example.answer, example.reference["passage"]):
            return Verdict(example_id=example.id, value="correct", extracted=example.answer)
        reason = f"'{example.answer}' does not stand word for word in the passage"
        return Verdict(example_id=example.id, value="wrong", extracted=example.answer, reason=reason)

    def gold(self, example: Example) -> str:
        return " / ".join(dict.fromkeys(example.reference["answers"]))

    def _build(self, question: str, passage: str, answers: list[str], example_id: str) -> Example:
        body = f"{passage}\n\nQuestion: {question}"
        return Example(
            id=example_id,
            prompt=instruct(self.config.instruction or self.default_instruction, body),
            answer=answers[0],
            reference={"question": question, "passage": passage, "answers": answers},
        )


def _read_answers(reader: RowReader) -> list[str]:
    field = reader.first("answers", "answer")
    found = reader.value(field)
    if isinstance(found, Mapping):
        found = found.get("text")
    texts = [found] if isinstance(found, str) else list(found) if isinstance(found, list | tuple) else []
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        reader.fail(field, "expected one or more answers as {text: [...]}, a list of strings, or a string")
    return texts
