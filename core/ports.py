"""What the rooms below `app` need from the world, as Protocols. `app.wiring` supplies the real ones, tests their own."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from pydantic import Field

from pada_agent.core.chat import ChatReply, ChatRequest
from pada_agent.core.jobs import Job
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example, Record, RowTokens

if TYPE_CHECKING:
    import numpy as np

R = TypeVar("R", bound=Record)


class LanguageModel(Protocol):
    """A chat model. Thread-safe: nodes call it from several threads; limits and retries are its own affair."""

    @property
    def name(self) -> str: ...

    def complete(self, request: ChatRequest) -> ChatReply:
        """Answer.

        Raises:
            ModelUnavailableError: after the adapter's own retries.
            BudgetExceededError: before a call that the budget does not allow.
        """
        ...

    def close(self) -> None:
        """Let go of what the model holds."""
        ...


class Embedder(Protocol):
    """Sentence vectors."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Unit vectors, one per text, in order."""
        ...


class DatasetSource(Protocol):
    """Raw rows by location: a path, a hub id, or rows in memory."""

    def read(self, location: str, *, limit: int | None = None, shuffle: int | None = None) -> list["RawRow"]:
        """The first `limit` rows, of the file's order or of the order that the seed `shuffle` gives it.

        Raises:
            DatasetError: names the file and line.
        """
        ...

    def accept(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        location: str,
        limit: int | None = None,
        shuffle: int | None = None,
    ) -> list["RawRow"]:
        """As `read`, of rows that came along with the input; `location` is what errors call it.

        Raises:
            DatasetError: names the row.
        """
        ...


class Settled(Record):
    """How all rows of a file are read (`evaluation.rows`)."""

    form: str = ""
    """What the rows look like, in words."""
    columns: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Our field name to the columns that hold it; several are joined, or are one option each."""
    conversation: str | None = None
    """Column with turns, which give question, answer, system turn and earlier turns."""
    gold_is: Literal["label", "letter", "text", "index", "index_from_1"] | None = None
    """How the rows name the right option."""
    decimal_mark: Literal[".", ","] = "."
    missing: tuple[str, ...] = ()
    """Texts that count as an empty cell."""


class RawRow(Record):
    """A row as its file holds it, and where that was (`train.jsonl:17`)."""

    where: str
    fields: dict[str, Any]
    settled: Settled | None = None
    """None until its file was looked at as a whole."""
    doubt: str = ""
    """Why the fields may not be those that were meant, and the way out: told where one is missing."""


class Compute(Protocol):
    """Runs jobs on the student, on this machine or another. Job ids are hashes of the spec: submitting twice re-attaches."""

    def submit(self, job: Job) -> str:
        """Hand the job over, unless it is finished or running; its id. It may start only when it is waited for."""
        ...

    def wait(self, job_id: str, on_progress: Callable[[Progress], None]) -> Path:
        """Block until done; the folder with the outputs.

        Raises:
            TrainingError: with the worker's own words.
        """
        ...

    def cancel(self, job_id: str) -> None:
        """End the job within seconds; what it had not finished is dropped."""
        ...

    def close(self) -> None: ...


class TokenCounter(Protocol):
    """Rows as the student gets them, in tokens: what training, scoring and generation make of them, known before they start."""

    @property
    def context_tokens(self) -> int:
        """Longest sequence the student was made for."""
        ...

    def count(self, example: Example) -> RowTokens:
        """Tokens of the prompt, and of the answer as it is learned.

        Raises:
            DatasetError: a row that cannot be learned from, such as an empty answer; names it.
            ConfigError: the student's chat template cannot render it.
            TrainingError: the tokenizer cannot be loaded.
        """
        ...

    def count_asked(self, example: Example) -> RowTokens:
        """Tokens of the prompt, and of what the student has to have room for: the right answer and the end of turn, or the longest
        option.

        Raises:
            DatasetError: a row that cannot be encoded; names it.
            ConfigError, TrainingError: as `count`, or options where the prompt ends inside a thought.
        """
        ...

    def count_text(self, text: str) -> int:
        """Tokens of a text by itself, such as a gold answer that the student should have room to write."""
        ...

    def show(self, example: Example) -> str:
        """The prompt, rendered by the chat template."""
        ...

    def show_learned(self, example: Example) -> str:
        """What is learned after it: the answer and the end of turn.

        Raises:
            DatasetError, TrainingError: as `count`.
        """
        ...


class ArtifactStore(Protocol):
    """Objects addressed by a hash of what they were made from. Writes are atomic."""

    def key(self, kind: str, *inputs: object) -> str:
        """Address of the object that `kind` makes from `inputs` (JSON-able values or records)."""
        ...

    def has(self, key: str) -> bool: ...

    def folder(self, key: str) -> Path: ...

    def write_rows(self, key: str, rows: Sequence[Record]) -> Path:
        """Store records as JSON Lines; the file's path."""
        ...

    def read_rows(self, key: str, kind: type[R]) -> list[R]: ...

    def rows_path(self, key: str) -> Path: ...

    def write_json(self, key: str, value: Mapping[str, Any]) -> Path: ...

    def read_json(self, key: str) -> dict[str, Any]: ...

    def write_matrix(self, key: str, matrix: "np.ndarray") -> Path:
        """Store an array of numbers; the file's path."""
        ...

    def read_matrix(self, key: str) -> "np.ndarray | None":
        """The array; None where there is none."""
        ...
