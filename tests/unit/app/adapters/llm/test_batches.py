"""Calls in batches at half the price, against a server that speaks OpenAI's and Anthropic's protocols."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from pada_agent.app.adapters.llm.batch_ledger import BatchLedger
from pada_agent.app.adapters.llm.chat_models import ChatModelAdapter, make_language_model
from pada_agent.app.adapters.llm.limits import Budget, CallGate
from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.core.chat import ChatReply, ChatRequest, Message
from pada_agent.core.config import BudgetConfig
from pada_agent.core.errors import (
    BudgetExceededError,
    ConfigError,
    ModelUnavailableError,
    PadaError,
    StructuredOutputError,
)
from pada_agent.core.model_config import ModelConfig
from pada_agent.core.progress import Progress
from tests.batch_server import LOST, BatchServer, Body, make_message, serving_batches
from tests.fakes import FakeClock
from tests.openai_server import make_completion

PRICES = {"usd_per_million_input_tokens": 1e6, "usd_per_million_output_tokens": 1e6}
OPENAI, ANTHROPIC = "openai:toy", "anthropic:toy"
CREATE = {OPENAI: "POST /v1/batches", ANTHROPIC: "POST /v1/messages/batches"}
both = pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "tok-very-s3cret")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "tok-very-s3cret")


class World:
    """A model in batches, what it reports, and what it spends."""

    def __init__(self, folder: Path, server: BatchServer, model: str, **settings: Any) -> None:
        if model == ANTHROPIC:
            pytest.importorskip("langchain_anthropic")
        budget = settings.pop("budget", BudgetConfig())
        url = server.address + ("/v1" if model == OPENAI else "")
        quick = {"batch_window_seconds": 0.05, "batch_poll_seconds": 0.01}
        config = ModelConfig.model_validate(
            {"model": model, "base_url": url, "economy": "batch", **quick, **PRICES, **settings}
        )
        self.cache = ResponseCache(folder / "llm_calls.sqlite")
        self.ledger = BatchLedger(folder / "llm_calls.sqlite")
        self.told: list[Progress] = []
        self.clock = FakeClock()
        self.model: ChatModelAdapter = make_language_model(
            config,
            role="judge",
            cache=self.cache,
            budget=Budget(budget, self.cache.totals),
            gate=CallGate(config, self.clock),
            report=self.told.append,
        )

    def ask(self, *texts: str) -> list[Any]:
        """Replies or errors, all asked at the same time."""
        with ThreadPoolExecutor(max_workers=len(texts)) as pool:
            futures = [pool.submit(self.model.complete, make_request(text)) for text in texts]
            return [future.exception() or future.result() for future in futures]


@contextmanager
def open_world(folder: Path, server: BatchServer, model: str, **settings: Any) -> Iterator[World]:
    world = World(folder, server, model, **settings)
    try:
        yield world
    finally:
        world.model.close()
        world.cache.close()


def make_request(text: str) -> ChatRequest:
    return ChatRequest(
        messages=(Message(role="system", content="s"), Message(role="user", content=text)), temperature=0.7
    )


def last_text(body: Body) -> str:
    return str(body["messages"][-1]["content"])


def answering(texts: Callable[[str], str] = str.upper) -> Callable[[Body], tuple[int, Body]]:
    """A teacher of either protocol that turns a prompt into an answer."""

    def answer(body: Body) -> tuple[int, Body]:
        text = texts(last_text(body))
        return 200, make_message(text) if "system" in body else make_completion(text)

    return answer


def refusing(
    status: int, kind: str, message: str, *, when: Callable[[Body], bool]
) -> Callable[[Body], tuple[int, Body]]:
    def answer(body: Body) -> tuple[int, Body]:
        error = {"type": kind, "message": message}
        is_batch_of_anthropic = "system" in body
        refused = {"type": "error", "error": error} if is_batch_of_anthropic else {"error": error}
        return (status, refused) if when(body) else answering()(body)

    return answer


def close_when(world: World, is_time: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not is_time() and time.monotonic() < until:
        time.sleep(0.01)
    world.model.close()


def texts_of(replies: list[Any]) -> list[str]:
    assert all(isinstance(reply, ChatReply) for reply in replies), replies
    return [reply.text for reply in replies]


@both
def test_calls_of_the_same_time_are_one_batch_at_half_the_price(tmp_path: Path, model: str) -> None:
    window = {"batch_window_seconds": 2}
    with serving_batches(answering()) as server, open_world(tmp_path, server, model, **window) as world:
        assert texts_of(world.ask("a", "b", "c")) == ["A", "B", "C"]
        assert len(server.batches) == 1
        assert not server.ordinary
        used = world.cache.totals()
        assert (used.n_calls, used.input_tokens, used.output_tokens) == (3, 30, 15)
        assert used.cost_usd == pytest.approx(45 / 2)
        assert world.ask("a")[0].cached
    (told,) = [progress for progress in world.told if progress.done == progress.total]
    assert (told.total, told.unit) == (3, "calls")
    assert "batch-0" in told.detail


def test_a_later_price_is_halved_for_calls_of_batches(tmp_path: Path) -> None:
    prices = {"usd_per_million_input_tokens": 3e6, "usd_per_million_output_tokens": 3e6}
    with serving_batches(answering()) as server:
        with open_world(tmp_path, server, OPENAI, batch_window_seconds=2) as world:
            world.ask("a", "b")
        with open_world(tmp_path, server, OPENAI, **prices, economy=None) as world:
            assert world.cache.totals().cost_usd == pytest.approx(3 * 30 / 2)


@both
def test_a_call_is_sent_as_it_would_be_by_itself(tmp_path: Path, model: str) -> None:
    settings = {"extra": {"top_k": 5}, "max_output_tokens": 55}
    with serving_batches(answering()) as server:
        with open_world(tmp_path / "batch", server, model, **settings) as world:
            world.ask("a")
        with open_world(tmp_path / "ordinary", server, model, **settings, economy=None) as world:
            world.ask("a")
        (batched,) = [json.loads(body) for body in server.submitted]
        (ordinary,) = server.ordinary
        for body in (batched, ordinary):
            if isinstance(system := body.get("system"), list):
                body["system"] = system[0]["text"]
            body.pop("stream", None)
        assert batched == ordinary
        keys = {str(headers.get("authorization", headers.get("x-api-key"))) for headers in server.headers}
        assert {key.removeprefix("Bearer ") for key in keys} == {"tok-very-s3cret"}


@both
def test_a_killed_run_waits_for_the_batch_of_before(tmp_path: Path, model: str) -> None:
    with serving_batches(answering()) as server:
        server.released.clear()
        with open_world(tmp_path, server, model) as world:
            Thread(target=close_when, args=(world, lambda: len(server.submitted) == 2)).start()
            errors = world.ask("a", "b")
        assert all(isinstance(error, ModelUnavailableError) and "resumed run waits" in str(error) for error in errors)
        server.released.set()
        with open_world(tmp_path, server, model) as world:
            assert texts_of(world.ask("a", "b", "new")) == ["A", "B", "NEW"]
            assert world.cache.totals().n_calls == 3
        assert sorted(server.submitted.values()) == [1, 1, 1]
        assert not server.ordinary


@both
def test_results_that_came_before_the_kill_are_read_again(tmp_path: Path, model: str) -> None:
    """The batch was over, and its answers were not kept."""
    with serving_batches(answering()) as server:
        with open_world(tmp_path, server, model) as world:
            world.ask("a")
            world.cache._db.execute("DELETE FROM calls")
        with open_world(tmp_path, server, model) as world:
            assert texts_of(world.ask("a")) == ["A"]
        assert len(server.batches) == 1


@both
@pytest.mark.parametrize("fault", [LOST, -504])
def test_a_batch_whose_name_was_never_heard_is_found_again(tmp_path: Path, model: str, fault: int) -> None:
    with serving_batches(answering()) as server:
        server.faults[CREATE[model]] = [fault]
        with open_world(tmp_path, server, model) as world:
            assert texts_of(world.ask("a")) == ["A"]
        assert len(server.batches) == 1


@both
def test_a_batch_of_somebody_else_is_not_taken_for_ours(tmp_path: Path, model: str) -> None:
    with serving_batches(answering()) as server:
        with open_world(tmp_path / "other", server, model) as world:
            world.ask("x")
        server.faults[CREATE[model]] = [503]
        with open_world(tmp_path, server, model) as world:
            assert texts_of(world.ask("a")) == ["A"]
        assert len(server.batches) == 2


@both
def test_a_batch_that_the_provider_no_longer_has_is_sent_again(tmp_path: Path, model: str) -> None:
    with serving_batches(answering()) as server:
        with open_world(tmp_path, server, model) as world:
            world.ask("a")
            world.cache._db.execute("DELETE FROM calls")
        server.batches.clear()
        with open_world(tmp_path, server, model) as world:
            assert texts_of(world.ask("a")) == ["A"]


@both
@pytest.mark.parametrize("why", ["expired", "error"])
def test_calls_that_failed_there_go_out_by_themselves_at_the_full_price(tmp_path: Path, model: str, why: str) -> None:
    broken = refusing(500, "api_error", "oops", when=lambda body: last_text(body) == "b" and not server.ordinary)
    with serving_batches(broken if why == "error" else answering()) as server:
        if why == "expired":
            server.unanswered = lambda body: "expired" if last_text(body) == "b" else None
        with open_world(tmp_path, server, model) as world:
            assert texts_of(world.ask("a", "b")) == ["A", "B"]
            assert world.cache.totals().cost_usd == pytest.approx(15 / 2 + 15)
        assert [last_text(body) for body in server.ordinary] == ["b"]


@both
def test_a_prompt_that_does_not_fit_costs_its_own_call(tmp_path: Path, model: str) -> None:
    words = "prompt is too long: 212345 tokens > 200000 maximum"
    answer = refusing(400, "invalid_request_error", words, when=lambda body: last_text(body) == "b")
    with serving_batches(answer) as server, open_world(tmp_path, server, model) as world:
        good, bad = world.ask("a", "b")
        assert good.text == "A"
        assert isinstance(bad, StructuredOutputError)
        assert "212345 tokens" in str(bad)
        assert not server.ordinary


@both
def test_a_parameter_that_is_refused_is_left_out_in_another_batch(tmp_path: Path, model: str) -> None:
    words = "`temperature` is not supported with this model"
    answer = refusing(400, "invalid_request_error", words, when=lambda body: "temperature" in body)
    with serving_batches(answer) as server, open_world(tmp_path, server, model) as world:
        assert texts_of(world.ask("a")) == ["A"]
        assert len(server.batches) == 2
        assert not server.ordinary


@both
def test_a_cancelled_batch_ends_the_run_and_keeps_what_it_answered(tmp_path: Path, model: str) -> None:
    with serving_batches(answering()) as server:
        server.ends_as = "cancelled"
        server.unanswered = lambda body: "canceled" if last_text(body) == "b" else None
        with open_world(tmp_path, server, model) as world:
            good, bad = world.ask("a", "b")
        assert good.text == "A"
        assert isinstance(bad, ModelUnavailableError)
        assert "cancelled at the provider" in str(bad)
        assert not server.ordinary, "nobody pays the full price for what was called off"
        server.ends_as, server.unanswered = "completed", lambda _: None
        with open_world(tmp_path, server, model) as world:
            assert texts_of(world.ask("a", "b")) == ["A", "B"]
        assert sorted(server.submitted.values()) == [1, 2]


def test_a_batch_that_was_refused_as_a_whole_is_told_in_the_providers_words(tmp_path: Path) -> None:
    with serving_batches(answering()) as server:
        server.ends_as, server.failure = "failed", {"code": "model_not_found", "message": "no model toy for batches"}
        with open_world(tmp_path, server, OPENAI) as world:
            errors = world.ask("a", "b")
    assert all(
        isinstance(error, ModelUnavailableError) and "no model toy for batches" in str(error) for error in errors
    )


def test_a_full_queue_of_the_provider_is_waited_for(tmp_path: Path) -> None:
    with serving_batches(answering()) as server:
        server.ends_as = "failed"
        server.failure = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}
        with open_world(tmp_path, server, OPENAI) as world:
            world.clock.sleep = lambda _: setattr(server, "ends_as", "completed")  # type: ignore[method-assign]
            assert texts_of(world.ask("a")) == ["A"]
        assert len(server.batches) == 2


@both
def test_hiccups_while_waiting_are_waited_out(tmp_path: Path, model: str) -> None:
    with serving_batches(answering()) as server:
        path = CREATE[model].removeprefix("POST ")
        server.faults[f"GET {path}/batch-0"] = [503, LOST, 429]
        server.faults[f"GET {path}/batch-0/results"] = [500]
        with open_world(tmp_path, server, model) as world:
            assert texts_of(world.ask("a")) == ["A"]
        assert len(server.batches) == 1


@both
@pytest.mark.parametrize(
    ("fault", "words"), [(401, r"refused the key \(HTTP 401\): fault 401"), (404, "remove models.judge.economy")]
)
def test_a_provider_that_takes_no_batch_says_why(tmp_path: Path, model: str, fault: int, words: str) -> None:
    with serving_batches(answering()) as server, open_world(tmp_path, server, model) as world:
        server.faults[CREATE[model]] = [fault]
        with pytest.raises(ModelUnavailableError, match=words):
            world.model.complete(make_request("a"))


def test_a_redirect_is_not_followed_with_the_key(tmp_path: Path) -> None:
    with serving_batches(answering()) as server, open_world(tmp_path, server, OPENAI) as world:
        server.faults["POST /v1/files"] = [307]
        with pytest.raises(ModelUnavailableError, match="redirects"):
            world.model.complete(make_request("a"))
        assert len(server.headers) == 1


def test_the_budget_counts_calls_that_wait_in_a_batch(tmp_path: Path) -> None:
    with (
        serving_batches(answering()) as server,
        open_world(tmp_path, server, OPENAI, budget=BudgetConfig(max_calls=2)) as world,
    ):
        replies = world.ask("a", "b", "c", "d")
    assert sum(isinstance(reply, ChatReply) for reply in replies) == 2
    assert sum(isinstance(reply, BudgetExceededError) for reply in replies) == 2
    assert len(server.submitted) == 2


def test_nothing_that_is_stored_repeats_the_key(tmp_path: Path) -> None:
    with (
        serving_batches(answering(lambda text: f"{text} tok-very-s3cret")) as server,
        open_world(tmp_path, server, OPENAI) as world,
    ):
        assert texts_of(world.ask("a")) == ["a [key]"]
    assert not any(b"tok-very-s3cret" in file.read_bytes() for file in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "economy", "words"),
    [
        ("mistralai:m", "batch", "batch is for openai: and anthropic: models"),
        ("bedrock_converse:m", "batch", "batch is for openai: and anthropic: models"),
        ("anthropic:m", "flex", "flex is for openai: models"),
    ],
)
def test_a_provider_without_that_economy_is_refused(
    tmp_path: Path, model: str, economy: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("langchain_anthropic")
    for name in ("MISTRAL_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "tok-very-s3cret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with serving_batches() as server, pytest.raises(ConfigError, match=words):
        World(tmp_path, server, model, economy=economy, base_url=None)


@pytest.mark.parametrize(("said", "share"), [("flex", 0.5), ("default", 1.0), (None, 1.0)])
def test_flex_is_half_the_price_where_the_answer_says_so(tmp_path: Path, said: str | None, share: float) -> None:
    def answer(body: Body) -> tuple[int, Body]:
        status, completion = answering()(body)
        details = {"prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}
        usage = completion["usage"] | details  # as OpenAI tells them; langchain-openai 1.0 relies on it
        return status, completion | {"usage": usage} | ({"service_tier": said} if said else {})

    with serving_batches(answer) as server, open_world(tmp_path, server, OPENAI, economy="flex") as world:
        world.ask("a")
        assert world.cache.totals().cost_usd == pytest.approx(15 * share)
        assert [body["service_tier"] for body in server.ordinary] == ["flex"]


def test_flex_has_time_and_excludes_another_tier() -> None:
    assert ModelConfig(model="openai:m", economy="flex").timeout_seconds == 900
    assert ModelConfig(model="openai:m", economy="flex", timeout_seconds=5).timeout_seconds == 5
    with pytest.raises(ValueError, match="cannot be combined"):
        ModelConfig(model="openai:m", economy="flex", service_tier="priority")


def test_a_ledger_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "calls").write_text("this is no database" * 100)
    with pytest.raises(PadaError, match=r"calls: batches cannot be recorded"):
        BatchLedger(tmp_path / "calls").find("x")
