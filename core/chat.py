"""What passes between an agent and a chat model."""

from typing import Any, Literal

from pydantic import Field

from pada_agent.core.records import Record, Usage

Role = Literal["analyst", "generator", "judge"]


class Message(Record):
    """One chat turn."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatRequest(Record):
    """One call of an LLM. Equal requests give the cached reply; `draw` and `attempt` tell equal-looking ones apart."""

    messages: tuple[Message, ...]
    temperature: float = 0.0
    max_output_tokens: int = 1024
    json_schema: dict[str, Any] | None = None
    """Asked of providers that can constrain their output; the prompt shows it in any case."""
    draw: str = ""
    """Distinguishes samples at temperature > 0: batch id and regeneration."""
    attempt: int = 0
    """Re-ask within one structured call."""
    tags: dict[str, str | int] = Field(default_factory=dict)
    """Agent, iteration, batch: for tracing and accounting. Not part of the cache key."""


class ChatReply(Record):
    """The LLM's text and what it cost."""

    text: str
    usage: Usage
    truncated: bool = False
    refused: bool = False
    """The provider's filter or the model itself refused; `text` is what was said instead of an answer."""
    cached: bool = False
    key: str = ""
    """Key of the call in the response cache."""
