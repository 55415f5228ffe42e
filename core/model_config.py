"""The settings of one LLM role."""

import re
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit, urlunsplit

from pydantic import Field, field_validator, model_validator

from pada_agent.core.settings import Settings

_ENDPOINT = re.compile(r"/(?:chat/)?completions/?$")
_OURS = {"model", "messages", "stream", "n"}
"""Parameters of a request that are not a user's."""
ECONOMY_PRICE = 0.5
"""Of the ordinary price: what OpenAI and Anthropic ask for batches, and OpenAI for its tier `flex`."""
FLEX_SECONDS = 900.0
"""For one answer of the tier `flex`, as OpenAI advises."""
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"


class ModelConfig(Settings):
    """One LLM role."""

    model: str
    """`openai:…`, `bedrock_converse:…`, `azure_openai:DEPLOYMENT`, `local:…` (embedded llama.cpp), with base_url any
    OpenAI-compatible server, or with `pada-agent[providers]` what LangChain's `init_chat_model` knows: `anthropic:…`,
    `google_genai:…`, `mistralai:…`, `groq:…` (docs/teachers.md)."""
    base_url: str | None = None
    """Address of an OpenAI-compatible server, such as `http://127.0.0.1:8000/v1`, or of an Azure resource; null: the
    provider's own."""
    api_version: str | None = None
    """Azure OpenAI only, such as `2024-10-21`; null: that of OPENAI_API_VERSION."""
    api_key_env: str | None = Field(default=None, pattern=_VARIABLE)
    """Name of the environment variable that holds the key. Keys themselves never stand in settings."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Sent with every request. OpenAI and compatible servers only. Nothing secret: they are kept with the run."""
    header_envs: dict[str, str] = Field(default_factory=dict)
    """Headers whose value is a secret: the name of the environment variable that holds it, for each."""
    max_output_tokens: int = Field(default=2048, ge=16)
    """Tokens per answer. Ours: room for a batch of 5 rows. A reasoning model's thoughts count too: give it 8,000 or more."""
    send_temperature: bool | None = None
    """Whether the temperature is sent; null: until the model refuses it, as reasoning models do."""
    reasoning_effort: str | None = None
    """How long a reasoning model thinks, such as `low`. OpenAI, Azure and compatible servers."""
    service_tier: str | None = None
    """Such as `priority`. OpenAI. For `flex` set `economy`, which counts its price too."""
    economy: Literal["flex", "batch"] | None = None
    """Half the price for answers that may take longer. `flex`: OpenAI's tier of that name. `batch`: calls that can be made at the
    same time go as one batch to OpenAI's Batch API or to Anthropic's Message Batches, and the run waits for it, 24 hours at most.
    The prices below stay the ordinary ones."""
    batch_window_seconds: float = Field(default=10, ge=0, le=3600)
    """A batch is sent when no further call has come for so long. Ours: 10."""
    batch_poll_seconds: float = Field(default=30, gt=0, le=3600)
    """Between two looks at whether a batch is over. Ours: 30."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further parameters, passed on as they are: in the request of OpenAI and compatible servers, to the constructor of
    LangChain's other chat models, as `additionalModelRequestFields` to Bedrock."""
    timeout_seconds: float = Field(default=300, gt=0)
    """Seconds to wait for one answer."""
    max_concurrency: int = Field(default=8, ge=1)
    """Requests under way at once. Ours: 8."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Limit of the provider; null is no limit."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Input and output tokens together, limit of the provider; null is no limit."""
    usd_per_million_input_tokens: float = Field(default=0, ge=0)
    """US dollars, for cost figures and `budget.max_usd`; 0 counts as free."""
    usd_per_million_output_tokens: float = Field(default=0, ge=0)
    """US dollars, for cost figures and `budget.max_usd`; 0 counts as free. Thoughts are output."""
    native_json_schema: bool | None = None
    """Ask the provider to constrain output to the schema; null: where it is known to work."""
    region: str | None = None
    """AWS region, Bedrock only."""
    context_tokens: int = Field(default=4096, ge=512)
    """Tokens per request slot, embedded engine only."""

    @property
    def provider(self) -> str:
        """What stands before the colon of `model`."""
        return self.model.partition(":")[0]

    @property
    def tier(self) -> str | None:
        """The service tier that is asked for."""
        return "flex" if self.economy == "flex" else self.service_tier

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
        bare = urlunsplit(urlsplit(url)._replace(query=""))
        return {**values, "base_url": bare, "api_version": values.get("api_version") or version[0]}

    @field_validator("base_url")
    @classmethod
    def _check_address(cls, url: str | None) -> str | None:
        """Without the name of the endpoint, which the client adds."""
        if url is None:
            return None
        if not re.match(r"https?://[^/]", url):
            raise ValueError("it must begin with http:// or https://, such as http://127.0.0.1:8000/v1")
        parts = urlsplit(url)
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(
                "a URL without user, password or ?key= is expected; api_key_env names the key's variable, and Azure's"
                " ?api-version= goes with azure_openai:DEPLOYMENT"
            )
        return _ENDPOINT.sub("", url)

    @field_validator("extra")
    @classmethod
    def _keep_what_is_ours(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if ours := sorted(_OURS & extra.keys()):
            raise ValueError(f"{ours[0]} is not accepted here: the run sets it itself, or could not read the answers")
        return extra

    @field_validator("header_envs")
    @classmethod
    def _check_variables(cls, variables: dict[str, str]) -> dict[str, str]:
        if not all(re.match(_VARIABLE, name) for name in variables.values()):
            raise ValueError("names of environment variables are expected, not the values themselves")
        return variables
