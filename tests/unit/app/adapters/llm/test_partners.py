"""Providers of the extra, through LangChain's own clients: each server's form of a request, an answer and a refusal."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pada_agent.core.config import ModelConfig
from pada_agent.core.errors import ConfigError, ModelUnavailableError, StructuredOutputError
from tests.fake_chat_server import Answer, FakeChatServer, completion, refusal, serve
from tests.unit.app.adapters.llm.chat_world import ask, make_world

pytest.importorskip("langchain")


class Partner(NamedTuple):
    """How a provider speaks."""

    model: str
    key: str
    path: str
    """Of `base_url`."""
    answer: Answer
    """The text `ok`, cut off, 7 tokens in, 3 out."""
    temperature: tuple[str, ...]
    """Where it stands in a request."""
    limit: tuple[str, ...]


CLAUDE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "c",
    "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "ok"}],
    "stop_reason": "max_tokens",
    "stop_sequence": None,
    "usage": {"input_tokens": 7, "output_tokens": 3},
}
GEMINI = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"text": "hm", "thought": True}, {"text": "ok"}]},
            "finishReason": "MAX_TOKENS",
            "index": 0,
        }
    ],
    "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 1, "thoughtsTokenCount": 2, "totalTokenCount": 10},
    "modelVersion": "g",
}
CUT = completion("ok", finish_reason="length")
PARTNERS = (
    Partner("anthropic:c", "ANTHROPIC_API_KEY", "", Answer(json.dumps(CLAUDE)), ("temperature",), ("max_tokens",)),
    Partner(
        "google_genai:gemini-2.5-flash",
        "GOOGLE_API_KEY",
        "",
        Answer(json.dumps(GEMINI)),
        ("generationConfig", "temperature"),
        ("generationConfig", "maxOutputTokens"),
    ),
    Partner("mistralai:m", "MISTRAL_API_KEY", "/v1", CUT, ("temperature",), ("max_tokens",)),
    Partner("groq:g", "GROQ_API_KEY", "", CUT, ("temperature",), ("max_tokens",)),
)
each_partner = pytest.mark.parametrize("partner", PARTNERS, ids=lambda partner: partner.model.partition(":")[0])


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for partner in PARTNERS:
        monkeypatch.setenv(partner.key, "tok-very-secret")


def complete(folder: Path, partner: Partner, answers: Sequence[Answer], **settings: Any) -> tuple[Any, FakeChatServer]:
    """The reply, or the error that ended the call, and the server."""
    extra = {"transport": "rest"} if partner.model.startswith("google") else {}
    with serve(answers) as server:
        url = server.url.removesuffix("/v1") + partner.path
        world = make_world(folder, ModelConfig(model=partner.model, base_url=url, extra=extra, **settings), server)
        try:
            return world.model.complete(ask(temperature=0.7, max_output_tokens=55)), server
        except (ModelUnavailableError, StructuredOutputError) as exc:
            return exc, server
        finally:
            world.cache.close()


def dig(values: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        values = values.get(key)
    return values


@each_partner
def test_a_reply_carries_text_usage_and_why_it_ended(tmp_path: Path, partner: Partner) -> None:
    reply, server = complete(tmp_path, partner, [partner.answer])
    assert (reply.text, reply.truncated) == ("ok", True)
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (7, 3)
    asked = server.requests[0]
    assert dig(asked, partner.temperature) == pytest.approx(0.7)
    assert dig(asked, partner.limit) == 55
    assert "tok-very-secret" in str(server.headers[0])
    assert not any(b"tok-very-secret" in file.read_bytes() for file in tmp_path.iterdir())


@each_partner
def test_a_temperature_that_may_not_be_sent_is_left_to_the_provider(tmp_path: Path, partner: Partner) -> None:
    reply, server = complete(tmp_path, partner, [partner.answer], send_temperature=False)
    assert reply.text == "ok"
    assert dig(server.requests[0], partner.temperature) != pytest.approx(0.0)


def test_a_prompt_that_gemini_blocks_is_a_refusal(tmp_path: Path) -> None:
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 7}}
    partner = next(p for p in PARTNERS if p.model.startswith("google"))
    reply, server = complete(tmp_path, partner, [Answer(json.dumps(blocked))])
    assert (reply.refused, reply.text) == (True, "it ended with a blocked prompt")
    assert len(server.requests) == 1


def gemini_refusal(status: int, message: str, *details: dict[str, Any]) -> Answer:
    error = {"code": status, "message": message, "status": "RESOURCE_EXHAUSTED", "details": list(details)}
    return Answer(json.dumps({"error": error}), status)


def quota(name: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": name}]}


@pytest.mark.parametrize(
    ("model", "answer", "error", "words"),
    [
        ("anthropic", refusal(400, "prompt is too long: 212345 tokens > 200000"), StructuredOutputError, "does not fit"),
        ("anthropic", refusal(401, "invalid x-api-key tok-very-secret"), ModelUnavailableError, r"x-api-key \[key\]$"),
        ("anthropic", refusal(400, "Your credit balance is too low"), ModelUnavailableError, "used up"),
        (
            "google_genai",
            gemini_refusal(400, "The input token count (1200000) exceeds the maximum number of tokens allowed"),
            StructuredOutputError,
            "does not fit",
        ),
        (
            "google_genai",
            gemini_refusal(429, "You exceeded your current quota", quota("GenerateRequestsPerDayPerProjectPerModel")),
            ModelUnavailableError,
            "used up",
        ),
        ("google_genai", gemini_refusal(404, "models/x is not found"), ModelUnavailableError, "x is not found"),
        (
            "mistralai",
            Answer('{"message": "Prompt contains 40000 tokens, too large for model with 32768 maximum context length"}', 400),
            StructuredOutputError,
            "does not fit",
        ),
        ("mistralai", Answer('{"message": "Unauthorized"}', 401), ModelUnavailableError, r"\(HTTP 401\): Unauthorized$"),
        ("groq", refusal(413, "Request too large for model"), StructuredOutputError, "does not fit"),
        ("groq", refusal(429, "tokens per day (TPD): Limit 100000."), ModelUnavailableError, "used up"),
    ],
)  # fmt: skip
def test_what_will_not_pass_is_not_tried_again(
    tmp_path: Path, model: str, answer: Answer, error: type[Exception], words: str
) -> None:
    partner = next(p for p in PARTNERS if p.model.startswith(model))
    found, server = complete(tmp_path, partner, [answer])
    assert type(found) is error or isinstance(found, error)
    with pytest.raises(error, match=words):
        raise found
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("model", "answer"),
    [
        ("anthropic", refusal(529, "Overloaded")),
        ("google_genai", gemini_refusal(429, "Please retry in 1.2s.", quota("GenerateRequestsPerMinutePerProject"))),
        ("mistralai", Answer('{"message": "Requests rate limit exceeded"}', 429)),
        ("groq", refusal(500, "oops")),
        ("anthropic", refusal(400, "`temperature` is deprecated for this model.")),
        ("mistralai", Answer('{"detail": [{"loc": ["body", "temperature"], "msg": "extra fields not permitted"}]}', 422)),
    ],
)  # fmt: skip
def test_what_may_pass_or_can_be_left_out_is_tried_again(tmp_path: Path, model: str, answer: Answer) -> None:
    partner = next(p for p in PARTNERS if p.model.startswith(model))
    reply, server = complete(tmp_path, partner, [answer, partner.answer])
    assert reply.text == "ok"
    assert len(server.requests) == 2


@each_partner
def test_a_server_that_is_not_there_is_named_and_soon_given_up(tmp_path: Path, partner: Partner) -> None:
    extra = {"transport": "rest"} if partner.model.startswith("google") else {}
    config = ModelConfig(model=partner.model, base_url="http://127.0.0.1:9", extra=extra)
    world = make_world(tmp_path, config, FakeChatServer("", [], []))
    with pytest.raises(ModelUnavailableError, match=r"no connection to http://127\.0\.0\.1:9.*tried 4 times"):
        world.model.complete(ask())
    world.cache.close()


@each_partner
def test_a_missing_key_names_the_variable(tmp_path: Path, partner: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(partner.key)
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match=f"models.judge: no API key.*{partner.key}"):
        make_world(tmp_path, ModelConfig(model=partner.model), FakeChatServer("", [], []))
