"""Answers as models give them: thoughts, refusals, filters, damaged characters."""

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from pada_agent.app.adapters.llm.endings import BLOCKED_PROMPT, find_ending
from tests.fake_chat_server import Answer, completion, refusal
from tests.unit.app.adapters.llm.chat_world import ask, open_world


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


@pytest.mark.parametrize(
    "reason", ["RECITATION", "BLOCKLIST", "SPII", "LANGUAGE", "SAFETY", "ERROR_TOXIC", "guardrail_intervened"]
)
def test_every_providers_word_for_a_refusal_is_known(tmp_path: Path, reason: str) -> None:
    with open_world(tmp_path, completion("", finish_reason=reason)) as world:
        reply = world.model.complete(ask())
    assert (reply.refused, reply.text) == (True, f"it ended with {reason.lower()}")


@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS", "model_length", "ERROR_LIMIT"])
def test_every_providers_word_for_a_full_context_is_known(tmp_path: Path, reason: str) -> None:
    with open_world(tmp_path, completion("[1, ", finish_reason=reason)) as world:
        assert world.model.complete(ask()).truncated


@pytest.mark.parametrize("reason", ["insufficient_system_resource", "error", "abort"])
def test_an_answer_that_the_provider_broke_off_is_tried_again(tmp_path: Path, reason: str) -> None:
    with open_world(tmp_path, completion("", finish_reason=reason), completion("[1, 2]")) as world:
        assert world.model.complete(ask()).text == "[1, 2]"
        assert world.cache.totals().n_calls == 1
    assert len(world.clock.slept) == 1


@pytest.mark.parametrize("reason", ["error", "abort"])
def test_what_the_provider_wrote_before_it_broke_off_is_paid_for_and_counts_as_cut_off(
    tmp_path: Path, reason: str
) -> None:
    with open_world(tmp_path, completion("[1, ", finish_reason=reason)) as world:
        reply = world.model.complete(ask())
        assert (reply.text, reply.truncated) == ("[1, ", True)
        assert world.cache.totals().n_calls == 1
    assert not world.clock.slept


@pytest.mark.parametrize(
    ("metadata", "ending"),
    [
        ({"done_reason": "length"}, "length"),
        ({"stopReason": "end_turn"}, "end_turn"),
        ({"prompt_feedback": {"block_reason": 4, "safety_ratings": []}}, BLOCKED_PROMPT),
        ({"prompt_feedback": {"block_reason": "OTHER"}}, BLOCKED_PROMPT),
        ({"prompt_feedback": {"block_reason": 0}, "finish_reason": "STOP"}, "stop"),
        ({"prompt_feedback": {"block_reason": 0}}, ""),
        ({"prompt_feedback": {}}, ""),
        ({}, ""),
    ],
)
def test_the_ending_is_found_under_every_name(metadata: dict[str, Any], ending: str) -> None:
    assert find_ending(AIMessage("", response_metadata=metadata)) == ending


def test_an_answer_that_a_filter_cut_keeps_its_text(tmp_path: Path) -> None:
    with open_world(tmp_path, completion('[{"a": 1}, {', finish_reason="content_filter")) as world:
        reply = world.model.complete(ask())
    assert (reply.text, reply.truncated, reply.refused) == ('[{"a": 1}, {', True, False)


def test_half_a_character_is_replaced_before_the_answer_is_kept(tmp_path: Path) -> None:
    broken = completion("X").body.replace('"X"', '"half \\\\ud83d"'.replace("\\\\", "\\"))
    with open_world(tmp_path, Answer(broken)) as world:
        assert [world.model.complete(ask()).text for _ in range(2)] == ["half \ufffd"] * 2


def test_a_key_that_an_answer_repeats_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "tok-very-s3cret")
    with open_world(tmp_path, completion("you sent TOK-very-s3cret"), api_key_env="MY_KEY") as world:
        assert world.model.complete(ask()).text == "you sent [key]"
    assert not any(b"very-secret" in file.read_bytes() for file in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ({"prompt_tokens": None, "completion_tokens": None}, (3, 2)),
        ({"prompt_tokens": -7, "completion_tokens": -3, "total_tokens": -10}, (3, 2)),
        ({"prompt_tokens": 10**30, "completion_tokens": 3, "total_tokens": 10}, (3, 2)),
        ({"prompt_tokens": 7, "completion_tokens": 10**30, "total_tokens": 10}, (3, 2)),
        ({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10**30}, (7, 3)),
        ({"prompt_tokens": 7.5, "completion_tokens": 3.0, "total_tokens": 10.5}, (7, 3)),
        ({"prompt_tokens": "7", "completion_tokens": "3", "total_tokens": "10"}, (7, 3)),
    ],
)
def test_usage_that_cannot_be_is_estimated(tmp_path: Path, told: dict[str, Any], counted: tuple[int, int]) -> None:
    body = json.loads(completion("12345").body) | {"usage": told}
    with open_world(tmp_path, Answer(json.dumps(body))) as world:
        usage = world.model.complete(ask("12345678")).usage
        assert world.model.complete(ask("12345678")).usage.n_cached == 1, "it was kept"
    assert (usage.input_tokens, usage.output_tokens) == counted
