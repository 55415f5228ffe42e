"""Keys, addresses and proxies from environment variables."""

from pathlib import Path
from typing import Any

import pytest

from pada_agent.core.config import ModelConfig
from pada_agent.core.errors import ConfigError
from tests.fake_chat_server import FakeChatServer, completion
from tests.unit.app.adapters.llm.chat_world import ask, make_world, open_world

NOWHERE = FakeChatServer("", [], [])


@pytest.mark.parametrize("key", ["sk-right\n", "sk-right\r\n", " sk-right "])
def test_white_space_around_a_key_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    monkeypatch.setenv("TOKEN", f"{key}\n")
    with open_world(tmp_path, completion("ok"), header_envs={"X-Token": "TOKEN"}) as world:
        world.model.complete(ask())
    assert world.server.headers[0]["authorization"] == "Bearer sk-right"
    assert world.server.headers[0]["x-token"] == "sk-right"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ('"sk-secret"', "MY_KEY begins or ends with a quotation mark"),
        ("sk-secret'", "MY_KEY begins or ends with a quotation mark"),
        ("“sk-secret”", r"MY_KEY contains LEFT DOUBLE QUOTATION MARK \(U\+201C\)"),
        ("sk-sïcret", r"MY_KEY contains .*U\+00EF"),
        ("sk-\nsecret", r"MY_KEY contains a control character \(U\+000A\)"),
        ("Bearer sk-secret", "MY_KEY begins with 'Bearer'"),
        (" \n", "no API key. Set the environment variable MY_KEY"),
    ],
)
def test_what_cannot_be_a_key_is_told_before_anything_is_sent_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, words: str
) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(ConfigError, match=words) as caught:
        make_world(tmp_path, ModelConfig(model="openai:x", api_key_env="MY_KEY"), NOWHERE)
    assert "secret" not in str(caught.value)


def test_a_secret_header_may_begin_with_bearer_but_holds_nothing_else_odd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config: dict[str, Any] = {"model": "openai:x", "base_url": "http://h/v1", "header_envs": {"X-Token": "TOKEN"}}
    monkeypatch.setenv("TOKEN", "Bearer x")
    make_world(tmp_path, ModelConfig(**config), NOWHERE)
    monkeypatch.setenv("TOKEN", "töken")
    with pytest.raises(ConfigError, match="TOKEN contains LATIN SMALL LETTER O WITH DIAERESIS"):
        make_world(tmp_path, ModelConfig(**config), NOWHERE)


@pytest.mark.parametrize(("value", "words"), [("key\n", "ends with white space"), ("kéy", r"U\+00E9")])
def test_aws_keys_that_boto_would_send_as_they_are_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, words: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"AWS_ACCESS_KEY_ID .*{words}"):
        make_world(tmp_path, ModelConfig(model="bedrock_converse:x", region="us-east-1"), NOWHERE)
