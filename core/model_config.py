"""The settings of one LLM role."""

import re
import unicodedata
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qs, urlsplit, urlunsplit

from pydantic import Field, field_validator, model_validator

from pada_agent.core.setting_texts import take_name
from pada_agent.core.settings import VARIABLE, Settings

_ENDPOINT = re.compile(r"/(?:chat/)?completions/?$")
_HEADER_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_OURS = {"model", "messages", "stream", "n"}
"""Request parameters that users cannot set."""
_LIMITED = {
    *("model", "base_url", "api_key_env", "headers", "header_envs", "region", "economy", "context_tokens"),
    *("max_concurrency", "requests_per_minute", "tokens_per_minute"),
}
"""Settings that decide whose limits count, and the limits."""
ECONOMY_PRICE = 0.5
"""Fraction of the regular price that OpenAI and Anthropic charge for batches, and OpenAI for its `flex` tier."""
FLEX_SECONDS = 900.0
"""Timeout for one answer of the `flex` tier, as OpenAI recommends."""


def find_odd_character(text: str) -> str:
    """A character that no HTTP header can hold, in words. Empty if there is none."""
    odd = next((c for c in text if not " " <= c <= "~"), None)
    return f"{unicodedata.name(odd, 'a control character')} (U+{ord(odd):04X})" if odd else ""


def check_address(url: str) -> str:
    """The address without white space around it, and without the name of the endpoint, which the client adds.

    Raises:
        ValueError: it is none, or contains what does not belong into it.
    """
    url = url.strip()
    if not re.match(r"https?://[^/]", url):
        raise ValueError("it must begin with http:// or https://, such as http://127.0.0.1:8000/v1")
    if re.search(r"[\s\x00-\x1f\x7f\"'<>]", url):
        raise ValueError("expected an address without spaces, line breaks or quotation marks")
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "a URL without user, password or ?key= is expected; api_key_env names the key's variable, and Azure's"
            " ?api-version= goes with azure_openai:DEPLOYMENT"
        )
    if not _has_valid_port(parts):
        raise ValueError("the port after the last colon must be a number from 1 to 65535")
    return _ENDPOINT.sub("", url)


def _has_valid_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


class ModelConfig(Settings):
    """The LLM in one role."""

    model: str
    """Provider and model: `openai:…`, `bedrock_converse:…`, `azure_openai:DEPLOYMENT` or `local:…` (embedded llama.cpp). Add `base_url` for any
    OpenAI-compatible server. With `pada-agent[providers]`, also what LangChain's `init_chat_model` supports: `anthropic:…`, `google_genai:…`,
    `mistralai:…`, `groq:…` (docs/teachers.md)."""
    base_url: str | None = None
    """URL of an OpenAI-compatible server, such as `http://127.0.0.1:8000/v1`, or of an Azure resource. Null uses the provider's own."""
    api_version: str | None = None
    """Azure OpenAI only: API version, such as `2024-10-21`. Null uses OPENAI_API_VERSION."""
    api_key_env: str | None = Field(default=None, pattern=VARIABLE)
    """Name of the environment variable that holds the API key. Never put the key itself into settings."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers sent with every request, for OpenAI and compatible servers only. Don't put secrets here: headers are stored with the run."""
    header_envs: dict[str, str] = Field(default_factory=dict)
    """Headers with secret values: for each header, the name of the environment variable that holds its value."""
    max_output_tokens: int = Field(default=2048, ge=16)
    """Maximum number of tokens per answer. Our default leaves room for a batch of 5 rows. Set 8,000 or more for reasoning models, whose thoughts
    count too."""
    send_temperature: bool | None = None
    """Whether to send the temperature. Null sends it until the model rejects it, as reasoning models do."""
    reasoning_effort: str | None = None
    """How long a reasoning model thinks, such as `low`. For OpenAI, Azure and compatible servers."""
    service_tier: str | None = None
    """OpenAI service tier, such as `priority`. For `flex`, set `economy` instead, which also accounts for its price."""
    economy: Literal["flex", "batch"] | None = None
    """Pay half the price for answers that may take longer. `flex` uses OpenAI's tier of that name. `batch` sends calls that can be made at the same
    time as one batch to OpenAI's Batch API or Anthropic's Message Batches, and the run waits for it, 24 hours at most. Leave the prices below at the
    regular ones."""
    batch_window_seconds: float = Field(default=10, ge=0, le=3600)
    """Seconds without a further call after which a batch is sent. Our default: 10."""
    batch_poll_seconds: float = Field(default=30, gt=0, le=3600)
    """Seconds between two checks of whether a batch is finished. Our default: 30."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Additional parameters, passed on unchanged: in the request for OpenAI and compatible servers, to the constructor for LangChain's other chat
    models, and as `additionalModelRequestFields` for Bedrock."""
    timeout_seconds: float = Field(default=300, gt=0)
    """Seconds to wait for one answer. Our default: 300, or 900 with `economy: flex`, as OpenAI recommends."""
    max_concurrency: int = Field(default=8, ge=1)
    """Maximum number of requests in progress at the same time. Our default: 8."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Rate limit of your provider in requests per minute. Null means no limit."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Rate limit of your provider in tokens per minute, input and output together. Null means no limit."""
    usd_per_million_input_tokens: float = Field(default=0, ge=0)
    """Price in US dollars, used for cost figures and `budget.max_usd`. 0 means free on this machine, and elsewhere that the cost is not known."""
    usd_per_million_cached_input_tokens: float | None = Field(default=None, ge=0)
    """Price in US dollars of input tokens that the provider reports as read from its cache. Null counts them at the full price."""
    usd_per_million_output_tokens: float = Field(default=0, ge=0)
    """Price in US dollars, used for cost figures and `budget.max_usd`. 0 means free on this machine, and elsewhere that the cost is not known.
    Thoughts count as output."""
    native_json_schema: bool | None = None
    """Ask the provider to constrain output to the JSON schema. Null does so where it is known to work."""
    region: str | None = None
    """AWS region. Bedrock only."""
    context_tokens: int = Field(default=4096, ge=512)
    """Context length in tokens per request slot. Embedded engine only."""

    @property
    def provider(self) -> str:
        """The part of `model` before the colon."""
        return self.model.partition(":")[0]

    @property
    def tier(self) -> str | None:
        """The service tier to request."""
        return "flex" if self.economy == "flex" else self.service_tier

    @property
    def cached_input_price(self) -> float:
        """US dollars per million input tokens that the provider has read from its cache."""
        price = self.usd_per_million_cached_input_tokens
        return self.usd_per_million_input_tokens if price is None else price

    @property
    def has_usual_time(self) -> bool:
        """Whether the timeout is the one that this `economy` has by default."""
        usual = FLEX_SECONDS if self.economy == "flex" else type(self).model_fields["timeout_seconds"].default
        return bool(self.timeout_seconds == usual)

    @property
    def limits_key(self) -> str:
        """Roles for which this is the same share the limits of a model, whatever else they set."""
        return self.model_dump_json(include=_LIMITED)

    @model_validator(mode="before")
    @classmethod
    def _give_flex_time(cls, values: Any) -> Any:
        is_flex = isinstance(values, dict) and values.get("economy") == "flex"
        return {"timeout_seconds": FLEX_SECONDS, **values} if is_flex else values

    @model_validator(mode="after")
    def _check_economy(self) -> "ModelConfig":
        if self.economy is not None and self.service_tier not in (None, self.economy):
            raise ValueError(f"economy: {self.economy} and service_tier: {self.service_tier} cannot be combined")
        return self

    @model_validator(mode="before")
    @classmethod
    def _take_api_version(cls, values: Any) -> Any:
        """Azure's addresses are given with `?api-version=…`: it goes where it belongs."""
        url = values.get("base_url") if isinstance(values, dict) else None
        if not isinstance(url, str) or not str(values.get("model", "")).startswith("azure_openai:"):
            return values
        version = parse_qs(urlsplit(url).query).get("api-version")
        if not version:
            return values
        if values.get("api_version") not in (None, "", version[0]):
            raise ValueError(
                f"base_url names the API version {version[0]}, and api_version {values['api_version']}. Leave out ?api-version=, or change"
                " api_version"
            )
        bare = urlunsplit(urlsplit(url)._replace(query=""))
        return {**values, "base_url": bare, "api_version": version[0]}

    _take_names = field_validator(
        *("base_url", "api_version", "api_key_env", "reasoning_effort", "service_tier", "region"), mode="before"
    )(take_name)

    @field_validator("base_url")
    @classmethod
    def _check_address(cls, url: str | None) -> str | None:
        return None if url is None else check_address(url)

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        headers = {name: value.strip() for name, value in headers.items()}
        if odd := [(name, found) for name, value in headers.items() if (found := find_odd_character(value))]:
            raise ValueError(f"the value of {odd[0][0]} contains {odd[0][1]}, which no header can hold")
        return headers

    @field_validator("headers", "header_envs")
    @classmethod
    def _check_names(cls, headers: dict[str, str]) -> dict[str, str]:
        if odd := [name for name in headers if not _HEADER_NAME.fullmatch(name)]:
            raise ValueError(f"{odd[0]!r} is not the name of a header, such as X-Team")
        return headers

    @field_validator("extra")
    @classmethod
    def _keep_what_is_ours(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if ours := sorted(_OURS & extra.keys()):
            raise ValueError(f"{ours[0]} is not accepted here: the run sets it, or could not read the answers")
        return extra

    @field_validator("header_envs")
    @classmethod
    def _check_variables(cls, variables: dict[str, str]) -> dict[str, str]:
        if not all(re.match(VARIABLE, name) for name in variables.values()):
            raise ValueError("names of environment variables are expected, not the values themselves")
        return variables
