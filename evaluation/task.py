"""What a task is: how a row becomes an example, what counts as right, and how a draft becomes a row."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from random import Random
from typing import ClassVar

from pydantic import Field

from pada_agent.core.config import TaskConfig
from pada_agent.core.ports import RawRow
from pada_agent.core.records import Confusion, Example, Prediction, Record, Verdict


class DraftProblem(Record):
    """Why a draft cannot become an example; goes back to the generator as feedback."""

    reason: str


class OpenQuestion(Record):
    """A row as a solver sees it."""

    question: str
    options: tuple[str, ...] = ()
    """To choose from, in the order shown; empty when the answer is written freely."""
    notes: dict[str, str] = Field(default_factory=dict)
    """What an option means, where that is defined."""


class Task(ABC):
    """One kind of question. Stateless: safe to use from several threads.

    The same `read` serves training, validation and test rows, so there is one template for all.
    A subclass says what the LLM has to write (`draft_fields`), shows an example in that form (`show`),
    and turns a draft into an example (`compose`); so generation needs to know nothing of the task.
    """

    name: ClassVar[str]
    max_new_tokens: int = 64
    """Limit for generation; unused when examples have options."""
    stop: tuple[str, ...] = ()
    """Generation ends before the first of these."""

    def __init__(self, config: TaskConfig) -> None:
        self.config = config

    @abstractmethod
    def read(self, row: RawRow) -> Example:
        """The example in a raw row. Its id is the row's `id` or a hash of its content.

        Raises:
            DatasetError: names `row.where`, the field, what was found and what is expected.
        """

    @abstractmethod
    def verify(self, example: Example, prediction: Prediction) -> Verdict:
        """Whether the prediction is right."""

    def verify_all(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[Verdict]:
        """Verdicts in order; override where verifying in parallel pays."""
        return [self.verify(e, p) for e, p in zip(examples, predictions, strict=True)]

    @abstractmethod
    def draft_fields(self) -> dict[str, str]:
        """Field name to a short instruction what the LLM writes there. All fields are plain strings."""

    def draft_fields_for(self, sources: Sequence[Example]) -> dict[str, str]:
        """The fields for drafts written from these examples; override where they depend on them."""
        del sources
        return self.draft_fields()

    @abstractmethod
    def show(self, example: Example) -> dict[str, str]:
        """The example in the form of a draft: the fields of `draft_fields`, then those of `assign` that are fixed."""

    def assign(self, source: Example, confusions: Sequence[Confusion], rng: Random) -> dict[str, str]:
        """Facts the draft must be written for, such as a label (with its definition) or a passage; empty if none.

        For a closed label set the label is drawn by how often the student got it wrong (`confusions`); without
        confusions it is the source's. A weak writer writes for a label far better than it labels what it wrote.
        """
        del source, confusions, rng
        return {}

    @abstractmethod
    def compose(
        self, draft: Mapping[str, str], *, source: Example, given: Mapping[str, str], example_id: str
    ) -> Example | DraftProblem:
        """The example a draft describes, in the format of the originals; `given` is what `assign` had fixed."""

    def verify_label(self, example: Example) -> Verdict:
        """Exact check of a synthetic example's own answer; `unscored` where the task has none."""
        return Verdict(example_id=example.id, value="unscored", reason="no exact check for this task")

    def gold(self, example: Example) -> str:
        """The right answer, short, for an LLM to read."""
        return example.answer

    def solution(self, example: Example) -> str:
        """The right answer as the student should have written it, with its working where it has one."""
        return self.gold(example)

    def misanswer(self, example: Example, other: Example) -> dict[str, str]:
        """The example as `show` has it, with a wrong answer; `other` has another right one."""
        shown = self.show(example)
        question = next(iter(shown))
        return {**self.show(other), question: shown[question]}

    def misanswered(self, example: Example, other: Example) -> Example:
        """An example whose right answer is the wrong one that `misanswer` shows: to compare answers with, not to be used."""
        del example
        return other

    def pose(self, example: Example, rng: Random) -> OpenQuestion | None:
        """The example without its answer, for a solver; None where its label is checked otherwise, or cannot be.

        `rng` shuffles options, so that a solver with a favourite place is found out.
        """
        del example, rng
        return None

    def agrees(self, example: Example, answer: str, posed: OpenQuestion) -> bool:
        """Whether a solver's answer to `posed` is the example's label."""
        del posed
        return self.verify(example, Prediction(example_id=example.id, response=answer)).value == "correct"

    def word_answer(self, answer: str, posed: OpenQuestion) -> str:
        """What a solver's answer to `posed` says, such as the option behind its letter."""
        del posed
        return answer.strip()

    def chance(self, example: Example) -> float | None:
        """Accuracy of guessing, in (0, 1]; None where there is nothing to choose from."""
        del example
        return None

    def closed_label(self, example: Example) -> str | None:
        """The gold label, when labels form a closed set over all rows."""
        del example
        return None
