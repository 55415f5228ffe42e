"""Open answers, judged by an LLM."""

from collections.abc import Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import StructuredOutputError
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Confusion, Example, Prediction, Verdict
from pada_agent.core.thoughts import take_answer
from pada_agent.evaluation.rows.cells import to_nfc
from pada_agent.evaluation.rows.forms import Fields
from pada_agent.evaluation.task import DraftProblem, Task
from pada_agent.evaluation.tasks.drafts import find_empty_field, keep_turns, tell_turns, whole_question
from pada_agent.evaluation.tasks.instruction import instruct
from pada_agent.prompts.prompted_model import PromptedModel


class AnswerJudgement(BaseModel):
    """The judge's decision, preceded by its reason."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    reason: str = Field(
        default="", description="one or two sentences: what the answer says, and where it agrees or differs"
    )
    correct: Literal["yes", "no"] = Field(description="yes if the answer means the same as the reference answer")


class Judge(Task):
    """The judge role compares the student's answer with the reference answer.

    {"question": "Why did the team move the release?", "answer": "A supplier's certificate had expired."}
    """

    name: ClassVar[str] = "judge"
    asks_judge = True
    fields: Fields = MappingProxyType({"question": ("question",), "answer": ("answer",)})
    max_new_tokens = 256

    def __init__(self, config: TaskConfig, judge: PromptedModel) -> None:
        super().__init__(config)
        self._judge = judge

    @classmethod
    def make(cls, config: TaskConfig, judge: PromptedModel | None) -> Self:
        if judge is None:
            raise ValueError("a judge is asked")
        return cls(config, judge)

    def read(self, row: RawRow) -> Example:
        reader = self.reader(row)
        question, answer = reader.text("question"), reader.text("answer").strip()
        return reader.with_turns(self._build(question, answer, reader.row_id(question, answer)))

    def verify(self, example: Example, prediction: Prediction) -> Verdict:
        """If the judge's reply cannot be used, the example is unscored. If the judge is not available, this raises."""
        if not prediction.response.strip():
            return Verdict(example_id=example.id, value="wrong", extracted="", reason="no answer")
        try:
            judgements = self._ask(example, prediction)
        except StructuredOutputError as exc:
            return Verdict(example_id=example.id, value="unscored", reason=f"the judge's answer cannot be used: {exc}")
        if len(judgements) != 1:
            return Verdict(example_id=example.id, value="unscored", reason="the judge gave no decision")
        return Verdict(
            example_id=example.id,
            value="correct" if judgements[0].correct == "yes" else "wrong",
            extracted=prediction.response.strip(),
            reason=judgements[0].reason,
        )

    def draft_fields(self) -> dict[str, str]:
        return {"question": "the question only", "answer": "the right answer, in the style of the example"}

    def show(self, example: Example) -> dict[str, str]:
        return {"question": example.reference["question"], "answer": example.answer, **tell_turns(example)}

    def assign(self, source: Example, confusions: Sequence[Confusion], rng: Random) -> dict[str, str]:
        del confusions, rng
        return tell_turns(source)

    def compose(
        self, draft: Mapping[str, str], *, source: Example, given: Mapping[str, str], example_id: str
    ) -> Example | DraftProblem:
        del given
        problem = find_empty_field(draft, self.draft_fields())
        question, answer = (to_nfc(draft.get(name, "").strip()) for name in ("question", "answer"))
        return problem or keep_turns(source, self._build(question, answer, example_id))

    def _ask(self, example: Example, prediction: Prediction) -> list[AnswerJudgement]:
        variables = {
            "task_description": self.config.description,
            "question": whole_question(example),
            "reference_answer": take_answer(example.answer),
            "answer": prediction.response.strip(),
        }
        tags = {"agent": "answer_judgement", "example": example.id}
        reply = self._judge.ask("answer_judgement", variables, AnswerJudgement, wrap="object", tags=tags)
        return list(reply.items)

    def _build(self, question: str, answer: str, example_id: str) -> Example:
        return Example(
            id=example_id,
            prompt=instruct(self.config.instruction, question),
            answer=answer,
            reference={"question": question},
        )
