"""The embedded engine with a real model: small, but all the way."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import httpx
import pytest
from pydantic import BaseModel, Field

from pada_agent.app.adapters.llm import local_engine
from pada_agent.app.adapters.llm.chat_models import ChatModelAdapter, make_language_model
from pada_agent.app.adapters.llm.limits import Budget, CallGate
from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.app.adapters.storage import model_store
from pada_agent.core.chat import ChatRequest, Message
from pada_agent.core.config import BudgetConfig, ModelConfig
from pada_agent.core.errors import ModelUnavailableError, StructuredOutputError
from pada_agent.prompts.numbering import number_from_one
from pada_agent.prompts.structured_call import structured_call

pytestmark = pytest.mark.slow

NAME = "qwen2.5-coder-0.5b-instruct"
SHARED = "You write short messages that customers send to their bank."


class Draft(BaseModel):
    number: int = Field(description="number of the message")
    message: str = Field(description="what the customer writes, one sentence")
    topic: Literal["card", "transfer", "loan"]


@pytest.fixture(scope="module")
def file() -> Path:
    return model_store.pull(NAME)


@pytest.fixture
def model(file: Path, tmp_path: Path) -> Iterator[ChatModelAdapter]:
    config = ModelConfig(model=f"local:{NAME}", context_tokens=1024)
    cache = ResponseCache(tmp_path / "llm_calls.sqlite")
    budget = Budget(BudgetConfig(), cache.totals)
    yield make_language_model(config, role="generator", cache=cache, budget=budget, gate=CallGate(config))
    local_engine.release(file)
    cache.close()


def test_eight_calls_at_once_all_follow_the_schema(model: ChatModelAdapter) -> None:
    def write(n: int) -> tuple[int, int]:
        prompt = f"{SHARED}\nWrite 2 messages for batch {n}."
        reply = structured_call(
            model,
            prompt,
            Draft,
            numbered=number_from_one("number", 2),
            temperature=0.7,
            max_output_tokens=250,
            draw=str(n),
        )
        return len(reply.items), len(reply.call_keys)

    started = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(write, range(8)))
    seconds = time.perf_counter() - started
    usage = model._cache.totals()
    print(
        f"\n{usage.output_tokens / seconds:.1f} tokens/s out, {usage.input_tokens} in, {usage.output_tokens} out, {seconds:.0f} s"
    )
    assert all(n_items >= 1 and n_calls == 1 for n_items, n_calls in counts), counts


def test_a_prompt_beyond_the_slot_costs_one_batch(model: ChatModelAdapter) -> None:
    with pytest.raises(StructuredOutputError, match="does not fit"):
        model.complete(ChatRequest(messages=(Message(role="user", content="word " * 3000),)))


def test_roles_share_one_engine_and_the_last_to_leave_stops_it(file: Path) -> None:
    first, second = (local_engine.acquire(file, n_slots=2, context_tokens=512) for _ in range(2))
    assert first == second
    local_engine.release(file)
    url = first.url.removesuffix("/v1")
    assert httpx.get(f"{url}/health").status_code == 200
    assert httpx.post(f"{first.url}/chat/completions", json={}).status_code == 401
    local_engine.release(file)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")


def test_letting_go_in_the_middle_of_an_answer_returns_at_once(model: ChatModelAdapter, file: Path) -> None:
    request = ChatRequest(
        messages=(Message(role="user", content="Write a very long story about a bank and its customers."),),
        max_output_tokens=900,
    )
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(model.complete, request)
        while file not in local_engine._engines:
            time.sleep(0.05)
        time.sleep(0.5)
        started = time.perf_counter()
        model._gate.close()
        model.close()
        seconds = time.perf_counter() - started
        with pytest.raises(ModelUnavailableError):
            answer.result()
    assert seconds < 1


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    fake = tmp_path / "model.gguf"
    fake.write_bytes(b"not a model")
    with pytest.raises(ModelUnavailableError, match="did not start"):
        local_engine.acquire(fake, n_slots=1, context_tokens=512)
