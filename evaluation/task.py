"""Defines what a task is: how a row becomes an example, what counts as right, and how a draft becomes a row."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random
from types import MappingProxyType
from typing import ClassVar, Self, TypeVar

from pydantic import Field

from pada_agent.core.concurrency import map_concurrently
from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import ConfigError, DatasetError, PartError
from pada_agent.core.machine import count_at_once
from pada_agent.core.raw_rows import RawRow, Settled
from pada_agent.core.records import Confusion, Example, Prediction, Record, Verdict
from pada_agent.core.returned import check_returned
from pada_agent.core.suggestions import suggest
from pada_agent.core.thoughts import strip_thoughts_unless_in
from pada_agent.evaluation.rows.forms import Fields, find_place, settle_form
from pada_agent.evaluation.tasks.row_reader import RowReader
from pada_agent.evaluation.verifiers.solver_answer import declines, pick_option
from pada_agent.prompts.prompted_model import PromptedModel

SeenT = TypeVar("SeenT")

TURNS = "earlier_turns"
"""Key under which `show` and `assign` return the turns before a question."""
ROUGH_QUESTION = "rough_question"
"""Key under which `compose` receives the question as changed by code (`vary_answer`)."""

COMMON_FIELDS = ("id", "system", "history", "messages")
"""Fields that are read for every task."""


class DraftProblem(Record):
    """Why a draft cannot become an example. It goes back to the generator as feedback."""

    reason: str


class OpenQuestion(Record):
    """A row as a solver sees it: without its answer."""

    question: str
    options: tuple[str, ...] = ()
    """Options to choose from, in the order shown. Empty if the answer is free text."""
    notes: dict[str, str] = Field(default_factory=dict)
    """The meaning of options that have a definition."""
    expects: str = ""
    """What a free answer consists of, in words. Empty: a number or a few words."""


class Variation(Record):
    """A right answer that code derived from a training row's answer. Its question still has to be worded."""

    fields: dict[str, str]
    """The draft fields that it fixes."""
    rough_question: str
    """The row's question, changed in the same way as its answer."""


class Task(ABC):
    """One kind of question. Stateless, and safe to use from several threads.

    The same `read` serves training, validation and test rows, so all have the same form. A subclass says what the LLM
    has to write (`draft_fields`), shows an example in that form (`show`), and turns a draft into an example
    (`compose`). Generation therefore needs to know nothing about the task.
    """

    name: ClassVar[str]
    """Its name in the setting `task.name`."""
    variety: str = "Each new example has its own subject, and its own words."
    """How written rows should differ from the real ones and from each other, as told to the writer."""
    fields: Fields = MappingProxyType({})
    """What the task reads: our field name mapped to the column names that it goes by. Empty: unknown, so unused columns are not reported."""
    max_new_tokens: int = 64
    """Limit for generation, in tokens. Not used if examples have options."""
    stop: tuple[str, ...] = ()
    """Generation ends before the first occurrence of any of these texts."""
    runs_code: ClassVar[bool] = False
    """Whether it runs programs written by a model or by the author of the rows. On a server, the operator has to allow this."""
    asks_judge: ClassVar[bool] = False
    """Whether an LLM decides what is right. `make` then receives the run's judge."""
    reads_database: ClassVar[bool] = False
    """Whether rows are about a database file. On a server, the settings have to name it."""
    offers_options: ClassVar[bool] = False
    """Whether every row has options for a solver to choose from."""
    makes_answers: ClassVar[bool] = False
    """Whether `vary_answer` makes answers, with their questions in rough words."""
    compares_answers: ClassVar[bool] = False
    """Whether code can tell that two free answers to a question say the same, so that a vote is possible."""
    turns_on_a_word: ClassVar[bool] = False
    """Whether questions that differ in one word are different questions, such as `largest` and `smallest`. Only
    identical ones then count as repeats.
    """

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
    def make(cls, config: TaskConfig, judge: PromptedModel | None) -> Self:
        """Make the task of a run. Override this if the task needs more than its settings.

        Args:
            judge: never None if `asks_judge` is set. Comes with the prompts and the token limit of the settings.
        """
        del judge
        return cls(config)

    def check_machine(self) -> tuple[str, ...]:
        """What the user must know about this machine, one sentence each. Override this if answers are run and not only read.

        Raises:
            SandboxError: right answers cannot be told from wrong ones here, or not safely.
        """
        return ()

    def settle(self, files: Sequence[Sequence[RawRow]]) -> list[Settled]:
        """How the rows of each file are read. Override this to decide more than the columns, for all files alike.

        Raises:
            DatasetError: columns do not exist, or it is unclear which ones are meant.
        """
        return self.list_forms(files)

    def list_forms(self, files: Sequence[Sequence[RawRow]]) -> list[Settled]:
        """Which columns hold what, for each file. The slices of a file have the same form.

        Raises:
            DatasetError: columns do not exist, or it is unclear which ones are meant.
        """
        by_place: dict[str, list[RawRow]] = {}
        for rows in files:
            by_place.setdefault(find_place(rows), []).extend(rows)
        forms = {place: self.find_form(rows) for place, rows in by_place.items()}
        return [forms[find_place(rows)] for rows in files]

    def find_form(self, rows: Sequence[RawRow]) -> Settled:
        """Which columns of a file hold what. Override this if names and settings do not tell all of them."""
        missing = [text for text in self.config.missing if text not in self.config.labels]
        columns, labels = self.config.columns, self.config.labels
        return settle_form(rows, columns=columns, fields=self.fields, missing=missing, labels=labels)

    def look_at(
        self, files: Sequence[Sequence[RawRow]], settled: Sequence[Settled], look: Callable[[RowReader], SeenT]
    ) -> list[SeenT]:
        """The result of `look` for each row, for decisions that depend on all rows. Unreadable rows are skipped here
        and refused when they are read.
        """
        seen = []
        for rows, form in zip(files, settled, strict=True):
            for row in rows:
                with suppress(DatasetError):
                    seen.append(look(RowReader(row.model_copy(update={"settled": form}), self.config.columns)))
        return seen

    def reader(self, row: RawRow) -> RowReader:
        """Gives access to the row's fields. For a row without a file, the form is that of the row itself."""
        if row.settled is None:
            row = row.model_copy(update={"settled": self.settle([[row]])[0]})
        return RowReader(row, self.config.columns)

    @abstractmethod
    def read(self, row: RawRow) -> Example:
        """The example for a raw row. Its id is the row's `id` or a hash of its content.

        All rows of a run are read by `evaluation.rows.reading.read_files`, which first looks at their files as a whole.

        Raises:
            DatasetError: names `row.where` and the field, what was found and what is expected.
        """

    @abstractmethod
    def verify(self, example: Example, prediction: Prediction) -> Verdict:
        """The verdict on a prediction."""

    def verify_all(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[Verdict]:
        """Verdicts in order. A judge is asked about several answers at once; after the first error, about no more of them.
        Override this if it pays to verify in parallel for another reason (`verify_side_by_side`).
        """
        pairs = list(zip(examples, predictions, strict=True))
        if self.asks_judge:
            return map_concurrently(lambda pair: self.verify(*pair), pairs)
        return [self.verify(*pair) for pair in pairs]

    @abstractmethod
    def draft_fields(self) -> dict[str, str]:
        """The fields that the LLM writes, each with a short instruction. All are plain strings."""

    @property
    def question_field(self) -> str:
        """The draft field with the question. It is what rephrasing changes, and what a wrong answer leaves unchanged."""
        return next(iter(self.draft_fields()))

    def about(self, examples: Sequence[Example]) -> str:
        """What an LLM is told about the task before it sees these examples (there may be none). Override this if they have more in common."""
        del examples
        return self.config.description

    def asked(self, example: Example) -> str:
        """What the student was asked, as shown to an LLM. Override this if `about` already contains part of it."""
        return example.conversation

    def draft_fields_for(self, sources: Sequence[Example]) -> dict[str, str]:
        """The fields for drafts based on these examples. Override this if they depend on the examples."""
        del sources
        return self.draft_fields()

    @abstractmethod
    def show(self, example: Example) -> dict[str, str]:
        """The example in the form of a draft: the fields of `draft_fields`, followed by those that `assign` fixes."""

    def assign(self, source: Example, confusions: Sequence[Confusion], rng: Random) -> dict[str, str]:
        """Facts that the draft must be written for, such as a label with its definition, or a passage. Empty if there are none.

        For a closed label set, the label is drawn by how often the student got it wrong (`confusions`). Without
        confusions, it is the source's label. A weak writer is much better at writing for a label than at labeling what
        it wrote.
        """
        del source, confusions, rng
        return {}

    def vary_answer(self, source: Example, others: Sequence[Example], rng: Random) -> Variation | None:
        """Another right answer, derived by code from this row's answer and those of other training rows, and checked.
        None if code cannot derive one.
        """
        del source, others, rng
        return None

    @abstractmethod
    def compose(
        self, draft: Mapping[str, str], *, source: Example, given: Mapping[str, str], example_id: str
    ) -> Example | DraftProblem:
        """The example that a draft describes, in the format of the original rows.

        Args:
            given: what `assign` has fixed.
        """

    def verify_label(self, example: Example) -> Verdict:
        """Exact check of a synthetic example's own answer. `unscored` if the task has none."""
        return Verdict(example_id=example.id, value="unscored", reason="no exact check for this task")

    def gold(self, example: Example) -> str:
        """The right answer in short form, for an LLM to read."""
        return example.answer

    def solution(self, example: Example) -> str:
        """The right answer as the student should have written it, including its working if there is any."""
        return self.gold(example)

    def sort_options(self, example: Example) -> Example:
        """The same row with its options in alphabetical order, so that rows can be compared. Override this if rows list options."""
        return example

    def misanswer(self, example: Example, other: Example) -> dict[str, str]:
        """The example in the form of `show`, but with a wrong answer.

        Args:
            other: an example with a different right answer.
        """
        shown = self.show(example)
        question = self.question_field
        answer = {name: text for name, text in self.show(other).items() if name != TURNS}
        return {**answer, **{name: text for name, text in shown.items() if name in (question, TURNS)}}

    def misanswered(self, example: Example, other: Example) -> Example:
        """An example whose answer is the wrong one that `misanswer` shows. For comparing answers only, never for training."""
        del example
        return other

    def pose(self, example: Example, rng: Random) -> OpenQuestion | None:
        """The example without its answer, for a solver. None if its label is checked in another way, or cannot be checked.

        Args:
            rng: shuffles the options, so that a solver that prefers a position is found out.
        """
        del example, rng
        return None

    def agrees(self, example: Example, answer: str, posed: OpenQuestion) -> bool:
        """Whether a solver's answer to `posed` matches the example's label."""
        del posed
        return self.verify(example, Prediction(example_id=example.id, response=answer)).value == "correct"

    def list_doubts(self, examples: Sequence[Example]) -> list[str]:
        """What a person should look at in a file's rows, one line each."""
        del examples
        return []

    def word_answer(self, answer: str, posed: OpenQuestion) -> str | None:
        """A solver's answer to `posed` in words, such as the option behind its letter. None if it answers nothing."""
        if posed.options:
            return pick_option(answer, posed.options)
        return None if declines(answer) else answer.strip()

    def chance(self, example: Example) -> float | None:
        """Accuracy of random guessing, in (0, 1]. None if there is nothing to choose from."""
        del example
        return None

    def closed_label(self, example: Example) -> str | None:
        """The gold label, if labels form a closed set over all rows. Otherwise None."""
        del example
        return None


def verify_answers(task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[Verdict]:
    """Verdicts in order, on the student's answers without its thoughts. If a thought was cut off, there is no answer.
    Marks of thoughts that the right answer has itself are text.

    Raises:
        PartError: the task does not give one verdict on each example.
    """
    pairs = zip(examples, predictions, strict=True)
    answers = [p if p.option_scores else _without_thoughts(example, p) for example, p in pairs]
    return _check_verdicts(task.verify_all(examples, answers), examples, by=type(task).__name__)


def _check_verdicts(found: object, examples: Sequence[Example], *, by: str) -> list[Verdict]:
    listed = list(found) if isinstance(found, tuple) else check_returned(found, list, by=f"{by}.verify_all")
    verdicts = [check_returned(verdict, Verdict, by=f"{by}.verify") for verdict in listed]
    if len(verdicts) != len(examples):
        raise PartError(
            f"{by}.verify_all must return one verdict per row, but returned {len(verdicts)} for {len(examples)}."
        )
    for verdict, example in zip(verdicts, examples, strict=True):
        if verdict.example_id != example.id:
            raise PartError(
                f"{by}.verify returned a verdict on {verdict.example_id!r} for the row {example.id!r}. Set example_id to the"
                " id of the row."
            )
    return verdicts


def _without_thoughts(example: Example, prediction: Prediction) -> Prediction:
    listed = example.reference.get("answers")
    golds = [gold for gold in listed if isinstance(gold, str)] if isinstance(listed, list | tuple) else []
    return prediction.model_copy(
        update={"response": strip_thoughts_unless_in(golds or [example.answer], prediction.response)}
    )


def verify_side_by_side(
    task: Task, examples: Sequence[Example], predictions: Sequence[Prediction], *, memory_bytes: int
) -> list[Verdict]:
    """Verdicts in order, for tasks whose `verify` waits for a process that takes up to `memory_bytes`."""
    pairs = list(zip(examples, predictions, strict=True))
    with ThreadPoolExecutor(count_at_once(memory_bytes), thread_name_prefix="pada-verify") as pool:
        return list(pool.map(lambda pair: task.verify(*pair), pairs))
