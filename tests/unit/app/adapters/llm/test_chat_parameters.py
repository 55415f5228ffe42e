"""Parameters that models refuse, and those that settings send."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from pada_agent.app.adapters.llm.providers import Opening
from pada_agent.core.chat import ChatRequest
from pada_agent.core.config import ModelConfig
from pada_agent.core.errors import (
    ModelUnavailableError,
)
from tests.fake_chat_server import Answer, FakeChatServer, completion
from tests.unit.app.adapters.llm.chat_world import ask, make_world, open_world


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
