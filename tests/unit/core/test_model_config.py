"""Settings of LLM roles: what is taken, and what is said of what is not."""

from typing import Any

import pytest
from pydantic import ValidationError

from pada_agent.app.experiment.methods import apply_settings
from pada_agent.core.config_files import change_config, parse_config
from pada_agent.core.model_config import ModelConfig


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("http://host/v1/chat/completions", "http://host/v1"),
        ("https://host/v1/chat/completions/", "https://host/v1"),
        ("https://host/v1/completions", "https://host/v1"),
        (" http://host/v1 \n", "http://host/v1"),
        (None, None),
    ],
)
def test_an_address_is_kept_without_the_endpoint(given: str | None, kept: str | None) -> None:
    assert ModelConfig(model="openai:x", base_url=given).base_url == kept


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base_url": "127.0.0.1:8000/v1"}, "must begin with http://"),
        ({"base_url": "llm.internal"}, "must begin with http://"),
        ({"base_url": "file:///etc/passwd"}, "must begin with http://"),
        ({"base_url": "https://user:sk-1@host/v1"}, "without user, password"),
        ({"base_url": "https://host/v1?api-version=2024-10-21"}, "goes with azure_openai:DEPLOYMENT"),
        ({"base_url": "'http://host/v1'"}, "must begin with http://"),
        ({"base_url": 'http://host/v1"'}, "without spaces, line breaks or quotation marks"),
        ({"base_url": "http://host/v1 key"}, "without spaces, line breaks or quotation marks"),
        ({"base_url": "http://host:port/v1"}, "the port after the last colon"),
        ({"api_key_env": "sk-123"}, "api_key_env"),
        ({"headers": {"X-Team": "Jörg"}}, "the value of X-Team contains LATIN SMALL LETTER O WITH DIAERESIS"),
        ({"headers": {"X Team": "data"}}, "'X Team' is not the name of a header"),
        ({"header_envs": {"X-Tëam": "TEAM"}}, "'X-Tëam' is not the name of a header"),
        ({"header_envs": {"X-Token": "sk-123"}}, "names of environment variables"),
        ({"extra": {"model": "other"}}, "model is not accepted here"),
        ({"extra": {"top_k": 1, "stream": True}}, "stream is not accepted here"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ModelConfig(model="openai:x", **settings)


def test_the_version_in_an_azure_address_goes_where_it_belongs() -> None:
    url = "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21"
    config = ModelConfig(model="azure_openai:d", base_url=url)
    assert (config.base_url, config.api_version) == (
        "https://x.openai.azure.com/openai/deployments/d",
        "2024-10-21",
    )


def test_an_azure_address_with_another_version_than_the_setting_is_refused() -> None:
    url = "https://x.openai.azure.com?api-version=2025-01-01"
    assert ModelConfig(model="azure_openai:d", base_url=url, api_version="2025-01-01").api_version == "2025-01-01"
    with pytest.raises(ValidationError, match="base_url names the API version 2025-01-01, and api_version 2024-10-21"):
        ModelConfig(model="azure_openai:d", base_url=url, api_version="2024-10-21")


@pytest.mark.parametrize(
    ("before", "economy", "seconds"),
    [
        ({}, "flex", 900),
        ({"timeout_seconds": 60}, "flex", 60),
        ({"economy": "flex"}, None, 300),
        ({"economy": "flex", "timeout_seconds": 300}, "flex", 300),
        ({"timeout_seconds": 900}, None, 900),
    ],
)
def test_the_time_for_an_answer_follows_the_economy_however_that_is_set(
    before: dict[str, Any], economy: str | None, seconds: float
) -> None:
    """By a grid, by `--set`, and with other settings changed afterwards."""
    config = parse_config({"models": {"judge": {"model": "openai:m", **before}}}, origin="test")
    in_grid = apply_settings(config, {"models.judge.economy": economy}, origin="set")
    resumed = change_config(config, [f"models.judge={{economy: {economy or 'null'}}}"])
    for changed in (in_grid, resumed, apply_settings(in_grid, {"seed": 1}, origin="set")):
        assert changed.models.judge.timeout_seconds == seconds


@pytest.mark.parametrize(
    ("settings", "are_shared"),
    [
        ({"max_output_tokens": 900, "usd_per_million_output_tokens": 2, "timeout_seconds": 9, "extra": {"a": 1}}, True),
        ({"model": "openai:n"}, False),
        ({"base_url": "http://host/v1"}, False),
        ({"api_key_env": "OTHER_KEY"}, False),
        ({"requests_per_minute": 5}, False),
        ({"economy": "batch"}, False),
    ],
)
def test_roles_share_the_limits_of_one_model_at_one_address(settings: dict[str, Any], are_shared: bool) -> None:
    one, other = ModelConfig(model="openai:m"), ModelConfig.model_validate({"model": "openai:m", **settings})
    assert (one.limits_key == other.limits_key) is are_shared
