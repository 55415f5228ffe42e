"""Questions answered by a span of a passage."""

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar

from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Confusion, Example, Prediction, Verdict
from pada_agent.core.thoughts import take_answer
from pada_agent.evaluation.rows.answers import list_answers
from pada_agent.evaluation.rows.cells import to_nfc
from pada_agent.evaluation.rows.forms import Fields
from pada_agent.evaluation.task import DraftProblem, Task
from pada_agent.evaluation.tasks.drafts import find_empty_field, keep_turns
from pada_agent.evaluation.tasks.instruction import instruct
from pada_agent.evaluation.tasks.row_reader import RowReader
from pada_agent.evaluation.verifiers.span import (
    exact_match,
    find_span,
    keep_answerable,
    matches,
    normalize_span,
    token_f1,
    token_f1_or_none,
)
from pada_agent.evaluation.verifiers.text import same_text, write_plainly


class ExtractiveQa(Task):
    """A passage, a question, and one or more accepted spans.

        {"question": "What feeds the lake?", "answers": {"text": ["two springs", "springs"]},
         "context": "The lake above the village is fed by two springs and freezes in most winters."}

    `answers` may also be a list of strings, or `answer` a single one. The student is trained on the first.
    Exact match decides the verdict, without case, articles and punctuation, unless these are all that makes an answer another
    number or name, or an answer at all (`verifiers.span.matches`). F1 is reported as well.

    With `config.no_answer`, a question whose list of answers is empty has none: the student is told to say so in these
    words, as in SQuAD 2.0.
    """

    name: ClassVar[str] = "extractive_qa"
    max_new_tokens = 48
    variety = "Each new question asks for another detail of its passage."
    fields: Fields = MappingProxyType(
        {
            "question": ("question",),
            "passage": ("context", "passage"),
            "answers": ("answers", "answer"),
            "is_impossible": ("is_impossible",),
        }
    )
    default_instruction: ClassVar[str] = "Answer the question with the exact words of the passage, as few as possible."
    default_no_answer: ClassVar[str] = ""
    is_official: ClassVar[bool] = False
    """Whether the verdict is that of SQuAD's own evaluation, whatever punctuation it leaves out."""

    @property
    def no_answer(self) -> str:
        """What the student says if there is no answer. Empty if every question has one."""
        return self.config.no_answer.strip() or self.default_no_answer

    def read(self, row: RawRow) -> Example:
        reader = self.reader(row)
        question, passage = reader.text("question"), reader.text("passage")
        answers = self._read_answers(reader)
        first = answers[0] if answers else self.no_answer
        return reader.with_turns(
            self._build(question, passage, answers, reader.row_id(f"{passage}\n{question}", first))
        )

    def verify(self, example: Example, prediction: Prediction) -> Verdict:
        golds: list[str] = example.reference["answers"]
        found = prediction.response.strip()
        if self.no_answer:
            return self._verify_with_none(example, found, keep_answerable(golds) if self.is_official else golds or [""])
        right = self._matches(found, golds)
        return Verdict(
            example_id=example.id,
            value="correct" if right else "wrong",
            extracted=found,
            reason="" if right else f"expected {self.gold(example)}",
            f1=token_f1(self._write(found), [*map(self._write, golds)]),
        )

    def _verify_with_none(self, example: Example, found: str, golds: list[str]) -> Verdict:
        """SQuAD 2.0: the right answer to a question without one is the empty string, which the student expresses in words."""
        said = "" if normalize_span(found) == normalize_span(self.no_answer) else found
        right = self._matches(said, golds)
        return Verdict(
            example_id=example.id,
            value="correct" if right else "wrong",
            extracted=found,
            reason="" if right else f"expected {self.gold(example)}",
            f1=token_f1_or_none(self._write(said), [*map(self._write, golds)]),
        )

    def _matches(self, found: str, golds: list[str]) -> bool:
        return exact_match(found, golds) if self.is_official else matches(found, golds)

    def _write(self, text: str) -> str:
        """The text as F1 is computed from it."""
        return text if self.is_official else write_plainly(text)

    def draft_fields(self) -> dict[str, str]:
        none = f"; {self.no_answer}, if the passage does not answer the question" if self.no_answer else ""
        return {
            "question": "a new question that the passage answers",
            "answer": f"the answer, copied word for word from the passage, as short as possible{none}",
        }

    def show(self, example: Example) -> dict[str, str]:
        reference = example.reference
        return {"question": reference["question"], "answer": example.answer, "passage": reference["passage"]}

    def assign(self, source: Example, confusions: Sequence[Confusion], rng: Random) -> dict[str, str]:
        """The source's passage. A new question on the same passage keeps the answer checkable."""
        del confusions, rng
        return {"passage": source.reference["passage"]}

    def compose(
        self, draft: Mapping[str, str], *, source: Example, given: Mapping[str, str], example_id: str
    ) -> Example | DraftProblem:
        problem = find_empty_field(draft, self.draft_fields())
        if problem:
            return problem
        question, answer = to_nfc(draft["question"].strip()), to_nfc(draft["answer"].strip())
        passage = given.get("passage", source.reference["passage"])
        if same_text(question, source.reference["question"]):
            return DraftProblem(reason="the question is the source's own; ask something else about the passage")
        if self.no_answer and same_text(answer, self.no_answer):
            return keep_turns(source, self._build(question, passage, [], example_id))
        span = find_span(answer, passage)
        if span is None:
            return DraftProblem(reason=f"the answer '{answer}' does not occur word for word in the passage")
        return keep_turns(source, self._build(question, passage, [span], example_id))

    def verify_label(self, example: Example) -> Verdict:
        """The answer must occur in the passage. Whether it answers the question is for an LLM to say."""
        if not example.reference["answers"]:
            reason = "that the passage does not answer it, no exact check can tell"
            return Verdict(example_id=example.id, value="unscored", reason=reason)
        if find_span(example.answer, example.reference["passage"]):
            return Verdict(example_id=example.id, value="correct", extracted=example.answer)
        reason = f"'{example.answer}' does not occur word for word in the passage"
        return Verdict(example_id=example.id, value="wrong", extracted=example.answer, reason=reason)

    def gold(self, example: Example) -> str:
        return " / ".join(dict.fromkeys(example.reference["answers"])) or self.no_answer

    def list_doubts(self, examples: Sequence[Example]) -> list[str]:
        """Answers that no student could copy from the passage."""
        lost = [
            example
            for example in examples
            if (golds := example.reference["answers"])
            and not any(find_span(gold, example.reference["passage"], whole_words=False) for gold in golds)
        ]
        if not lost:
            return []
        shown = f"{self.gold(lost[0])[:60]!r} to {lost[0].reference['question'][:60]!r}"
        return [
            f"{len(lost)} of {len(examples)} right answers are not in their passages word for word, such as {shown}"
        ]

    def _instruction(self) -> str:
        if self.config.instruction or not self.no_answer:
            return self.config.instruction or self.default_instruction
        return f"{self.default_instruction} If the passage does not answer it, say: {self.no_answer}"

    def _read_answers(self, reader: RowReader) -> list[str]:
        """The accepted answers. Empty for a question that the row marks as having none."""
        impossible = reader.has("is_impossible") and str(reader.value("is_impossible")).strip().lower() in ("true", "1")
        found = [] if impossible and not reader.has("answers") else _read_cell(reader)
        answers = list_answers(found)
        if answers and not impossible:
            return answers
        if answers:
            reader.fail("answers", "is_impossible says that the question has no answer")
        if not (impossible or found == [] or (isinstance(found, Mapping) and found.get("text") == [])):
            reader.fail("answers", "expected one or more answers as {text: [...]}, a list of strings, or a string")
        if not self.no_answer:
            reader.fail(
                "answers",
                "expected an answer. If questions may have none (SQuAD 2.0), say in task.no_answer what the student should"
                " write then, such as 'no answer', or use task.name squad_v2",
            )
        return []

    def _build(self, question: str, passage: str, answers: list[str], example_id: str) -> Example:
        body = f"{passage}\n\nQuestion: {question}"
        return Example(
            id=example_id,
            prompt=instruct(self._instruction(), body),
            answer=answers[0] if answers else self.no_answer,
            reference={"question": question, "passage": passage, "answers": [take_answer(text) for text in answers]},
        )


def _read_cell(reader: RowReader) -> Any:
    """The answers as the row has them. A list that is text is one only in a column called `answers`, SQuAD's object in any."""
    value = reader.value("answers")
    is_object = isinstance(value, str) and value.lstrip().startswith(("{'text'", '{"text"'))
    return reader.nested("answers") if is_object or reader.is_called("answers", "answers") else value
