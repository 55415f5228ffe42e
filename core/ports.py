"""What the packages below `app` need from outside, as Protocols. `app.wiring` supplies the real implementations, tests supply their own."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from pada_agent.core.chat import ChatReply, ChatRequest
from pada_agent.core.jobs import Job
from pada_agent.core.progress import Progress
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example, Record, RowTokens

if TYPE_CHECKING:
    import numpy as np

R = TypeVar("R", bound=Record)


class LanguageModel(Protocol):
    """A chat model. Thread-safe, because nodes call it from several threads. Limits and retries are its own responsibility."""

    @property
    def name(self) -> str:
        """The model's name, as in the settings."""
        ...

    def complete(self, request: ChatRequest) -> ChatReply:
        """The model's reply to one request.

        Raises:
            ModelUnavailableError: the model still fails after the adapter's own retries.
            BudgetExceededError: the budget does not allow this call. It is not made.
        """
        ...

    def close(self) -> None:
        """Release whatever the model holds."""
        ...


class Embedder(Protocol):
    """Turns texts into sentence vectors."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Unit vectors, one per text, in order."""
        ...


class DatasetSource(Protocol):
    """Raw rows by location: a path, a hub id, or rows in memory."""

    def read(self, location: str, *, limit: int | None = None, shuffle: int | None = None) -> list[RawRow]:
        """The rows at a location.

        Args:
            limit: maximum number of rows. None reads all.
            shuffle: seed for shuffling the rows before the limit is applied. None keeps the order of the file.

        Raises:
            DatasetError: the message names the file and line.
        """
        ...

    def accept(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        location: str,
        limit: int | None = None,
        shuffle: int | None = None,
    ) -> list[RawRow]:
        """Like `read`, for rows that were passed in directly.

        Args:
            location: what error messages call these rows.

        Raises:
            DatasetError: the message names the row.
        """
        ...


class Compute(Protocol):
    """Runs jobs on the student, on this machine or another. A job's id is a hash of its spec, so submitting it again attaches to the same job."""

    def submit(self, job: Job) -> str:
        """Submit the job, unless it is finished or running, and return its id. The job may start only when somebody waits for it."""
        ...

    def wait(self, job_id: str, on_progress: Callable[[Progress], None]) -> Path:
        """Block until the job is done, and return the folder with its output.

        Raises:
            TrainingError: the job failed. Contains the worker's message.
        """
        ...

    def cancel(self, job_id: str) -> None:
        """End the job within seconds. Unfinished output is dropped."""
        ...

    def close(self) -> None:
        """Stop all workers. Running jobs fail."""
        ...


class TokenCounter(Protocol):
    """Measures rows in the student's tokens, as training, scoring and generation will see them, before any of these start."""

    @property
    def context_tokens(self) -> int:
        """Longest sequence that the student was made for, in tokens."""
        ...

    @property
    def rendering(self) -> Literal[1, 2, 3]:
        """Number of the rendering for `ChatSpec`.

        Raises:
            ConfigError, TrainingError: as for `count`.
        """
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """What a person should know about the student's chat template.

        Raises:
            ConfigError, TrainingError: as for `count`.
        """
        ...

    def count(self, example: Example) -> RowTokens:
        """Tokens of the prompt, and of the answer as it is learned.

        Raises:
            DatasetError: the row cannot be learned from, for example because its answer is empty. The message names it.
            ConfigError: the student's chat template cannot render the row.
            TrainingError: the tokenizer cannot be loaded.
        """
        ...

    def count_asked(self, example: Example) -> RowTokens:
        """Tokens of the prompt, and of what the student must have room for: the right answer and the end of turn, or the longest option.

        Raises:
            DatasetError: the row cannot be encoded. The message names it.
            ConfigError, TrainingError: as for `count`; also if there are options but the prompt ends inside a thought.
        """
        ...

    def count_text(self, text: str) -> int:
        """Tokens that the student writes to answer with a text, without the end of turn: a gold answer that it should have room for."""
        ...

    def show(self, example: Example) -> str:
        """The prompt as rendered by the chat template."""
        ...

    def show_learned(self, example: Example) -> str:
        """What is learned after it: the answer and the end of turn.

        Raises:
            DatasetError, TrainingError: as for `count`.
        """
        ...


class ArtifactStore(Protocol):
    """Stores objects under a hash of what they were made from. Writes are atomic."""

    def key(self, kind: str, *inputs: object) -> str:
        """Key of the object that `kind` makes from `inputs` (records, or values that can be written as JSON)."""
        ...

    def has(self, key: str) -> bool:
        """Whether an object is stored under this key."""
        ...

    def folder(self, key: str) -> Path:
        """The object's folder."""
        ...

    def write_rows(self, key: str, rows: Sequence[Record]) -> Path:
        """Store records as JSON Lines, and return the file's path."""
        ...

    def read_rows(self, key: str, kind: type[R]) -> list[R]:
        """The records stored under this key, as instances of `kind`."""
        ...

    def rows_path(self, key: str) -> Path:
        """Path of the file with the object's rows."""
        ...

    def write_json(self, key: str, value: Mapping[str, Any]) -> Path:
        """Store a JSON object, and return the file's path."""
        ...

    def read_json(self, key: str) -> dict[str, Any]:
        """The JSON object stored under this key."""
        ...

    def write_matrix(self, key: str, matrix: "np.ndarray") -> Path:
        """Store an array of numbers, and return the file's path."""
        ...

    def read_matrix(self, key: str) -> "np.ndarray | None":
        """The stored array. None if there is none."""
        ...
