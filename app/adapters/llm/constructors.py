"""LangChain's chat models, made with our settings under the names that each class has for them, and without losing any."""

import warnings
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

from langchain_core.language_models import BaseChatModel

from pada_agent.core.chat import Role
from pada_agent.core.errors import ConfigError
from pada_agent.core.model_config import ModelConfig
from pada_agent.core.suggestions import suggest

_SETTINGS = {
    "api_key": "api_key_env",
    "base_url": "base_url",
    "max_tokens": "max_output_tokens",
    "temperature": "send_temperature",
    "timeout": "timeout_seconds",
}
"""Settings by the names that most classes have for them."""
_OWN_NAMES: Mapping[str, Mapping[str, str]] = {
    "cohere": {"api_key": "cohere_api_key", "timeout": "timeout_seconds"},
    "ollama": {"max_tokens": "num_predict", "timeout": "client_kwargs"},
}
"""How some classes call what most call by these names."""
_HARMLESS = {"max_retries"}
"""Where it is unknown, there are no retries that could be turned off."""


def construct(config: ModelConfig, name: str, role: Role, **ours: Any) -> BaseChatModel:
    """The provider's chat model, made with our timeout, with these arguments, and with those in `extra`.

    Args:
        ours: by the names that most classes have for them.

    Raises:
        ConfigError: the class does not know an argument. Pydantic would ignore it without a word.
    """
    from langchain.chat_models import init_chat_model

    arguments = _name_arguments(config, ours)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Google's, about what gRPC will be one day
        chat: BaseChatModel = init_chat_model(name, model_provider=config.provider, **arguments)
    known = {*_list_known(chat), *_HARMLESS}
    for argument in sorted(arguments.keys() - known):
        is_extra = argument in config.extra
        setting = f"extra.{argument}" if is_extra else _SETTINGS.get(argument, argument)
        hint = suggest(argument, sorted(known)) if is_extra else ""
        raise ConfigError(f"models.{role}.{setting}: {type(chat).__name__} has no such parameter. Leave it out.{hint}")
    return chat


def _name_arguments(config: ModelConfig, ours: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments by the class's own names."""
    own = _OWN_NAMES.get(config.provider, {})
    usual = {"timeout": ceil(config.timeout_seconds), "max_retries": 0, **ours}
    named = {own.get(name, name): value for name, value in usual.items()}
    arguments = named | config.extra
    if "client_kwargs" in named:  # of Ollama's HTTP client, which users may give headers
        arguments["client_kwargs"] = {"timeout": named["client_kwargs"], **config.extra.get("client_kwargs", {})}
    return arguments


def _list_known(chat: BaseChatModel) -> Iterator[str]:
    """Arguments that the class has taken: its fields, and what it sends with each request."""
    settings = type(chat).model_config
    by_name = settings.get("populate_by_name") or settings.get("validate_by_name")
    for name, field in type(chat).model_fields.items():
        if by_name or field.alias is None:
            yield name
        if field.alias is not None:
            yield field.alias
    yield from getattr(chat, "model_kwargs", None) or ()
    yield from chat.model_extra or ()
