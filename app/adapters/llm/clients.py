"""How a chat model is called: the parameters sent with the messages, and those left out once a model has refused them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from pada_agent.core.chat import ChatRequest, Message
from pada_agent.core.model_config import ModelConfig

_LIMITS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""Names of one limit: the older, and OpenAI's for reasoning models."""


class ChatClient(Protocol):
    """A chat model as this package calls it."""

    def ask(self, request: ChatRequest, refused: frozenset[str]) -> AIMessage:
        """Call it without the parameters that it has refused before."""
        ...


def in_one_piece(chat: BaseChatModel) -> BaseChatModel:
    """A copy that does not stream and uses no cache of LangChain's. Callbacks see its calls as before.

    LangChain streams answers as soon as somebody streams the graph's messages or events, and many servers then report no
    usage. Its cache knows nothing of draws and repeats one answer.
    """
    no_stream = {} if is_made_to_stream(chat) else {"disable_streaming": True}
    return chat.model_copy(update={"cache": False, **no_stream})


def is_made_to_stream(chat: BaseChatModel) -> bool:
    """Whether whoever made the model wants every answer streamed, as some servers require."""
    return getattr(chat, "streaming", None) is True


def can_do_without(parameter: str, refused: frozenset[str], config: ModelConfig) -> bool:
    """Whether a call may be repeated without a parameter that was refused."""
    if parameter == "temperature":
        return parameter not in refused and config.send_temperature is None
    return parameter not in refused


def sends_temperature(config: ModelConfig, refused: frozenset[str]) -> bool:
    return config.send_temperature is not False and "temperature" not in refused


@dataclass(frozen=True)
class _Client:
    chat: BaseChatModel
    config: ModelConfig

    def _invoke(self, request: ChatRequest, refused: frozenset[str], **options: Any) -> AIMessage:
        if sends_temperature(self.config, refused):
            options["temperature"] = request.temperature
        return self._asked.invoke(to_langchain(request), **options)

    @cached_property
    def _asked(self) -> BaseChatModel:
        return in_one_piece(self.chat)


@dataclass(frozen=True)
class OpenAIClient(_Client):
    """For ChatOpenAI and AzureChatOpenAI.

    Most parameters go through `extra_body`: given as a parameter, `response_format` makes the client raise on a
    truncated answer and lose its text, and `max_tokens` is renamed to a form that older servers do not know.
    """

    limit: str
    """Name of the parameter that limits the tokens of an answer, until the model refuses it."""
    constrain: bool = False
    wrap: bool = True
    """OpenAI refuses an array at the root of a schema; llama.cpp accepts it."""

    def ask(self, request: ChatRequest, refused: frozenset[str]) -> AIMessage:
        return self._invoke(request, refused, extra_body=self.make_body(request, refused))

    def make_body(self, request: ChatRequest, refused: frozenset[str]) -> dict[str, Any]:
        """Everything in the request besides model, messages and temperature."""
        config = self.config
        body: dict[str, Any] = {}
        names = [name for name in (self.limit, _LIMITS[self.limit]) if name not in refused]
        if names:
            body[names[0]] = request.max_output_tokens
        if self.constrain and request.json_schema is not None and "response_format" not in refused:
            body["response_format"] = _response_format(request.json_schema, wrap=self.wrap)
        given = {"reasoning_effort": config.reasoning_effort, "service_tier": config.tier}
        return {**body, **{name: value for name, value in given.items() if value}, **config.extra}


@dataclass(frozen=True)
class PlainClient(_Client):
    """For chat models that take `temperature` and `max_tokens` per call: Bedrock's, and those that applications bring."""

    def ask(self, request: ChatRequest, refused: frozenset[str]) -> AIMessage:
        return self._invoke(request, refused, max_tokens=request.max_output_tokens)


class ConstructedClient:
    """For LangChain's other chat models, which take these parameters in the constructor."""

    def __init__(self, make: Callable[..., BaseChatModel], config: ModelConfig) -> None:
        self._make = lru_cache(maxsize=16)(lambda **options: in_one_piece(make(**options)))
        self._config = config

    def ask(self, request: ChatRequest, refused: frozenset[str]) -> AIMessage:
        options: dict[str, Any] = {"max_tokens": request.max_output_tokens}
        if sends_temperature(self._config, refused):
            options["temperature"] = request.temperature
        return self._make(**options).invoke(to_langchain(request))


def to_langchain(request: ChatRequest) -> list[BaseMessage]:
    """The request's turns as LangChain messages."""
    return [_to_message(message) for message in request.messages]


def _to_message(message: Message) -> BaseMessage:
    kinds: dict[str, type[BaseMessage]] = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
    return kinds[message.role](content=message.content)


def _response_format(schema: dict[str, Any], *, wrap: bool) -> dict[str, Any]:
    """`wrap` puts an array into an object, which is unpacked when the answer is read."""
    if wrap and schema.get("type") == "array":
        wrapped = {"items": schema}
        schema = {"type": "object", "properties": wrapped, "required": ["items"], "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
