"""LLM roles over real LangChain clients, against loopback servers."""

import json
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.tracers.context import register_configure_hook

from pada_agent.app.adapters.llm.chat_models import ChatModelAdapter, family_of, make_language_model
from pada_agent.app.adapters.llm.limits import Budget, CallGate
from pada_agent.app.adapters.llm.providers import Opening
from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.core.chat import ChatRequest, Message
from pada_agent.core.config import BudgetConfig, ModelConfig
from pada_agent.core.errors import (
    ArtifactError,
    BudgetExceededError,
    ConfigError,
    ModelUnavailableError,
    PadaError,
    StructuredOutputError,
)
from tests.fake_chat_server import Answer, FakeChatServer, completion, refusal, serve
from tests.fakes import FakeClock

ARRAY = {"type": "array", "items": {"type": "object"}}


@dataclass
class World:
    """A model, the server it talks to, and the time it spends waiting."""

    model: ChatModelAdapter
    server: FakeChatServer
    clock: FakeClock
    cache: ResponseCache


@contextmanager
def open_world(
    folder: Path, *answers: Answer, budget: BudgetConfig | None = None, base_url: str | None = None, **settings: Any
) -> Iterator[World]:
    with serve(answers) as server:
        config = ModelConfig(model="openai:qwen-x", base_url=base_url or server.url, **settings)
        world = make_world(folder, config, server, budget)
        yield world
        world.cache.close()


def make_world(folder: Path, config: ModelConfig, server: FakeChatServer, budget: BudgetConfig | None = None) -> World:
    cache, clock = ResponseCache(folder / "llm_calls.sqlite"), FakeClock()
    limits = Budget(budget or BudgetConfig(), cache.totals)
    model = make_language_model(config, role="judge", cache=cache, budget=limits, gate=CallGate(config, clock))
    return World(model, server, clock, cache)


def ask(text: str = "hi", **fields: Any) -> ChatRequest:
    return ChatRequest(messages=(Message(role="system", content="s"), Message(role="user", content=text)), **fields)


def test_a_reply_carries_text_usage_and_cost(tmp_path: Path) -> None:
    prices: dict[str, Any] = {"usd_per_million_input_tokens": 1e6, "usd_per_million_output_tokens": 2e6}
    with open_world(tmp_path, completion("hello"), **prices) as world:
        reply = world.model.complete(ask(temperature=0.7, max_output_tokens=55))
    assert (reply.text, reply.truncated, reply.cached) == ("hello", False, False)
    assert (reply.usage.n_calls, reply.usage.input_tokens, reply.usage.output_tokens) == (1, 7, 3)
    assert reply.usage.cost_usd == pytest.approx(13.0)
    asked = world.server.requests[0]
    assert asked["messages"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]
    assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("qwen-x", 0.7, 55)
    assert "response_format" not in asked


def test_a_repeated_request_costs_nothing(tmp_path: Path) -> None:
    with open_world(tmp_path, completion("hello")) as world:
        first, second = world.model.complete(ask()), world.model.complete(ask(tags={"agent": "x"}))
        assert (second.text, second.key, second.cached) == (first.text, first.key, True)
        assert (world.cache.totals().n_calls, world.cache.totals().n_cached) == (1, 1)


def test_another_draw_is_another_call(tmp_path: Path) -> None:
    with open_world(tmp_path, completion("one"), completion("two")) as world:
        assert [world.model.complete(ask(draw=d)).text for d in ("1", "2", "1")] == ["one", "two", "one"]


def test_usage_is_estimated_for_servers_that_report_none(tmp_path: Path) -> None:
    with open_world(tmp_path, completion("12345", usage=False)) as world:
        usage = world.model.complete(ask("12345678")).usage
    assert (usage.input_tokens, usage.output_tokens) == (3, 2)


def test_the_schema_goes_to_servers_said_to_know_it_with_an_object_at_the_root(tmp_path: Path) -> None:
    with open_world(tmp_path, completion("[]"), native_json_schema=True) as world:
        world.model.complete(ask(json_schema=ARRAY))
    schema = world.server.requests[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"] == {"items": ARRAY}


def test_a_truncated_answer_keeps_its_text_even_under_a_schema(tmp_path: Path) -> None:
    with open_world(tmp_path, completion('[{"a"', finish_reason="length"), native_json_schema=True) as world:
        reply = world.model.complete(ask(json_schema=ARRAY))
    assert (reply.text, reply.truncated, reply.usage.output_tokens) == ('[{"a"', True, 3)


def test_throttling_is_waited_out_as_the_server_asks(tmp_path: Path) -> None:
    with open_world(tmp_path, refusal(429, "slow down", Retry_After="3"), completion("ok")) as world:
        assert world.model.complete(ask()).text == "ok"
        assert world.cache.totals().n_calls == 1
    assert world.clock.slept == [3.0]


@pytest.mark.parametrize(
    "hiccup",
    [refusal(500, "oops"), refusal(503, "busy"), refusal(408, "late"), Answer("<html>"), Answer('{"choices": null}')],
    ids=["500", "503", "408", "HTML", "no choices"],
)
def test_a_hiccup_is_tried_again(tmp_path: Path, hiccup: Answer) -> None:
    with open_world(tmp_path, hiccup, completion("ok")) as world:
        assert world.model.complete(ask()).text == "ok"
    assert len(world.clock.slept) == 1


def test_retries_are_bounded_and_are_the_only_ones(tmp_path: Path) -> None:
    with open_world(tmp_path, *[refusal(500, "oops")] * 20) as world:
        with pytest.raises(ModelUnavailableError, match=r"HTTP 500.*tried 9 times"):
            world.model.complete(ask())
        assert len(world.server.requests) == 9


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        open_world(tmp_path, base_url="http://127.0.0.1:9/v1") as world,
        pytest.raises(
            ModelUnavailableError, match=r"no connection to http://127\.0\.0\.1:9/v1\. Is the server running\?"
        ),
    ):
        world.model.complete(ask())


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (refusal(401, "bad key sk-123"), ModelUnavailableError, "refused the key"),
        (refusal(403, "no"), ModelUnavailableError, "refused the key"),
        (refusal(404, "no such model"), ModelUnavailableError, "no such model"),
        (refusal(400, "bad parameter"), ModelUnavailableError, "bad parameter"),
        (refusal(400, "exceeds the available context size"), StructuredOutputError, "does not fit"),
        (refusal(400, "maximum context length is 4096 tokens"), StructuredOutputError, "does not fit"),
        (
            Answer(json.dumps({"error": {"message": "pay", "code": "insufficient_quota"}}), 429),
            ModelUnavailableError,
            "used up",
        ),
    ],
)
def test_what_will_not_pass_is_not_tried_again(
    tmp_path: Path, answer: Answer, error: type[PadaError], words: str
) -> None:
    with open_world(tmp_path, answer) as world:
        with pytest.raises(error, match=words) as caught:
            world.model.complete(ask())
        assert len(world.server.requests) == 1
    assert "sk-123" not in str(caught.value)


def test_the_budget_stops_before_the_call(tmp_path: Path) -> None:
    with open_world(tmp_path, completion("a"), completion("b"), budget=BudgetConfig(max_calls=1)) as world:
        world.model.complete(ask("1"))
        with pytest.raises(BudgetExceededError, match=r"budget\.max_calls"):
            world.model.complete(ask("2"))
        assert world.model.complete(ask("1")).cached
        assert len(world.server.requests) == 1


def test_the_key_is_sent_but_stored_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    with open_world(tmp_path, completion("ok"), api_key_env="MY_KEY") as world:
        world.model.complete(ask())
    assert world.server.headers[0]["authorization"] == "Bearer sk-very-secret"
    assert not any(b"sk-very-secret" in file.read_bytes() for file in tmp_path.iterdir())


def test_an_error_does_not_repeat_the_key_that_a_server_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "tok-very-secret")
    answer = refusal(400, "no such plan for token tok-very-secret")
    refused = pytest.raises(ModelUnavailableError, match=r"no such plan for token \[key\]")
    with open_world(tmp_path, answer, api_key_env="MY_KEY") as world, refused as caught:
        world.model.complete(ask())
    assert "tok-very-secret" not in "".join(traceback.format_exception(caught.value))


def test_a_role_can_be_answered_by_the_callers_own_chat_model(tmp_path: Path) -> None:
    config = ModelConfig(model="own:claude-next", usd_per_million_output_tokens=1e6)
    world = make_world(tmp_path, config, FakeChatServer("", [], []))
    chat = FakeListChatModel(responses=["one", "two"])
    model = world.model.answered_by(chat)
    assert [model.complete(ask(draw=d)).text for d in ("1", "2", "1")] == ["one", "two", "one"]
    assert (model.family, world.cache.totals().n_calls, world.cache.totals().n_cached) == ("claude", 2, 1)
    assert world.cache.totals().cost_usd > 0
    with pytest.raises(ConfigError, match=r"models\.judge\.model is 'own:claude-next'"):
        world.model.complete(ask(draw="3"))
    world.cache.close()


def test_langchain_callbacks_see_agent_role_and_tags(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    class Recorder(BaseCallbackHandler):
        def on_chain_start(self, *_: Any, **kwargs: Any) -> None:
            seen.append(kwargs)

        def on_chat_model_start(self, *_: Any, **kwargs: Any) -> None:
            seen.append(kwargs)

    variable: ContextVar[BaseCallbackHandler | None] = ContextVar("recorder", default=None)
    register_configure_hook(variable, inheritable=True)
    variable.set(Recorder())
    with open_world(tmp_path, completion("ok")) as world:
        for _ in range(2):
            world.model.complete(ask(tags={"agent": "quality_control", "batch": "b7"}))
    variable.set(None)
    paid, model, cached = seen
    assert paid["name"] == cached["name"] == "quality_control"
    assert model["parent_run_id"] == paid["run_id"]
    for run in seen:
        assert {"judge", "quality_control"} <= set(run["tags"])
        assert run["metadata"]["batch"] == "b7"


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


def refuse_parameter(name: str, words: str) -> Answer:
    return Answer(json.dumps({"error": {"message": words, "param": name, "code": "unsupported_parameter"}}), 400)


def test_a_temperature_that_the_model_refuses_is_left_out_from_then_on(tmp_path: Path) -> None:
    refused = refuse_parameter("temperature", "'temperature' does not support 0.0 with this model.")
    with open_world(tmp_path, refused, completion("one"), completion("two")) as world:
        assert [world.model.complete(ask(draw=d)).text for d in ("1", "2")] == ["one", "two"]
    assert ["temperature" in asked for asked in world.server.requests] == [True, False, False]
    assert world.clock.slept == []


def test_a_limit_that_the_model_knows_by_another_name_is_sent_under_that(tmp_path: Path) -> None:
    refused = refuse_parameter("max_tokens", "Unsupported parameter: use 'max_completion_tokens' instead.")
    with open_world(tmp_path, refused, completion("ok")) as world:
        world.model.complete(ask(max_output_tokens=99))
    assert "max_tokens" not in world.server.requests[1]
    assert world.server.requests[1]["max_completion_tokens"] == 99


def test_calls_at_the_same_time_learn_the_same_refusal(tmp_path: Path) -> None:
    """Both are under way when the first learns it."""
    both = Barrier(2)

    class Reasoner:
        def ask(self, request: ChatRequest, refused: frozenset[str]) -> AIMessage:
            if "temperature" in refused:
                return AIMessage(request.messages[-1].content)
            both.wait(timeout=10)
            raise ValueError({"message": "temperature is not supported", "code": 400})

    world = make_world(tmp_path, ModelConfig(model="own:x"), FakeChatServer("", [], []))
    world.model._opening = Opening(Reasoner)
    with ThreadPoolExecutor(2) as pool:
        replies = list(pool.map(world.model.complete, [ask("one"), ask("two")]))
    world.cache.close()
    assert [reply.text for reply in replies] == ["one", "two"]


def test_a_parameter_that_was_asked_for_in_settings_and_is_refused_is_an_error(tmp_path: Path) -> None:
    refused = refuse_parameter("temperature", "temperature is not supported")
    with (
        open_world(tmp_path, refused, send_temperature=True) as world,
        pytest.raises(ModelUnavailableError, match="temperature is not supported"),
    ):
        world.model.complete(ask())


def test_settings_of_reasoning_models_and_own_parameters_are_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_TOKEN", "very-secret")
    settings: dict[str, Any] = {
        "send_temperature": False,
        "reasoning_effort": "low",
        "service_tier": "flex",
        "extra": {"top_k": 5, "chat_template_kwargs": {"enable_thinking": False}},
        "headers": {"X-Team": "data"},
        "header_envs": {"X-Gateway": "GATEWAY_TOKEN"},
    }
    with open_world(tmp_path, completion("ok"), **settings) as world:
        world.model.complete(ask(temperature=0.7))
    asked = world.server.requests[0]
    assert "temperature" not in asked
    assert (asked["reasoning_effort"], asked["service_tier"], asked["top_k"]) == ("low", "flex", 5)
    assert asked["chat_template_kwargs"] == {"enable_thinking": False}
    sent = world.server.headers[0]
    assert (sent["x-team"], sent["x-gateway"]) == ("data", "very-secret")
    assert not any(b"very-secret" in file.read_bytes() for file in tmp_path.iterdir())


def test_what_decides_how_a_model_answers_is_part_of_the_calls_address(tmp_path: Path) -> None:
    with open_world(tmp_path, completion("slow thought"), reasoning_effort="high") as world:
        world.model.complete(ask())
        other = make_world(
            tmp_path,
            ModelConfig(model="openai:qwen-x", base_url=world.server.url, reasoning_effort="low"),
            world.server,
        )
        with pytest.raises(ModelUnavailableError, match="the script is over"):
            other.model.complete(ask())
        other.cache.close()


def test_thoughts_that_only_the_total_counts_are_paid_for(tmp_path: Path) -> None:
    body = json.loads(completion("ok").body)
    body["usage"] = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 60}
    with open_world(tmp_path, Answer(json.dumps(body)), usd_per_million_output_tokens=1e6) as world:
        usage = world.model.complete(ask()).usage
    assert (usage.input_tokens, usage.output_tokens, usage.cost_usd) == (7, 53, pytest.approx(53))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal(400, "triggered our content management policy"), "content management policy"),
        (completion("", finish_reason="content_filter"), "content_filter"),
        (
            Answer(
                json.dumps(
                    {
                        **json.loads(completion("").body),
                        "choices": [
                            {
                                "index": 0,
                                "finish_reason": "stop",
                                "message": {
                                    "role": "assistant",
                                    "content": None,
                                    "refusal": "I cannot help with that.",
                                },
                            }
                        ],
                    }
                )
            ),
            "I cannot help",
        ),
    ],
)
def test_a_refusal_is_a_reply_that_is_kept(tmp_path: Path, answer: Answer, words: str) -> None:
    with open_world(tmp_path, answer) as world:
        for _ in range(2):
            reply = world.model.complete(ask())
            assert reply.refused
            assert words in reply.text
        assert len(world.server.requests) == 1


def test_an_answer_that_a_filter_cut_keeps_its_text(tmp_path: Path) -> None:
    with open_world(tmp_path, completion('[{"a": 1}, {', finish_reason="content_filter")) as world:
        reply = world.model.complete(ask())
    assert (reply.text, reply.truncated, reply.refused) == ('[{"a": 1}, {', True, False)


def test_half_a_character_is_replaced_before_the_answer_is_kept(tmp_path: Path) -> None:
    broken = completion("X").body.replace('"X"', '"half \\\\ud83d"'.replace("\\\\", "\\"))
    with open_world(tmp_path, Answer(broken)) as world:
        assert [world.model.complete(ask()).text for _ in range(2)] == ["half \ufffd"] * 2


def test_a_key_that_an_answer_repeats_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "tok-very-secret")
    with open_world(tmp_path, completion("you sent TOK-very-secret"), api_key_env="MY_KEY") as world:
        assert world.model.complete(ask()).text == "you sent [key]"
    assert not any(b"very-secret" in file.read_bytes() for file in tmp_path.iterdir())


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
        (Answer(""), r"was no chat completion: it is empty \(tried 9"),
        (Answer('{"id": "x", "object": "chat.completion", "choices": []}'), "it has no choices"),
    ],
)
def test_a_servers_own_words_are_shown_whatever_their_form(tmp_path: Path, answer: Answer, words: str) -> None:
    with open_world(tmp_path, *[answer] * 9) as world, pytest.raises(ModelUnavailableError, match=words):
        world.model.complete(ask())


def test_usage_without_numbers_is_estimated(tmp_path: Path) -> None:
    body = json.loads(completion("12345").body) | {"usage": {"prompt_tokens": None, "completion_tokens": None}}
    with open_world(tmp_path, Answer(json.dumps(body))) as world:
        usage = world.model.complete(ask("12345678")).usage
    assert (usage.input_tokens, usage.output_tokens) == (3, 2)


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
    with pytest.raises(ConfigError, match=rf"models\.judge\.{name}: {model.partition(':')[0]} does not take it"):
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


def test_a_full_disk_stops_calls_before_they_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_world(tmp_path, completion("ok")) as world:
        monkeypatch.setattr(
            "pada_agent.app.adapters.llm.response_cache.shutil.disk_usage", lambda _: SimpleNamespace(free=4096)
        )
        with pytest.raises(ArtifactError, match="the disk is full, so no call is begun"):
            world.model.complete(ask())
        assert world.server.requests == []


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
