"""Providers by their names: what is missing, and what each is sent."""

import json
from pathlib import Path
from typing import Any

import pytest

from pada_agent.app.adapters.llm.chat_models import family_of
from pada_agent.core.config import ModelConfig
from pada_agent.core.errors import (
    ArtifactError,
    ConfigError,
)
from tests.fake_chat_server import Answer, FakeChatServer, completion, serve
from tests.unit.app.adapters.llm.chat_world import ask, make_world


@pytest.mark.parametrize("model", ["gpt-4", "antropic:claude", "openai:", ""])
def test_an_unknown_provider_lists_those_there_are(tmp_path: Path, model: str) -> None:
    with pytest.raises(
        ConfigError, match=r"models\.judge.*bedrock_converse:NAME, openai:NAME, azure_openai:NAME, local:NAME, own:NAME"
    ):
        make_world(tmp_path, ModelConfig(model=model), FakeChatServer("", [], []))


def test_a_missing_key_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"models\.judge: no API key\. Set the environment variable OPENAI_API_KEY"):
        make_world(tmp_path, ModelConfig(model="openai:gpt-4o"), FakeChatServer("", [], []))


def test_a_local_model_that_was_not_pulled_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADA_MODELS", str(tmp_path))
    with pytest.raises(ArtifactError, match=r"pada models pull smollm2-135m-instruct"):
        make_world(tmp_path, ModelConfig(model="local:smollm2-135m-instruct"), FakeChatServer("", [], []))


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("bedrock_converse:us.meta.llama3-3-70b-instruct-v1:0", "llama"),
        ("bedrock_converse:us.anthropic.claude-3-5-haiku-20241022-v1:0", "claude"),
        ("local:qwen2.5-coder-1.5b-instruct", "qwen"),
        ("openai:gpt-4o-mini", "gpt"),
        ("openai:mistralai/Mistral-7B", "mistral"),
        ("openai:my-own-model", "my-own-model"),
        ("ollama:gemma3:4b", "gemma"),
        ("openai:o4-mini", "gpt"),
        ("openai:openai/o3", "gpt"),
    ],
)
def test_the_family_is_in_the_name(model: str, family: str) -> None:
    assert family_of(model) == family


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No AWS settings but those the test makes."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def test_bedrock_without_region_or_credentials_says_what_to_set(tmp_path: Path, aws: pytest.MonkeyPatch) -> None:
    config = ModelConfig(model="bedrock_converse:us.meta.llama3-3-70b-instruct-v1:0")
    with pytest.raises(ConfigError, match="AWS_REGION"):
        make_world(tmp_path, config, FakeChatServer("", [], []))
    aws.setenv("AWS_REGION", "us-east-1")
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID"):
        make_world(tmp_path, config, FakeChatServer("", [], []))


def test_bedrock_is_called_with_our_limits_and_read_with_its_usage(tmp_path: Path, aws: pytest.MonkeyPatch) -> None:
    turn = {"output": {"message": {"role": "assistant", "content": [{"text": "yes"}]}}, "stopReason": "max_tokens"}
    used = {"usage": {"inputTokens": 5, "outputTokens": 2, "totalTokens": 7}, "metrics": {"latencyMs": 1}}
    aws.setenv("AWS_ACCESS_KEY_ID", "test")
    aws.setenv("AWS_SECRET_ACCESS_KEY", "test")
    throttled = Answer(json.dumps({"message": "slow"}), 429, {"x-amzn-ErrorType": "ThrottlingException"})
    with serve([throttled, Answer(json.dumps({**turn, **used}))]) as server:
        aws.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", server.url.removesuffix("/v1"))
        config = ModelConfig(model="bedrock_converse:us.meta.llama3-3-70b-instruct-v1:0", region="us-east-1")
        world = make_world(tmp_path, config, server)
        reply = world.model.complete(ask(temperature=0.7, max_output_tokens=55))
        world.cache.close()
    assert (reply.text, reply.truncated, reply.usage.input_tokens) == ("yes", True, 5)
    assert server.requests[-1]["inferenceConfig"] == {"maxTokens": 55, "temperature": 0.7}
    assert (len(server.requests), len(world.clock.slept)) == (2, 1)


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        ("local:x", "reasoning_effort", "low"),
        ("local:x", "base_url", "http://host/v1"),
        ("local:x", "extra", {"top_k": 1}),
        ("bedrock_converse:x", "base_url", "http://host/v1"),
        ("bedrock_converse:x", "service_tier", "flex"),
        ("anthropic:x", "headers", {"X-Team": "data"}),
        ("anthropic:x", "api_version", "2024-10-21"),
        ("openai:x", "api_version", "2024-10-21"),
        ("own:x", "header_envs", {"X-Token": "TOKEN"}),
    ],
)
def test_a_setting_that_a_provider_does_not_know_is_refused_by_name(
    tmp_path: Path, model: str, name: str, value: Any
) -> None:
    config = ModelConfig.model_validate({"model": model, name: value})
    with pytest.raises(ConfigError, match=rf"models\.judge\.{name}: {model.partition(':')[0]} does not support it"):
        make_world(tmp_path, config, FakeChatServer("", [], []))


def test_a_provider_whose_package_is_missing_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pada_agent.app.adapters.llm.providers.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"langchain and langchain-anthropic is missing.*pada-agent\[providers\]"):
        make_world(tmp_path, ModelConfig(model="anthropic:claude-next"), FakeChatServer("", [], []))


def test_azure_is_asked_at_its_deployment_with_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-secret")
    with serve([completion("ok")]) as server:
        root = server.url.removesuffix("/v1")
        config = ModelConfig(
            model="azure_openai:gpt-4o", base_url=f"{root}/openai/deployments/mine?api-version=2024-10-21"
        )
        world = make_world(tmp_path, config, server)
        assert world.model.complete(ask(max_output_tokens=50)).text == "ok"
        world.cache.close()
    assert server.paths == ["/openai/deployments/mine/chat/completions?api-version=2024-10-21"]
    assert server.headers[0]["api-key"] == "azure-secret"
    assert server.requests[0]["max_completion_tokens"] == 50


@pytest.mark.parametrize(("address", "words"), [(None, "base_url"), ("https://x.openai.azure.com", "api_version")])
def test_azure_without_address_or_version_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str | None, words: str
) -> None:
    for name in ("AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=f"azure_openai needs {words}"):
        make_world(tmp_path, ModelConfig(model="azure_openai:gpt-4o", base_url=address), FakeChatServer("", [], []))
