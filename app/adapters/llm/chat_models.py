"""LLM roles over LangChain chat models: Bedrock, OpenAI, any OpenAI-compatible server, and the embedded engine."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda

from pada_agent.app.adapters.llm import local_engine
from pada_agent.app.adapters.llm.limits import Budget, CallGate
from pada_agent.app.adapters.llm.provider_errors import translate_error
from pada_agent.app.adapters.llm.response_cache import ResponseCache, call_key
from pada_agent.app.adapters.storage import model_store
from pada_agent.core.chat import ChatReply, ChatRequest, Message, Role
from pada_agent.core.config import ModelConfig
from pada_agent.core.errors import ConfigError, ModelUnavailableError
from pada_agent.core.records import Usage
from pada_agent.core.surrogates import join_surrogates

FAMILIES = (
    "qwen",
    "llama",
    "claude",
    "mixtral",
    "mistral",
    "gemma",
    "gemini",
    "deepseek",
    "phi",
    "nova",
    "gpt",
    "smollm",
)
MILLION = 1_000_000


@dataclass(frozen=True)
class Opening:
    """How to make a role's chat model, and what no error may repeat."""

    open: Callable[[], BaseChatModel]
    secret: str = field(default="", repr=False)


class ChatModelAdapter:
    """Implements `core.ports.LanguageModel` over a LangChain chat model, which is made at the first call that needs it."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        role: Role,
        cache: ResponseCache,
        budget: Budget,
        gate: CallGate,
        opening: Opening,
        constrain: bool = False,
    ) -> None:
        self._config = config
        self._role = role
        self._cache = cache
        self._budget = budget
        self._gate = gate
        self._opening = opening
        self._constrain = constrain
        self._traced = RunnableLambda(self._answer)
        self._model: BaseChatModel | None = None
        self._closed = False
        self._lock = RLock()  # a signal handler may close while its thread connects

    @property
    def name(self) -> str:
        return self._config.model

    @property
    def family(self) -> str:
        return family_of(self._config.model)

    def complete(self, request: ChatRequest) -> ChatReply:
        """As the port says. A traced run of its own, named after the agent, around the model's; a cached reply has no model run."""
        return self._traced.invoke(request, config=_describe_call(request, self._role))

    def answered_by(self, chat: BaseChatModel) -> "ChatModelAdapter":
        """The same role with the same cache, budget, limits and prices, over a chat model that the caller made."""
        return ChatModelAdapter(
            self._config,
            role=self._role,
            cache=self._cache,
            budget=self._budget,
            gate=self._gate,
            opening=Opening(lambda: chat),
        )

    def close(self) -> None:
        """Let go of the embedded engine, if this role started one. A thread that is starting it lets go of it itself."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._lock.release()

    def _answer(self, request: ChatRequest) -> ChatReply:
        key = call_key(self._cache_name(), request)
        agent = str(request.tags.get("agent", ""))
        if cached := self._cache.get(key, role=self._role, agent=agent):
            return cached
        return self._gate.run(
            lambda: self._pay(request, key), tokens_of=lambda r: r.usage.input_tokens + r.usage.output_tokens
        )

    def _cache_name(self) -> str:
        return f"{self._config.model}@{self._config.base_url or ''}"

    def _pay(self, request: ChatRequest, key: str) -> ChatReply:
        """Call and note the cost as one, so that the budget counts every call as either in flight or spent."""
        with self._budget.reserve():
            started = time.time()
            reply = self._call(request, key)
            seconds = time.time() - started
            self._cache.put(reply, request, model=self.name, role=self._role, started=started, seconds=seconds)
        return reply

    def _call(self, request: ChatRequest, key: str) -> ChatReply:
        model = self._connect()
        try:
            message = model.invoke(
                [_to_langchain(m) for m in request.messages],
                **_call_options(self._config, request, constrain=self._constrain),
            )
        except Exception as exc:
            secret = self._opening.secret
            error = translate_error(exc, name=self.name, url=self._config.base_url, secret=secret)
            if secret and secret in str(exc):  # some servers repeat the key, and a cause is printed with its error
                raise error from None
            raise error from exc
        return self._to_reply(message, request, key)

    def _connect(self) -> BaseChatModel:
        with self._lock:
            if self._engine_file is not None and self._model is not None and local_engine.has_died(self._engine_file):
                self._let_go()
            if self._model is None and not self._closed:
                self._model = self._opening.open()
            if self._closed:
                self._let_go()
            if self._model is None:
                raise ModelUnavailableError("the run was closed")
            return self._model

    @property
    def _engine_file(self) -> Path | None:
        """The embedded engine's model file."""
        provider, _, name = self._config.model.partition(":")
        return model_store.resolve(name) if provider == "local" else None

    def _let_go(self) -> None:
        opened, self._model = self._model, None
        if opened is not None and self._engine_file is not None:
            local_engine.release(self._engine_file)

    def _to_reply(self, message: AIMessage, request: ChatRequest, key: str) -> ChatReply:
        counted = message.usage_metadata
        n_in = counted["input_tokens"] if counted else sum(_estimate_tokens(m.content) for m in request.messages)
        n_out = counted["output_tokens"] if counted else _estimate_tokens(message.text)
        cost = (
            n_in * self._config.usd_per_million_input_tokens + n_out * self._config.usd_per_million_output_tokens
        ) / MILLION
        reason = message.response_metadata.get("finish_reason") or message.response_metadata.get("stopReason")
        return ChatReply(
            text=join_surrogates(str(message.text)),  # before it is stored: the answer is paid for
            usage=Usage(n_calls=1, input_tokens=n_in, output_tokens=n_out, cost_usd=cost),
            truncated=reason in ("length", "max_tokens"),
            key=key,
        )


def make_language_model(
    config: ModelConfig, *, role: Role, cache: ResponseCache, budget: Budget, gate: CallGate
) -> ChatModelAdapter:
    """The role's model. Nothing is started or contacted before the first call.

    Raises:
        ConfigError: unknown provider, or no key or AWS region where one is needed.
    """
    provider, _, name = config.model.partition(":")
    if provider not in PROVIDERS or not name:
        raise ConfigError(
            f"models.{role}.model is '{config.model}'; expected {', '.join(f'{p}:NAME' for p in PROVIDERS)} "
            "(openai: with base_url for any compatible server)"
        )
    opening = PROVIDERS[provider](config, name, role)
    return ChatModelAdapter(
        config,
        role=role,
        cache=cache,
        budget=budget,
        gate=gate,
        opening=opening,
        constrain=_constrains(config, provider),
    )


def family_of(model: str) -> str:
    """Vendor family of a model's name, or the name itself."""
    lowered = model.casefold()
    return next((family for family in FAMILIES if family in lowered), lowered.partition(":")[2] or lowered)


def _constrains(config: ModelConfig, provider: str) -> bool:
    if config.native_json_schema is not None:
        return config.native_json_schema and provider != "bedrock_converse"
    return provider == "local" or (provider == "openai" and config.base_url is None)


def _open_openai(config: ModelConfig, name: str, role: Role) -> Opening:
    variable = config.api_key_env or "OPENAI_API_KEY"
    key = os.environ.get(variable) or ("not-needed" if config.base_url and not config.api_key_env else None)
    if key is None:
        raise ConfigError(
            f"models.{role}: no API key. Set the environment variable {variable}, or choose another model."
        )
    secret = os.environ.get(variable, "")
    return Opening(lambda: _chat_openai(config, name, key=key, url=config.base_url), secret=secret)


def _open_local(config: ModelConfig, name: str, role: Role) -> Opening:
    del role
    file = model_store.resolve(name)

    def start() -> BaseChatModel:
        engine = local_engine.acquire(file, n_slots=config.max_concurrency, context_tokens=config.context_tokens)
        return _chat_openai(config, name, key=engine.key, url=engine.url)

    return Opening(start)


def _open_own(config: ModelConfig, name: str, role: Role) -> Opening:
    del name

    def refuse() -> BaseChatModel:
        raise ConfigError(
            f"models.{role}.model is '{config.model}': a model that the application brings, and this one brought none. "
            "docs/embedding.md shows how."
        )

    return Opening(refuse)


def _open_bedrock(config: ModelConfig, name: str, role: Role) -> Opening:
    import botocore.session

    session = botocore.session.get_session()
    if not (config.region or os.environ.get("AWS_REGION") or session.get_config_variable("region")):
        raise ConfigError(f"models.{role}: Bedrock needs an AWS region. Set models.{role}.region or AWS_REGION.")
    if not os.environ.get("AWS_BEARER_TOKEN_BEDROCK") and session.get_credentials() is None:
        raise ConfigError(
            f"models.{role}: Bedrock needs AWS credentials. Set AWS_PROFILE, AWS_ACCESS_KEY_ID with "
            "AWS_SECRET_ACCESS_KEY, or AWS_BEARER_TOKEN_BEDROCK; or choose another model."
        )
    return Opening(lambda: _chat_bedrock(config, name))


PROVIDERS: dict[str, Callable[[ModelConfig, str, Role], Opening]] = {
    "bedrock_converse": _open_bedrock,
    "openai": _open_openai,
    "local": _open_local,
    "own": _open_own,
}


def _chat_openai(config: ModelConfig, name: str, *, key: str, url: str | None) -> BaseChatModel:
    from langchain_openai import ChatOpenAI
    from openai import DefaultAsyncHttpxClient, DefaultHttpxClient

    # Retries are CallGate's: two layers would multiply. A redirect could lead past the hosts that a server allows.
    return ChatOpenAI(
        model=name,
        api_key=lambda: key,
        base_url=url,
        timeout=config.timeout_seconds,
        max_retries=0,
        http_client=DefaultHttpxClient(follow_redirects=False),
        http_async_client=DefaultAsyncHttpxClient(follow_redirects=False),
    )


def _chat_bedrock(config: ModelConfig, name: str) -> BaseChatModel:
    from botocore.config import Config
    from langchain_aws import ChatBedrockConverse

    limits = Config(read_timeout=config.timeout_seconds, retries={"total_max_attempts": 1})
    try:
        chat: BaseChatModel = ChatBedrockConverse(model=name, region_name=config.region, config=limits)
    except ValueError as exc:
        raise ModelUnavailableError(f"{config.model}: Bedrock cannot be used: {exc}") from exc
    return chat


def _describe_call(request: ChatRequest, role: Role) -> RunnableConfig:
    """What tracers and callbacks see of a call."""
    agent = str(request.tags.get("agent", role))
    return {
        "run_name": agent,
        "tags": [role, agent],
        "metadata": {**request.tags, "role": role, "reask": request.attempt},
    }


def _to_langchain(message: Message) -> BaseMessage:
    kinds: dict[str, type[BaseMessage]] = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
    return kinds[message.role](content=message.content)


def _call_options(config: ModelConfig, request: ChatRequest, *, constrain: bool) -> dict[str, Any]:
    """What `invoke` needs beside the messages.

    For OpenAI servers most goes through `extra_body`: as a parameter, `response_format` makes the client raise on a
    truncated answer and lose its text, and `max_tokens` is renamed to a form that older servers ignore.
    """
    options: dict[str, Any] = {"temperature": request.temperature}
    provider = config.model.partition(":")[0]
    if provider in ("bedrock_converse", "own"):
        return {**options, "max_tokens": request.max_output_tokens}
    official = provider == "openai" and config.base_url is None
    body: dict[str, Any] = {"max_completion_tokens" if official else "max_tokens": request.max_output_tokens}
    if constrain and request.json_schema is not None:
        body["response_format"] = _response_format(request.json_schema, wrap=provider == "openai")
    return {**options, "extra_body": body}


def _response_format(schema: dict[str, Any], *, wrap: bool) -> dict[str, Any]:
    """OpenAI refuses an array at the root: `wrap` puts it into an object, which is opened again when the answer is read."""
    if wrap and schema.get("type") == "array":
        wrapped = {"items": schema}
        schema = {"type": "object", "properties": wrapped, "required": ["items"], "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def _estimate_tokens(text: str) -> int:
    """For servers that report no usage: four characters a token, rounded up."""
    return -(-len(text) // 4)
