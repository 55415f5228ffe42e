"""Addresses from environment variables go through the same checks as `base_url`, and errors name them."""

from pathlib import Path
from typing import Any

import pytest

from pada_agent.core.config import ModelConfig
from pada_agent.core.errors import ConfigError, ModelUnavailableError
from tests.fake_chat_server import Answer, FakeChatServer, completion, serve
from tests.unit.app.adapters.llm.chat_world import ARRAY, World, ask, make_world

NOWHERE = FakeChatServer("", [], [])


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL", "ANTHROPIC_API_URL", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_OPENAI_API_KEY"):
        monkeypatch.setenv(name, "sk-right-and-secret")


def make(folder: Path, model: str = "openai:x", **settings: Any) -> World:
    return make_world(folder, ModelConfig(model=model, **settings), NOWHERE)


@pytest.mark.parametrize("form", ["{}", " {}\n", "{}/chat/completions", "{}/"])
def test_an_address_is_taken_without_white_space_and_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    with serve([completion("ok")]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", form.format(server.url))
        world = make(tmp_path)
        assert world.model.complete(ask()).text == "ok"
        world.cache.close()
    assert server.paths == ["/v1/chat/completions"]


def test_answers_of_another_address_are_not_taken_for_this_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("first", "second"):
        with serve([completion(text)]) as server:
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            world = make(tmp_path)
            assert [world.model.complete(ask()).text for _ in range(2)] == [text, text]
            world.cache.close()
        assert len(server.requests) == 1


def test_a_server_named_by_a_variable_is_not_asked_as_openai_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with serve([completion("ok")]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        world = make(tmp_path)
        world.model.complete(ask(json_schema=ARRAY))
        world.cache.close()
    assert server.requests[0]["max_tokens"] and "response_format" not in server.requests[0]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('"http://127.0.0.1:9/v1"', "must begin with http://"),
        ("127.0.0.1:9/v1", "must begin with http://"),
        ("http://127.0.0.1:9/v1\nx", "without spaces, line breaks"),
        ("http://user:secret@127.0.0.1/v1", "without user, password"),
    ],
)
@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("openai:x", "OPENAI_BASE_URL"),
        ("openai:x", "OPENAI_API_BASE"),
        ("anthropic:x", "ANTHROPIC_BASE_URL"),
        ("azure_openai:x", "AZURE_OPENAI_ENDPOINT"),
    ],
)
def test_what_is_no_address_is_told_by_the_variables_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, variable: str, value: str, words: str
) -> None:
    if model.startswith("anthropic"):
        pytest.importorskip("langchain")
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=f"the environment variable {variable}: .*{words}") as caught:
        make(tmp_path, model)
    assert "secret" not in str(caught.value)


def test_azures_target_uri_tells_deployment_and_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k")
    uri = "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21"
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", uri)
    make(tmp_path, "azure_openai:other").cache.close()
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", uri.partition("?")[0])
    with pytest.raises(ConfigError, match="azure_openai needs api_version"):
        make(tmp_path, "azure_openai:other")


def test_the_settings_address_prevails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "nonsense")
    make(tmp_path, base_url="http://127.0.0.1:9/v1").cache.close()


def test_a_missing_version_is_told_by_the_variables_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve([Answer("no", 404)], {"/v1/models": Answer("{}", 401)}) as server:
        root = server.url.removesuffix("/v1")
        monkeypatch.setenv("OPENAI_BASE_URL", root)
        world = make(tmp_path)
        with pytest.raises(ModelUnavailableError, match=rf"{root} \(OPENAI_BASE_URL\).*{root}/v1: set OPENAI_BASE_URL"):
            world.model.complete(ask())
        world.cache.close()


def test_a_server_that_is_not_there_is_told_by_the_variables_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    world = make(tmp_path)
    with pytest.raises(ModelUnavailableError, match=r"no connection to http://127\.0\.0\.1:9/v1 \(OPENAI_BASE_URL\)"):
        world.model.complete(ask())
    world.model.hide_words()
    with pytest.raises(ModelUnavailableError, match="no connection to the provider's address"):
        world.model.complete(ask())
    world.cache.close()
