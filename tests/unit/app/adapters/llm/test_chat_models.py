"""LLM roles over real LangChain clients, against loopback servers: calls, retries, limits, keys."""

import json
import traceback
from contextlib import closing
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.tracers.context import register_configure_hook

from pada_agent.app.adapters.llm.chat_models import ChatModelAdapter
from pada_agent.app.adapters.llm.providers import find_opening
from pada_agent.app.adapters.llm.response_cache import read_totals_by_agent
from pada_agent.app.prerequisites import PRICES
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
from tests.unit.app.adapters.llm.chat_world import ARRAY, World, ask, make_world, open_world


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


def test_prices_set_later_count_for_the_calls_made_before(tmp_path: Path) -> None:
    def open_at(usd_per_token: float, **budget: float) -> World:
        prices = dict.fromkeys(PRICES, usd_per_token * 1e6)
        config = ModelConfig.model_validate({"model": "openai:qwen-x", "base_url": server.url, **prices})
        return make_world(tmp_path, config, server, BudgetConfig.model_validate(budget))

    with serve([completion("hello")] * 4) as server:
        with closing((unpriced := open_at(0)).cache):
            for text in "abc":
                unpriced.model.complete(ask(text))
            assert unpriced.cache.totals().cost_usd == 0
        with closing((priced := open_at(1, max_usd=20)).cache):
            assert priced.cache.totals().cost_usd == pytest.approx(30)
            assert read_totals_by_agent(priced.cache.path)[""].cost_usd == pytest.approx(30)
            with pytest.raises(BudgetExceededError, match=r"budget.max_usd is used up: 30 of 20"):
                priced.model.complete(ask("d"))
            assert len(server.requests) == 3
        with closing((corrected := open_at(0.5, max_usd=20)).cache):
            corrected.model.complete(ask("d"))
            assert corrected.cache.totals().cost_usd == pytest.approx(20)


@pytest.mark.parametrize(
    ("cached_price", "tier", "cost"), [(None, None, 10 + 3), (0.25e6, None, 4 + 6 * 0.25 + 3), (0, "priority", 4 + 3)]
)
def test_cached_input_has_its_own_price_now_and_later(
    tmp_path: Path, cached_price: float | None, tier: str | None, cost: float
) -> None:
    def open_at(**prices: float | None) -> World:
        config = ModelConfig.model_validate({"model": "openai:qwen-x", "base_url": server.url, **prices})
        return make_world(tmp_path, config, server)

    used = {"prompt_tokens": 10, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 6}}
    body = json.loads(completion("hello").body) | {"usage": used, "service_tier": tier}
    prices: dict[str, float | None] = {
        **dict.fromkeys(PRICES, 1e6),
        "usd_per_million_cached_input_tokens": cached_price,
    }
    with serve([Answer(json.dumps(body))] * 2) as server:
        with closing((unpriced := open_at()).cache):
            unpriced.model.complete(ask("a"))
        for text, n_calls in (("a", 1), ("b", 2)):
            with closing((priced := open_at(**prices)).cache):
                priced.model.complete(ask(text))
                assert priced.cache.totals().cost_usd == pytest.approx(n_calls * cost)


def test_the_price_at_another_server_does_not_change_the_cost_of_earlier_calls(tmp_path: Path) -> None:
    prices: dict[str, Any] = dict.fromkeys(PRICES, 1e6)
    with open_world(tmp_path, completion("hello"), **prices) as world:
        world.model.complete(ask())
    with open_world(tmp_path) as free:
        assert free.cache.totals().cost_usd == pytest.approx(10)


def test_another_draw_is_another_call(tmp_path: Path) -> None:
    with open_world(tmp_path, completion("one"), completion("two")) as world:
        assert [world.model.complete(ask(draw=d)).text for d in ("1", "2", "1")] == ["one", "two", "one"]


def test_a_schema_that_is_sent_from_now_on_asks_again(tmp_path: Path) -> None:
    with open_world(tmp_path, completion("prose"), completion("[]")) as world:
        assert world.model.complete(ask(json_schema=ARRAY)).text == "prose"
        config = ModelConfig(model="openai:qwen-x", base_url=world.server.url, native_json_schema=True)
        with closing((constrained := make_world(tmp_path, config, world.server)).cache):
            assert constrained.model.complete(ask(json_schema=ARRAY)).text == "[]"
    assert ["response_format" in asked for asked in world.server.requests] == [False, True]


@pytest.mark.parametrize(("context_tokens", "n_asked"), [(512, 1), (520, 1), (1024, 2)])
def test_an_answer_that_the_context_cut_off_is_asked_again_in_a_larger_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context_tokens: int, n_asked: int
) -> None:
    def open_at(context_tokens: int) -> World:
        monkeypatch.setattr("pada_agent.app.adapters.storage.model_store.resolve", lambda _: tmp_path / "m.gguf")
        world = make_world(tmp_path, ModelConfig(model="local:m", context_tokens=context_tokens), server)
        config = ModelConfig(model="openai:m", base_url=server.url)
        world.model._opening = find_opening(config, "judge")
        monkeypatch.setattr(ChatModelAdapter, "_engine_file", None)
        return world

    body = json.loads(completion("half an", finish_reason="length").body)
    cut = Answer(json.dumps(body | {"usage": {"prompt_tokens": 500, "completion_tokens": 11, "total_tokens": 511}}))
    with serve([cut, completion("a whole answer")]) as server:
        for size in (512, context_tokens):
            with closing((world := open_at(size)).cache):
                texts = [world.model.complete(ask(max_output_tokens=900)).text for _ in range(2)]
                n_calls = world.cache.totals().n_calls
        assert len(server.requests) == n_asked
    assert texts == [["half an"] * 2, ["a whole answer"] * 2][n_asked - 1]
    assert n_calls == n_asked, "what the first one cost still counts"


def test_usage_is_estimated_for_servers_that_report_none(tmp_path: Path) -> None:
    with open_world(tmp_path, completion("12345", usage=False)) as world:
        usage = world.model.complete(ask("12345678")).usage
    assert (usage.input_tokens, usage.output_tokens) == (3, 2)


def test_chinese_text_is_not_estimated_as_a_fourth_of_its_characters(tmp_path: Path) -> None:
    with open_world(tmp_path, completion("退款和收费不同", usage=False)) as world:
        usage = world.model.complete(ask("用户的银行卡在哪里")).usage
    assert usage.input_tokens >= 7 and usage.output_tokens == 6


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
    assert (world.cache.totals().n_calls, world.cache.totals().n_cached) == (2, 1)
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


def test_a_full_disk_stops_calls_before_they_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_world(tmp_path, completion("ok")) as world:
        monkeypatch.setattr(
            "pada_agent.app.adapters.llm.response_cache.shutil.disk_usage", lambda _: SimpleNamespace(free=4096)
        )
        with pytest.raises(ArtifactError, match="the disk is full, so no new call is started"):
            world.model.complete(ask())
        assert world.server.requests == []
