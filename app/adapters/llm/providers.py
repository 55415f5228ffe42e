"""The providers that a model name may begin with: which settings they need, and how their chat models are made."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qs, urlsplit

from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from pada_agent.app.adapters.llm import local_engine, own_llama_server
from pada_agent.app.adapters.llm.batch_services import AnthropicBatches, BatchService, OpenAIBatches
from pada_agent.app.adapters.llm.clients import ChatClient, ConstructedClient, OpenAIClient, PlainClient
from pada_agent.app.adapters.llm.constructors import construct
from pada_agent.app.adapters.llm.environment import (
    Address,
    check_proxies,
    read_address,
    read_as_it_is,
    read_header,
    read_key,
)
from pada_agent.app.adapters.llm.redaction import Redaction
from pada_agent.app.adapters.storage import model_store
from pada_agent.core.chat import Role
from pada_agent.core.errors import ConfigError, ModelUnavailableError
from pada_agent.core.model_config import ModelConfig
from pada_agent.core.suggestions import suggest


@dataclass(frozen=True)
class Opening:
    """How to make a role's chat model, and what must not be repeated in anything stored or shown."""

    open: Callable[[], ChatClient]
    redaction: Redaction = field(default_factory=Redaction)
    batches: Callable[[Callable[[], ChatClient]], BatchService] | None = None
    """How its batches are sent and read, given a function that makes an ordinary client. None: we know of no batches."""
    address: Address | None = None
    """Where it is asked. None: what makes its client decides."""
    close: Callable[[], None] = lambda: None
    """Ends what a client waits for. Safe in a signal handler."""
    written_by_app: str = ""
    """Class of the chat model, if the application has written it. A mistake in it ends the run at once, because it would happen again."""


class Partner(NamedTuple):
    """A LangChain chat model that has its own package."""

    package: str
    key_variables: tuple[str, ...] = ()
    """Environment variables, any of which holds the key."""
    limits_calls: bool = False
    """Whether it takes `max_tokens` with each call, and not when it is made."""


PARTNERS: Mapping[str, Partner] = {
    "anthropic": Partner("langchain-anthropic", ("ANTHROPIC_API_KEY",)),
    "google_genai": Partner("langchain-google-genai", ("GOOGLE_API_KEY", "GEMINI_API_KEY")),
    "mistralai": Partner("langchain-mistralai", ("MISTRAL_API_KEY",)),
    "groq": Partner("langchain-groq", ("GROQ_API_KEY",)),
    "cohere": Partner("langchain-cohere", ("COHERE_API_KEY",), limits_calls=True),
    "deepseek": Partner("langchain-deepseek", ("DEEPSEEK_API_KEY",)),
    "xai": Partner("langchain-xai", ("XAI_API_KEY",)),
    "together": Partner("langchain-together", ("TOGETHER_API_KEY",)),
    "fireworks": Partner("langchain-fireworks", ("FIREWORKS_API_KEY",)),
    "perplexity": Partner("langchain-perplexity", ("PPLX_API_KEY",)),
    "google_vertexai": Partner("langchain-google-vertexai"),
    "ollama": Partner("langchain-ollama"),
}
"""By the provider's name in `init_chat_model`."""
IN_EXTRA = ("anthropic", "google_genai", "mistralai", "groq")
"""Providers whose packages come with `pada-agent[providers]`."""
OPENAI, ANTHROPIC = "https://api.openai.com/v1", "https://api.anthropic.com"
ANTHROPIC_VERSION = "2023-06-01"
AWS_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK")
_KEY_VARIABLES = {"openai": ("OPENAI_API_KEY",), "azure_openai": ("AZURE_OPENAI_API_KEY",)}
_WITHOUT_PROXY = ("local", "own", "bedrock_converse")
"""Providers that are not asked through the HTTP client whose proxies we check."""
_OPENAI_ALONE = ("headers", "header_envs", "reasoning_effort", "service_tier")
_ACCOUNT = {
    "openai-organization": ("OPENAI_ORG_ID", "OPENAI_ORGANIZATION"),
    "openai-project": ("OPENAI_PROJECT_ID",),
}
_AZURE_ENDPOINT = "AZURE_OPENAI_ENDPOINT"
_DEPLOYMENT = re.compile(r"^(?P<endpoint>https?://[^/]+)(?:/openai(?:/deployments/(?P<deployment>[^/]+))?.*)?/?$")


def find_opening(config: ModelConfig, role: Role) -> Opening:
    """How to make the role's model. Nothing is started or contacted yet.

    Raises:
        ConfigError: the provider is unknown; a package, a key, an address or a region is missing; or a setting cannot
            be used.
    """
    provider, _, name = config.model.partition(":")
    known = {**_PROVIDERS, **dict.fromkeys(PARTNERS, _open_partner)}
    if provider not in known or not name:
        raise ConfigError(
            f"models.{role}.model is '{config.model}'; expected {', '.join(f'{p}:NAME' for p in known)}"
            f" (openai: with base_url for any compatible server; docs/teachers.md).{suggest(provider, known)}"
        )
    if odd := [f for f in _find_unused(provider) if getattr(config, f)]:
        more = f" Parameters with other names go under models.{role}.extra." if odd[0] in _OPENAI_ALONE else ""
        raise ConfigError(f"models.{role}.{odd[0]}: {provider} does not support it. Leave it out.{more}")
    if provider not in _WITHOUT_PROXY:
        check_proxies()
    opening = known[provider](config, name, role)
    able = {"flex": ("openai",), "batch": ("openai", "anthropic")}.get(config.economy or "", known)
    if provider not in able:
        wanted = " and ".join(f"{name}:" for name in able)
        raise ConfigError(f"models.{role}.economy: {config.economy} is for {wanted} models. Leave it out.")
    return opening


def _find_unused(provider: str) -> tuple[str, ...]:
    """Settings that would be ignored."""
    if provider == "azure_openai":
        return ()
    if provider == "openai":
        return ("api_version",)
    without_address = ("base_url",) if provider in ("local", "bedrock_converse") else ()
    without_extra = ("extra",) if provider in ("local", "own") else ()
    return ("api_version", *without_address, *without_extra, *_OPENAI_ALONE)


def _open_openai(config: ModelConfig, name: str, role: Role) -> Opening:
    address = _find_address(config, "OPENAI_API_BASE", "OPENAI_BASE_URL") or Address(OPENAI, "")
    official = _is_openai(address.url)
    key = _find_key(config, role, needed=official)
    headers = _read_headers(config, role)

    def make() -> ChatClient:
        chat = _chat_openai(config, name, key=key or "not-needed", url=address.url, headers=headers)
        return OpenAIClient(
            chat,
            config,
            limit="max_completion_tokens" if official else "max_tokens",
            constrain=official if config.native_json_schema is None else config.native_json_schema,
        )

    def make_batches(ordinary: Callable[[], ChatClient]) -> BatchService:
        client = cast(Callable[[], OpenAIClient], ordinary)
        return OpenAIBatches(config, name, address.url, _authorize(key) | _name_account(headers) | headers, client)

    return Opening(make, _redact(config, key, headers), make_batches, address)


def _open_azure(config: ModelConfig, name: str, role: Role) -> Opening:
    address = _find_address(config, _AZURE_ENDPOINT, drops_query=True)
    found = _DEPLOYMENT.match(address.url) if address else None
    version = config.api_version or os.environ.get("OPENAI_API_VERSION") or _find_version(address)
    if found is None or version is None:
        missing = (
            "base_url (https://RESOURCE.openai.azure.com)" if found is None else "api_version (such as 2024-10-21)"
        )
        raise ConfigError(f"models.{role}: azure_openai needs {missing}.")
    key = _find_key(config, role)
    headers = _read_headers(config, role)

    def make() -> ChatClient:
        from langchain_openai import AzureChatOpenAI

        chat = AzureChatOpenAI(
            azure_endpoint=found["endpoint"],
            azure_deployment=found["deployment"] or name,
            api_version=version,
            api_key=SecretStr(key or ""),
            openai_proxy=None,
            **_common_options(config, headers),
        )
        return OpenAIClient(chat, config, limit="max_completion_tokens", constrain=bool(config.native_json_schema))

    return Opening(make, _redact(config, key, headers), address=address)


def _open_local(config: ModelConfig, name: str, role: Role) -> Opening:
    del role
    file = model_store.resolve(name)
    own_llama_server.find_command()  # an error now is better than one at the first call

    def start() -> ChatClient:
        engine = local_engine.acquire(file, n_slots=config.max_concurrency, context_tokens=config.context_tokens)
        chat = _chat_openai(config, name, key=engine.key, url=engine.url, headers={}, direct=True)
        constrain = config.native_json_schema is not False
        return OpenAIClient(chat, config, limit="max_tokens", constrain=constrain, wrap=False)

    return Opening(start)


def _open_own(config: ModelConfig, name: str, role: Role) -> Opening:
    del name

    def refuse() -> ChatClient:
        raise ConfigError(
            f"models.{role}.model is '{config.model}': the application has to provide this model, but it did not. "
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
    read_as_it_is("AWS_ACCESS_KEY_ID")
    secrets = tuple(value for variable in AWS_SECRETS if (value := read_as_it_is(variable)))
    return Opening(lambda: PlainClient(_chat_bedrock(config, name), config), Redaction(secrets))


def _open_partner(config: ModelConfig, name: str, role: Role) -> Opening:
    provider = config.provider
    partner = PARTNERS[provider]
    absent = [p for p in ("langchain", partner.package) if find_spec(p.replace("-", "_")) is None]
    if absent:
        wanted = "'pada-agent[providers]'" if provider in IN_EXTRA else f"langchain {partner.package}"
        raise ConfigError(
            f"models.{role}.model is '{config.model}': the package {' and '.join(absent)} is missing. Install it:"
            f" pip install {wanted}"
        )
    key = _find_key(config, role, needed=bool(partner.key_variables))
    variables = ("ANTHROPIC_API_URL", "ANTHROPIC_BASE_URL") if provider == "anthropic" else ()
    address = _find_address(config, *variables)
    given = {"api_key": key, "base_url": address and address.url}
    options = {name: value for name, value in given.items() if value}

    def make(**common: Any) -> BaseChatModel:
        return construct(config, name, role, **common, **options)

    def open_client() -> ChatClient:
        return PlainClient(make(), config) if partner.limits_calls else ConstructedClient(make, config)

    def make_batches(_: Callable[[], ChatClient]) -> BatchService:
        headers = {"x-api-key": key or "", "anthropic-version": ANTHROPIC_VERSION}
        return AnthropicBatches(config, name, address.url if address else ANTHROPIC, headers)

    batches = make_batches if provider == "anthropic" else None
    return Opening(open_client, _redact(config, key, {}), batches, address)


_PROVIDERS: Mapping[str, Callable[[ModelConfig, str, Role], Opening]] = {
    "bedrock_converse": _open_bedrock,
    "openai": _open_openai,
    "azure_openai": _open_azure,
    "local": _open_local,
    "own": _open_own,
}


def find_key_variables(config: ModelConfig) -> tuple[str, ...]:
    """The environment variables, any one of which holds the role's key."""
    if config.api_key_env:
        return (config.api_key_env,)
    partner = PARTNERS.get(config.provider)
    return partner.key_variables if partner else _KEY_VARIABLES.get(config.provider, ())


def _find_address(config: ModelConfig, *variables: str, drops_query: bool = False) -> Address | None:
    """Where the settings or else these environment variables say that it is."""
    if config.base_url:
        return Address(config.base_url, "base_url")
    return read_address(variables, drops_query=drops_query)


def _is_openai(url: str) -> bool:
    """Whether it is OpenAI itself, and not one of the servers that speak its protocol."""
    return f".{urlsplit(url).hostname}".endswith(f".{urlsplit(OPENAI).hostname}")


def _find_version(address: Address | None) -> str | None:
    """The API version at the end of Azure's target URI in the environment variable, if the address is from there."""
    if address is None or address.source != _AZURE_ENDPOINT:
        return None
    return parse_qs(urlsplit(os.environ[_AZURE_ENDPOINT].strip()).query).get("api-version", [None])[0]


def _find_key(config: ModelConfig, role: Role, *, needed: bool = True) -> str | None:
    variables, is_needed = find_key_variables(config), needed or config.api_key_env is not None
    with (
        nullcontext() if is_needed else suppress(ConfigError)
    ):  # a server that needs no key gets none that is not valid
        if key := next((value for name in variables if (value := read_key(name))), None):
            return key
    if is_needed:
        raise ConfigError(
            f"models.{role}: no API key. Set the environment variable {' or '.join(variables)}, or choose another model."
        )
    return None


def _read_headers(config: ModelConfig, role: Role) -> dict[str, str]:
    """The headers from the settings, with the secret ones from the environment."""
    secret = {header: read_header(variable) for header, variable in config.header_envs.items()}
    if absent := [config.header_envs[header] for header, value in secret.items() if value is None]:
        raise ConfigError(f"models.{role}.header_envs: the environment variable {absent[0]} is not set.")
    return {**config.headers, **{header: value or "" for header, value in secret.items()}}


def _authorize(key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def _name_account(given: Iterable[str]) -> dict[str, str]:
    """The headers by which OpenAI's own client says whose account is charged, from the variables that it reads.

    Args:
        given: names of headers in the settings, which come first.
    """
    known = {header.lower() for header in given}
    found = {header: [value for name in names if (value := read_header(name))] for header, names in _ACCOUNT.items()}
    return {header: values[0] for header, values in found.items() if values and header.lower() not in known}


def _redact(config: ModelConfig, key: str | None, headers: Mapping[str, str]) -> Redaction:
    secret_headers = [headers[header] for header in config.header_envs]
    return Redaction(tuple(secret for secret in (key, *secret_headers) if secret))


def _common_options(config: ModelConfig, headers: Mapping[str, str], *, direct: bool = False) -> dict[str, Any]:
    """`direct` ignores the proxies of the environment."""
    from openai import DefaultAsyncHttpxClient, DefaultHttpxClient

    # Retries are CallGate's: two layers would multiply. A redirect could lead past the hosts that a server allows.
    return {
        "timeout": config.timeout_seconds,
        "max_retries": 0,
        "default_headers": dict(headers) or None,
        "use_responses_api": False,
        "http_client": DefaultHttpxClient(follow_redirects=False, trust_env=not direct),
        "http_async_client": DefaultAsyncHttpxClient(follow_redirects=False, trust_env=not direct),
    }


def _chat_openai(
    config: ModelConfig, name: str, *, key: str, url: str, headers: Mapping[str, str], direct: bool = False
) -> BaseChatModel:
    from langchain_openai import ChatOpenAI

    options = _common_options(config, headers, direct=direct)
    return ChatOpenAI(model=name, base_url=url, api_key=lambda: key, openai_proxy=None, **options)


def _chat_bedrock(config: ModelConfig, name: str) -> BaseChatModel:
    from botocore.config import Config
    from langchain_aws import ChatBedrockConverse

    limits = Config(read_timeout=config.timeout_seconds, retries={"total_max_attempts": 1})
    more = {"additional_model_request_fields": config.extra} if config.extra else {}
    try:
        chat: BaseChatModel = ChatBedrockConverse(model=name, region_name=config.region, config=limits, **more)
    except ValueError as exc:
        raise ModelUnavailableError(f"{config.model}: Bedrock cannot be used: {exc}") from exc
    return chat
