"""What a server's error becomes."""

import json
import traceback
from pathlib import Path

import pytest

from pada_agent.core.config import ModelConfig
from pada_agent.core.errors import (
    ModelUnavailableError,
    PadaError,
)
from tests.fake_chat_server import Answer, serve
from tests.unit.app.adapters.llm.chat_world import ask, make_world, open_world

MODELS = Answer(json.dumps({"object": "list", "data": [{"id": "llama3"}, {"id": "qwen3"}]}))


NOT_FOUND = Answer("404 page not found", 404)


@pytest.mark.parametrize(
    ("path", "pages", "words"),
    [
        (
            "",
            {"/v1/models": MODELS},
            r"page not found Is /v1 missing\? A server answers at ROOT/v1: set base_url to that",
        ),
        ("/api", {"/v1/models": MODELS}, r"A server answers at ROOT/v1: set base_url to that"),
        ("", {"/v1/models": Answer("{}", 401)}, r"A server answers at ROOT/v1: set base_url to that"),
        ("", {"/v1/models": Answer("<html>", 200, {"content_type": "text/html"})}, r"in base_url, as in ROOT/v1\?"),
        ("", {}, r"Is /v1 missing in base_url, as in ROOT/v1\?"),
        ("/v1", {"/v1/models": MODELS}, r"It has: llama3, qwen3\.$"),
        ("", {"/models": MODELS}, r"It has: llama3, qwen3\.$"),
        ("/v1", {}, r"page not found$"),
        ("/v1/chat/completions/", {"/v1/models": MODELS}, r"It has: llama3, qwen3\.$"),
    ],
)
def test_what_is_wrong_with_an_address_is_found_out(
    tmp_path: Path, path: str, pages: dict[str, Answer], words: str
) -> None:
    with serve([NOT_FOUND], pages) as server:
        root = server.url.removesuffix("/v1")
        world = make_world(tmp_path, ModelConfig(model="openai:x", base_url=root + path), server)
        with pytest.raises(ModelUnavailableError, match=words.replace("ROOT", root)):
            world.model.complete(ask())
        world.cache.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (NOT_FOUND, r"\(HTTP 404\): 404 page not found"),
        (
            Answer("<html><title>405 Not Allowed</title><style>b{}</style></html>", 405),
            r"\(HTTP 405\): 405 Not Allowed",
        ),
        (Answer('{"error": "model \'x\' not found, try pulling it first"}', 404), "try pulling it first"),
        (Answer('{"detail": "Not Found"}', 404), r"\(HTTP 404\): Not Found"),
        (Answer("", 307, {"location": "https://other/v1"}), r"redirects \(HTTP 307\).*It leads to https://other/v1"),
        (
            Answer("<!DOCTYPE html><title>Open WebUI</title>"),
            r"it is a web page\. .*/v1\? It says: Open WebUI \(tried 4",
        ),
        (Answer(""), r"was not a chat completion: it is empty \(tried 9"),
        (Answer('{"id": "x", "object": "chat.completion", "choices": []}'), "it has no choices"),
    ],
)
def test_a_servers_own_words_are_shown_whatever_their_form(tmp_path: Path, answer: Answer, words: str) -> None:
    with open_world(tmp_path, *[answer] * 9) as world, pytest.raises(ModelUnavailableError, match=words):
        world.model.complete(ask())


@pytest.mark.parametrize(
    "answer",
    [
        Answer("", 307, {"location": "http://127.0.0.1:9/latest/meta-data"}),
        Answer('"INTERNAL"'),
        Answer("INTERNAL", 404),
        Answer('{"error": {"message": "INTERNAL"}}', 400),
        Answer("INTERNAL", 401),
        Answer('{"detail": "INTERNAL"}', 500),
    ],
    ids=["redirect", "no completion", "404", "400", "401", "500"],
)
def test_an_error_can_be_kept_from_showing_what_a_server_answered(tmp_path: Path, answer: Answer) -> None:
    with open_world(tmp_path, *[answer] * 9) as world:
        world.model.hide_words()
        with pytest.raises(PadaError, match="its words are not shown here") as caught:
            world.model.complete(ask())
        assert len(set(world.server.paths)) == 1
    assert "INTERNAL" not in "".join(traceback.format_exception(caught.value))
