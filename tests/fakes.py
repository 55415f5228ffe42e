"""Real implementations of the ports for tests. They fail when their script runs out, rather than start over."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from threading import Lock
from typing import Any, Literal

from pada_agent.app.adapters.llm.limits import Clock
from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.app.adapters.storage.json_layouts import Placed
from pada_agent.app.adapters.storage.row_files import number_rows
from pada_agent.core.chat import ChatReply, ChatRequest
from pada_agent.core.errors import DatasetError
from pada_agent.core.records import Example, RowTokens, Usage

Script = Sequence[str | ChatReply | Exception] | Callable[[ChatRequest], str | ChatReply]


class ScriptExhausted(AssertionError):
    """A fake was asked more often than its script foresaw."""


class ScriptedModel:
    """A `LanguageModel` that gives prepared answers in order, or asks a function; exceptions in the script are raised.

    Thread-safe; `requests` holds every request in the order of arrival.
    """

    def __init__(self, replies: Script, *, name: str = "scripted") -> None:
        self.name = name
        self.requests: list[ChatRequest] = []
        self._replies = replies
        self._lock = Lock()

    @property
    def prompts(self) -> list[str]:
        """The last message of every request."""
        return [request.messages[-1].content for request in self.requests]

    def close(self) -> None:
        """Nothing to let go of."""

    def complete(self, request: ChatRequest) -> ChatReply:
        with self._lock:
            self.requests.append(request)
            n = len(self.requests)
        answer = self._replies(request) if callable(self._replies) else self._next(n, request)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, ChatReply):
            return answer
        return ChatReply(text=answer, usage=count_usage(request, answer), key=self._key(n, request))

    def assert_script_over(self) -> None:
        """Fail unless every prepared answer was asked for."""
        if not callable(self._replies) and len(self.requests) != len(self._replies):
            raise AssertionError(f"{len(self.requests)} of {len(self._replies)} prepared answers were used")

    def _key(self, n: int, request: ChatRequest) -> str:
        """By content where a function answers, so that the order of threads does not show."""
        return sha256(request.model_dump_json().encode()).hexdigest()[:8] if callable(self._replies) else f"call-{n}"

    def _next(self, n: int, request: ChatRequest) -> str | ChatReply | Exception:
        assert not callable(self._replies)
        if n > len(self._replies):
            prompt = request.messages[-1].content[:300]
            raise ScriptExhausted(
                f"call {n} of {self.name}, but only {len(self._replies)} answers were prepared. Prompt: {prompt}"
            )
        return self._replies[n - 1]


@dataclass
class FakeClock(Clock):
    """Time that passes only in sleep."""

    t: float = 0.0
    slept: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def now(self) -> float:
        return self.t

    def sleep(self, seconds: float) -> None:
        self.t += seconds
        self.slept.append(seconds)


def count_usage(request: ChatRequest, answer: str) -> Usage:
    """One call, with words for tokens."""
    n_input = sum(len(message.content.split()) for message in request.messages)
    return Usage(n_calls=1, input_tokens=n_input, output_tokens=len(answer.split()))


class WordCounter:
    """A `TokenCounter` whose tokens are words, without any template around them."""

    rendering: Literal[1, 2, 3] = 1
    warnings: Sequence[str] = ()

    def __init__(self, context_tokens: int) -> None:
        self.context_tokens = context_tokens

    def count(self, example: Example) -> RowTokens:
        if not example.answer.strip():
            raise DatasetError(f"row {example.id!r} has an empty answer")
        return RowTokens(prompt=self.count_text(example.prompt), answer=self.count_text(example.answer) + 1)

    def count_asked(self, example: Example) -> RowTokens:
        longest = max(map(self.count_text, example.options), default=self.count_text(example.answer) + 1)
        return RowTokens(prompt=self.count_text(example.prompt), answer=longest)

    def count_text(self, text: str) -> int:
        return len(text.split())

    def show(self, example: Example) -> str:
        return example.prompt

    def show_learned(self, example: Example) -> str:
        return f"{example.answer}<end>"


class MemoryDatasets(FileDatasets):
    """Files, and rows by the NAME in `memory:NAME`, which are taken like those of files."""

    def __init__(self, memory: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        super().__init__()
        self._memory = memory

    def _open(self, location: str) -> Iterator[Placed]:
        if not location.startswith("memory:"):
            return super()._open(location)
        if (name := location.removeprefix("memory:")) not in self._memory:
            raise DatasetError(f"{location}: no such rows")
        return number_rows(self._memory[name])
