"""A chat model and the loopback server that it talks to."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pada_agent.app.adapters.llm.chat_models import ChatModelAdapter, make_language_model
from pada_agent.app.adapters.llm.limits import Budget, CallGate
from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.core.chat import ChatRequest, Message
from pada_agent.core.config import BudgetConfig, ModelConfig
from tests.fake_chat_server import Answer, FakeChatServer, serve
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
