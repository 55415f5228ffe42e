"""What a task is: how a row becomes an example, what counts as right, and how a draft becomes a row."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from random import Random
from types import MappingProxyType
from typing import ClassVar, Self, TypeVar

from pydantic import Field

from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import ConfigError, DatasetError
from pada_agent.core.ports import LanguageModel, RawRow, Settled
from pada_agent.core.records import Confusion, Example, Prediction, Record, Verdict
from pada_agent.core.suggestions import suggest
from pada_agent.core.thoughts import strip_thoughts
from pada_agent.evaluation.rows.forms import Fields, settle_form
from pada_agent.evaluation.tasks.row_reader import RowReader

SeenT = TypeVar("SeenT")

TURNS = "earlier_turns"
"""Name under which `show` and `assign` give what comes before a question."""
ROUGH_QUESTION = "rough_question"
"""Name under which `compose` is given the question as code changed it (`vary_answer`)."""

COMMON_FIELDS = ("id", "system", "history", "messages")
"""Read for every task."""


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
    expects: str = ""
    """What a free answer is, in words; empty: a number or a few words."""


class Variation(Record):
    """A right answer made from a training row's by code, for which the question is still to be worded."""

    fields: dict[str, str]
    """The draft fields that are fixed by it."""
    rough_question: str
    """The row's question, changed as its answer was."""


class Task(ABC):
    """One kind of question. Stateless: safe to use from several threads.

    The same `read` serves training, validation and test rows, so there is one template for all.
    A subclass says what the LLM has to write (`draft_fields`), shows an example in that form (`show`),
    and turns a draft into an example (`compose`); so generation needs to know nothing of the task.
    """

    name: ClassVar[str]
    variety: str = "Each new example has its own subject, and its own words."
    """How written rows are to differ from the real ones and from one another, for a writer."""
    fields: Fields = MappingProxyType({})
    """What it reads: our field name to the column names it goes by. Empty: unknown, and unused columns are not told."""
    max_new_tokens: int = 64
    """Limit for generation; unused when examples have options."""
    stop: tuple[str, ...] = ()
    """Generation ends before the first of these."""
    runs_code: ClassVar[bool] = False
    """Whether programs are run that a model or the rows' writer wrote: a server needs its operator's word for it."""
    asks_judge: ClassVar[bool] = False
    """Whether an LLM says what is right: `make` then gets the judge of the run."""
    reads_database: ClassVar[bool] = False
    """Whether rows are about a database file: on a server, settings have to name it."""
    offers_options: ClassVar[bool] = False
    """Whether every row has options, among which a solver chooses."""
    turns_on_a_word: ClassVar[bool] = False
    """Whether questions that differ by one word are two questions, as `largest` and `smallest` are: then only equal ones repeat."""

    def __init__(self, config: TaskConfig) -> None:
        """Take the settings.

        Raises:
            ConfigError: `task.columns` names a field that the task does not read.
        """
        self.config = config
        known = [*self.fields, *(name for names in self.fields.values() for name in names), *COMMON_FIELDS]
        if self.fields and (unknown := [name for name in config.columns if name not in known]):
            raise ConfigError(
                f"task.columns: {config.name!r} reads no field {unknown[0]!r}; it reads {', '.join([*self.fields, *COMMON_FIELDS])}."
                f"{suggest(unknown[0], known)}"
            )

    @classmethod
    def make(cls, config: TaskConfig, judge: LanguageModel | None, prompts: Mapping[str, str]) -> Self:
        """The task of a run; override where it takes more than its settings.

        Args:
            judge: never None where `asks_judge`.
            prompts: template name to the text that settings put in its place.
        """
        del judge, prompts
        return cls(config)

    def check_machine(self) -> tuple[str, ...]:
        """What the user must know of this machine, a sentence each; override where answers are run, not only read.

        Raises:
            SandboxError: right answers could not be told from wrong ones here, or not without danger.
        """
        return ()

    def settle(self, files: Sequence[Sequence[RawRow]]) -> list[Settled]:
        """How the rows of each file are read; override to settle more than their columns, for all files alike.

        Raises:
            DatasetError: columns that are not there, or that leave open which is meant.
        """
        missing = [text for text in self.config.missing if text not in self.config.labels]
        return [settle_form(rows, columns=self.config.columns, fields=self.fields, missing=missing) for rows in files]

    def look_at(
        self, files: Sequence[Sequence[RawRow]], settled: Sequence[Settled], look: Callable[[RowReader], SeenT]
    ) -> list[SeenT]:
        """What each row shows, to settle more from all of them; rows that cannot be read are refused when they are."""
        seen = []
        for rows, form in zip(files, settled, strict=True):
            for row in rows:
                with suppress(DatasetError):
                    seen.append(look(RowReader(row.model_copy(update={"settled": form}), self.config.columns)))
        return seen

    def reader(self, row: RawRow) -> RowReader:
        """The row's fields; a row that comes without its file is settled on its own."""
        if row.settled is None:
            row = row.model_copy(update={"settled": self.settle([[row]])[0]})
        return RowReader(row, self.config.columns)

    @abstractmethod
    def read(self, row: RawRow) -> Example:
        """The example in a raw row. Its id is the row's `id` or a hash of its content.

        All rows of a run are read by `evaluation.rows.reading.read_files`, which looks at their files as a whole first.

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

    @property
    def question_field(self) -> str:
        """The draft field that asks: what is rephrased, and what a wrong answer leaves as it is."""
        return next(iter(self.draft_fields()))

    def about(self, examples: Sequence[Example]) -> str:
        """What an LLM is told of the task before it is shown these examples, or none; override where they have more in common."""
        del examples
        return self.config.description

    def asked(self, example: Example) -> str:
        """What the student was asked, for an LLM; override where `about` has told a part of it."""
        return example.conversation

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

    def vary_answer(self, source: Example, others: Sequence[Example], rng: Random) -> Variation | None:
        """Another right answer, made from the row's own and those of other training rows, and checked; None where code can make none."""
        del source, others, rng
        return None

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
        question = self.question_field
        answer = {name: text for name, text in self.show(other).items() if name != TURNS}
        return {**answer, **{name: text for name, text in shown.items() if name in (question, TURNS)}}

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

    def list_doubts(self, examples: Sequence[Example]) -> list[str]:
        """What a person should look at in a file's rows, a line each."""
        del examples
        return []

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


def verify_answers(task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[Verdict]:
    """Verdicts in order, on what the student answered after its thoughts; one whose thought was cut off answered nothing."""
    answers = [
        p if p.option_scores else p.model_copy(update={"response": strip_thoughts(p.response)}) for p in predictions
    ]
    return task.verify_all(examples, answers)
