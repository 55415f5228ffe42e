"""Chat models in an application that streams, that caches, and that brings its own."""

import asyncio
from collections.abc import Callable, Iterator
from json import JSONDecodeError
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from pydantic import Field
from typing_extensions import TypedDict

from pada_agent.app.adapters.llm.chat_models import ChatModelAdapter
from pada_agent.app.wiring import bring_chat_model
from pada_agent.core.chat import ChatReply
from pada_agent.core.config import ModelConfig
from pada_agent.core.errors import ModelUnavailableError
from pada_agent.prompts.prompted_model import PromptedModel
from tests.fake_chat_server import Answer, FakeChatServer, completion
from tests.unit.app.adapters.llm.chat_world import World, ask, make_world, open_world


class State(TypedDict, total=False):
    reply: ChatReply


Graph = Any


class CountingChat(BaseChatModel):
    """Answers with how often it was asked. Knows how to stream, and refuses a temperature."""

    n_asked: int = 0
    temperatures: list[Any] = Field(default_factory=list)
    streaming: bool = False

    @property
    def _llm_type(self) -> str:
        return "counting"

    def _count(self, options: dict[str, Any]) -> str:
        self.n_asked += 1
        self.temperatures.append(options.get("temperature"))
        if "temperature" in options:
            raise ValueError({"message": "temperature is not supported", "code": 400})
        return str(self.n_asked)

    def _generate(self, *_: Any, **options: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(f"whole {self._count(options)}"))])

    def _stream(self, *_: Any, **options: Any) -> Iterator[ChatGenerationChunk]:
        for part in ("in ", f"parts {self._count(options)}"):
            yield ChatGenerationChunk(message=AIMessageChunk(part))


class ChatWithoutLimit(BaseChatModel):
    """Takes no `max_tokens`."""

    @property
    def _llm_type(self) -> str:
        return "without limit"

    def _generate(self, *arguments: Any, stop: Any = None, run_manager: Any = None) -> ChatResult:
        raise AssertionError(f"called with {arguments}, {stop} and {run_manager}")


class BrokenChat(BaseChatModel):
    """Raises one error after the other, and answers when there are none left."""

    errors: list[Any]

    @property
    def _llm_type(self) -> str:
        return "broken"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        if self.errors:
            raise self.errors.pop(0)
        return ChatResult(generations=[ChatGeneration(message=AIMessage("ok"))])


def make_graph(model: ChatModelAdapter) -> Graph:
    builder = StateGraph(State)
    builder.add_node("ask", lambda _: {"reply": model.complete(ask())})
    builder.add_edge(START, "ask")
    builder.add_edge("ask", END)
    return builder.compile()


def stream_messages(graph: Graph) -> tuple[ChatReply, list[str]]:
    """The reply, and the texts of the messages that the application saw."""
    parts = list(graph.stream({}, stream_mode=["messages", "values"]))
    return parts[-1][1]["reply"], [part[0].text for mode, part in parts if mode == "messages"]


def stream_events(graph: Graph) -> tuple[ChatReply, list[str]]:
    """The same with `astream_events`."""

    async def collect() -> list[Any]:
        return [event async for event in graph.astream_events({}, version="v2")]

    events = asyncio.run(collect())
    ends = [event["data"]["output"].text for event in events if event["event"] == "on_chat_model_end"]
    return events[-1]["data"]["output"]["reply"], ends


def bring_openai(world: World, kind: type[ChatOpenAI] = ChatOpenAI) -> ChatModelAdapter:
    chat = kind(model="mine", base_url=world.server.url, api_key=lambda: "none", max_retries=0)
    return world.model.answered_by(chat)


@pytest.mark.parametrize("stream", [stream_messages, stream_events])
@pytest.mark.parametrize("choose", [lambda world: world.model, bring_openai], ids=["ours", "brought"])
def test_an_application_that_streams_its_graph_gets_whole_answers_with_the_usage_that_the_server_reports(
    tmp_path: Path,
    stream: Callable[[Graph], tuple[ChatReply, list[str]]],
    choose: Callable[[World], ChatModelAdapter],
) -> None:
    with open_world(tmp_path, completion("hello")) as world:
        reply, seen = stream(make_graph(choose(world)))
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (7, 3)
    assert seen == ["hello"]
    assert [asked.get("stream") for asked in world.server.requests] == [False]


@pytest.mark.parametrize("choose", [lambda world: world.model, bring_openai], ids=["ours", "brought"])
def test_an_applications_cache_does_not_give_one_answer_to_all_draws(
    tmp_path: Path, choose: Callable[[World], ChatModelAdapter]
) -> None:
    set_llm_cache(InMemoryCache())
    try:
        with open_world(tmp_path, completion("one"), completion("two")) as world:
            model = choose(world)
            assert [model.complete(ask(draw=d)).text for d in ("1", "2", "1")] == ["one", "two", "one"]
    finally:
        set_llm_cache(None)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[World]:
    world = make_world(tmp_path, ModelConfig(model="own:x"), FakeChatServer("", [], []))
    yield world
    world.cache.close()


def test_a_brought_model_is_asked_itself_and_streams_only_if_it_was_made_to(own: World) -> None:
    chat = CountingChat(n_asked=4)
    own.model._refused.add("temperature")
    assert stream_messages(make_graph(own.model.answered_by(chat)))[0].text == "whole 5"
    assert chat.n_asked == 5
    chat.streaming = True
    assert own.model.answered_by(chat).complete(ask(draw="2")).text == "in parts 6"


def test_what_a_model_refuses_is_learned_once_although_every_node_brings_it_anew(own: World) -> None:
    chats = [CountingChat() for _ in range(3)]
    for draw, chat in enumerate(chats):
        own.model.answered_by(chat).complete(ask(draw=str(draw)))
    assert [chat.temperatures for chat in chats] == [[0.0, None], [None], [None]]


def test_a_mistake_in_a_brought_model_ends_the_run_at_once_with_what_was_raised(own: World) -> None:
    mistake = r"own:x: ChatWithoutLimit, the chat .* raised TypeError\(.*'max_tokens'.*\); docs/embedding.md says"
    with pytest.raises(ModelUnavailableError, match=mistake):
        own.model.answered_by(ChatWithoutLimit()).complete(ask())
    assert own.clock.slept == []


@pytest.mark.parametrize("error", [KeyError("choices"), ValueError("no such deployment"), ZeroDivisionError("by zero")])
def test_any_mistake_in_a_brought_model_ends_the_run_without_a_wait(own: World, error: Exception) -> None:
    with pytest.raises(ModelUnavailableError) as raised:
        own.model.answered_by(BrokenChat(errors=[error])).complete(ask())
    assert f"BrokenChat, the chat model that the application brought, raised {error!r}; docs/" in str(raised.value)
    assert own.clock.slept == []


class BusyError(ValueError):
    status_code = 503


@pytest.mark.parametrize(
    "error", [ConnectionError("reset"), TimeoutError(), BusyError("busy"), JSONDecodeError("odd", "<html>", 0)]
)
def test_what_may_pass_in_a_brought_model_is_tried_again(own: World, error: Exception) -> None:
    assert own.model.answered_by(BrokenChat(errors=[error])).complete(ask()).text == "ok"
    assert len(own.clock.slept) == 1


@pytest.mark.parametrize(
    ("chat", "kind"),
    [
        (BrokenChat(errors=[]).bind(stop=["x"]), ".*Binding"),
        (BrokenChat(errors=[]).with_retry(), "RunnableRetry"),
        (BrokenChat(errors=[]).with_fallbacks([BrokenChat(errors=[])]), "RunnableWithFallbacks"),
        ("gpt-4o", "str"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_chat_model_is_refused_when_it_is_brought(own: World, chat: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=f"^expected a BaseChatModel, not {kind}: pass the chat model itself"):
        bring_chat_model(PromptedModel(own.model), chat)


class LoggedOpenAI(ChatOpenAI):
    """What an application derives from a package's class."""


@pytest.mark.parametrize("kind", [ChatOpenAI, LoggedOpenAI])
def test_an_answer_that_a_package_of_langchain_cannot_read_is_asked_for_again(
    tmp_path: Path, kind: type[ChatOpenAI]
) -> None:
    with open_world(tmp_path, Answer('{"choices": null}'), completion("ok")) as world:
        assert bring_openai(world, kind).complete(ask()).text == "ok"
