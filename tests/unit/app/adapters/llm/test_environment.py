"""Keys, addresses and proxies from environment variables."""

from pathlib import Path
from typing import Any

import pytest

from pada_agent.app.adapters.llm import environment, local_engine
from pada_agent.app.adapters.llm.environment import check_proxies, describe_proxy
from pada_agent.app.adapters.llm.local_engine import Endpoint
from pada_agent.core.config import ModelConfig
from pada_agent.core.errors import ConfigError, ModelUnavailableError
from tests.fake_chat_server import FakeChatServer, completion, serve
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


def test_a_key_that_no_one_asked_for_does_not_stop_a_server_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", '"k"')
    make_world(tmp_path, ModelConfig(model="openai:x", base_url="http://127.0.0.1:9/v1"), NOWHERE).cache.close()


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


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No proxies but those the test sets."""
    for scheme in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_proxy".upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("variable", "proxy", "words"),
    [
        (
            "ALL_PROXY",
            "socks5://me:secret@127.0.0.1:1",
            "ALL_PROXY names a SOCKS proxy.*pip install socksio.*unset ALL_PROXY",
        ),
        ("all_proxy", "socks5h://127.0.0.1:1", "all_proxy names a SOCKS proxy"),
        ("HTTPS_PROXY", "ftp://secret", "HTTPS_PROXY is not the address of a proxy"),
        ("HTTP_PROXY", "http://secret:port", "HTTP_PROXY is not the address of a proxy"),
        ("HTTP_PROXY", "http://", "HTTP_PROXY is not the address of a proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_told_by_the_variables_name(
    tmp_path: Path, proxies: pytest.MonkeyPatch, variable: str, proxy: str, words: str
) -> None:
    proxies.setattr(environment, "find_spec", lambda _: None)
    proxies.setenv(variable, proxy)
    with pytest.raises(ConfigError, match=words) as caught:
        make_world(tmp_path, ModelConfig(model="openai:x", base_url="http://127.0.0.1:9/v1"), NOWHERE)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("proxy", ["127.0.0.1:3128", "http://127.0.0.1", "https://me:pass@host:1", "socks5://host:1"])
def test_proxies_that_can_be_used_are_taken(proxies: pytest.MonkeyPatch, proxy: str) -> None:
    proxies.setattr(environment, "find_spec", lambda _: object())
    proxies.setenv("HTTPS_PROXY", proxy)
    check_proxies()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://host/v1", "HTTP_PROXY=http://proxy:1"),
        ("https://host/v1", "ALL_PROXY=proxy:2"),
        ("socks5://host/v1", "ALL_PROXY=proxy:2"),
        (None, "ALL_PROXY=proxy:2"),
        ("http://127.0.0.1:8000/v1", ""),
    ],
)
def test_the_proxy_of_an_address_is_told_without_its_password(
    proxies: pytest.MonkeyPatch, url: str | None, told: str
) -> None:
    proxies.setenv("HTTP_PROXY", "http://me:pa@ss://wo@rd@proxy:1")
    proxies.setenv("ALL_PROXY", "me:pass@proxy:2")
    proxies.setenv("NO_PROXY", "127.0.0.1,localhost")
    assert describe_proxy(url) == told


def test_a_connection_that_fails_names_the_proxy(tmp_path: Path, proxies: pytest.MonkeyPatch) -> None:
    proxies.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    words = r"no connection to \S+ through the proxy of HTTP_PROXY=http://127\.0\.0\.1:9\. Set NO_PROXY=127\.0\.0\.1 if"
    with open_world(tmp_path) as world, pytest.raises(ModelUnavailableError, match=words) as caught:
        world.model.complete(ask())
    assert "secret" not in str(caught.value)


def test_the_embedded_engine_is_reached_past_every_proxy(tmp_path: Path, proxies: pytest.MonkeyPatch) -> None:
    proxies.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    proxies.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    proxies.setenv("OPENAI_PROXY", "http://127.0.0.1:9")
    with serve([completion("ok")]) as server:
        proxies.setattr(local_engine, "acquire", lambda *_, **__: Endpoint(server.url, "key"))
        proxies.setattr(local_engine, "release", lambda _: None)
        (tmp_path / "m.gguf").write_bytes(b"")
        world = make_world(tmp_path, ModelConfig(model=f"local:{tmp_path / 'm.gguf'}"), server)
        assert world.model.complete(ask()).text == "ok"
        world.cache.close()
