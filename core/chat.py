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
    """One LLM call. Equal requests get the cached reply; `draw` and `attempt` distinguish requests that are otherwise equal."""

    messages: tuple[Message, ...]
    temperature: float = 0.0
    max_output_tokens: int = 1024
    json_schema: dict[str, Any] | None = None
    """Sent to providers that can constrain their output. The prompt contains it in any case."""
    draw: str = ""
    """Distinguishes samples at a temperature above 0: batch id and attempt."""
    attempt: int = 0
    """Number of the repeated question within one structured call."""
    tags: dict[str, str | int] = Field(default_factory=dict)
    """Agent, iteration, batch: for tracing and accounting. Not part of the cache key."""


class ChatReply(Record):
    """The LLM's text and what it cost."""

    text: str
    usage: Usage
    truncated: bool = False
    """Whether the text was cut at the token limit."""
    refused: bool = False
    """Whether the model or the provider's filter refused. `text` is then what it said instead of an answer."""
    cached: bool = False
    """Whether the reply comes from the cache."""
    key: str = ""
    """Key of the call in the response cache."""
    price_share: float = 1.0
    """Fraction of the regular price that is charged: half for answers from a batch."""
    n_cached_input_tokens: int = 0
    """Number of the input tokens that the provider has read from its own cache, which may have another price."""
