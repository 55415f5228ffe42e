"""LLM roles over LangChain chat models: Bedrock, OpenAI, any OpenAI-compatible server, and the embedded engine."""

import os
import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from pada_agent.app.adapters import local_engine, model_store
from pada_agent.app.adapters.limits import Budget, CallGate
from pada_agent.app.adapters.provider_errors import translate_error
from pada_agent.app.adapters.response_cache import ResponseCache, call_key
from pada_agent.core.config import ModelConfig
from pada_agent.core.errors import ConfigError, ModelUnavailableError
from pada_agent.core.ports import ChatReply, ChatRequest, Message, Role
from pada_agent.core.records import Usage

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
        open_model: Callable[[], BaseChatModel],
        constrain: bool,
    ) -> None:
        self._config = config
        self._role = role
        self._cache = cache
        self._budget = budget
        self._gate = gate
        self._open_model = open_model
        self._constrain = constrain
        self._model: BaseChatModel | None = None
        self._lock = Lock()

    @property
    def name(self) -> str:
        return self._config.model

    @property
    def family(self) -> str:
        return family_of(self._config.model)

    def complete(self, request: ChatRequest) -> ChatReply:
        key = call_key(self._cache_name(), request)
        agent = str(request.tags.get("agent", ""))
        if cached := self._cache.get(key, role=self._role, agent=agent):
            return cached
        started = time.time()
        reply = self._gate.run(
            lambda: self._call(request, key), tokens_of=lambda r: r.usage.input_tokens + r.usage.output_tokens
        )
        seconds = time.time() - started
        self._cache.put(reply, request, model=self.name, role=self._role, started=started, seconds=seconds)
        return reply

    def _cache_name(self) -> str:
        return f"{self._config.model}@{self._config.base_url or ''}"

    def _call(self, request: ChatRequest, key: str) -> ChatReply:
        self._budget.check()
        model = self._connect()
        options: dict[str, Any] = {"temperature": request.temperature, "max_tokens": request.max_output_tokens}
        if self._constrain and request.json_schema is not None:
            options["response_format"] = _response_format(request.json_schema)
        agent = str(request.tags.get("agent", self._role))
        try:
            message = model.invoke(
                [_to_langchain(m) for m in request.messages],
                config={"run_name": agent, "tags": [self._role], "metadata": dict(request.tags)},
                **options,
            )
        except Exception as exc:
            translated = translate_error(exc, name=self.name, url=self._config.base_url)
            if translated is None:
                raise
            raise translated from exc
        return self._to_reply(message, key)

    def _connect(self) -> BaseChatModel:
        with self._lock:
            if self._model is None:
                self._model = self._open_model()
            return self._model

    def _to_reply(self, message: AIMessage, key: str) -> ChatReply:
        counted = message.usage_metadata
        n_in, n_out = (counted["input_tokens"], counted["output_tokens"]) if counted else (0, 0)
        cost = (
            n_in * self._config.usd_per_million_input_tokens + n_out * self._config.usd_per_million_output_tokens
        ) / MILLION
        reason = message.response_metadata.get("finish_reason") or message.response_metadata.get("stopReason")
        return ChatReply(
            text=message.text,
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
    open_model = PROVIDERS[provider](config, name, role)
    return ChatModelAdapter(
        config,
        role=role,
        cache=cache,
        budget=budget,
        gate=gate,
        open_model=open_model,
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


def _open_openai(config: ModelConfig, name: str, role: Role) -> Callable[[], BaseChatModel]:
    variable = config.api_key_env or "OPENAI_API_KEY"
    key = os.environ.get(variable) or ("not-needed" if config.base_url and not config.api_key_env else None)
    if key is None:
        raise ConfigError(
            f"models.{role}: no API key. Set the environment variable {variable}, or choose another model."
        )
    return lambda: _chat_openai(config, name, key=key, url=config.base_url)


def _open_local(config: ModelConfig, name: str, role: Role) -> Callable[[], BaseChatModel]:
    del role
    file = model_store.resolve(name)

    def start() -> BaseChatModel:
        url = local_engine.acquire(file, n_slots=config.max_concurrency, context_tokens=config.context_tokens)
        return _chat_openai(config, name, key="not-needed", url=url)

    return start


def _open_bedrock(config: ModelConfig, name: str, role: Role) -> Callable[[], BaseChatModel]:
    if not (config.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
        raise ConfigError(f"models.{role}: Bedrock needs an AWS region. Set models.{role}.region or AWS_REGION.")
    return lambda: _chat_bedrock(config, name)


PROVIDERS: dict[str, Callable[[ModelConfig, str, Role], Callable[[], BaseChatModel]]] = {
    "bedrock_converse": _open_bedrock,
    "openai": _open_openai,
    "local": _open_local,
}


def _chat_openai(config: ModelConfig, name: str, *, key: str, url: str | None) -> BaseChatModel:
    from langchain_openai import ChatOpenAI

    # Retries are CallGate's: two layers would multiply.
    return ChatOpenAI(model=name, api_key=lambda: key, base_url=url, timeout=config.timeout_seconds, max_retries=0)


def _chat_bedrock(config: ModelConfig, name: str) -> BaseChatModel:
    from botocore.config import Config
    from langchain_aws import ChatBedrockConverse

    limits = Config(read_timeout=config.timeout_seconds, retries={"total_max_attempts": 1})
    try:
        return ChatBedrockConverse(model=name, region_name=config.region, config=limits)
    except ValueError as exc:
        raise ModelUnavailableError(f"{config.model}: Bedrock cannot be used: {exc}") from exc


def _to_langchain(message: Message) -> BaseMessage:
    kinds: dict[str, type[BaseMessage]] = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
    return kinds[message.role](content=message.content)


def _response_format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
