"""Arguments of LangChain's chat models: under each class's own names, and none of them lost."""

from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import BaseMessage
from pydantic import ConfigDict, Field

from pada_agent.app.adapters.llm.clients import ChatClient, ConstructedClient
from pada_agent.app.adapters.llm.providers import find_opening
from pada_agent.core.chat import ChatRequest, Message
from pada_agent.core.errors import ConfigError
from pada_agent.core.model_config import ModelConfig

langchain = pytest.importorskip("langchain.chat_models")
asked: list[tuple[Any, dict[str, Any]]] = []


class Fake(FakeListChatModel):
    """What the classes below have in common. They are LangChain's as far as their arguments go."""

    model_config = ConfigDict(populate_by_name=True)
    responses: list[str] = Field(default=["ok"])
    model: str
    temperature: float | None = None
    base_url: str | None = None

    def _call(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> str:
        asked.append((self, kwargs))
        return super()._call(messages, stop, run_manager)


class ChatOllama(Fake):
    num_ctx: int | None = None
    num_predict: int | None = None
    client_kwargs: dict[str, Any] = Field(default_factory=dict)


class ChatCohere(Fake):
    cohere_api_key: str | None = None
    timeout_seconds: float | None = 300


class ChatXAI(Fake):
    xai_api_key: str | None = Field(default=None, alias="api_key")
    timeout: float | None = None
    model_kwargs: dict[str, Any] = Field(default_factory=dict)


@pytest.fixture(autouse=True)
def _packages(monkeypatch: pytest.MonkeyPatch) -> None:
    classes: dict[str, type[Fake]] = {"ollama": ChatOllama, "cohere": ChatCohere, "xai": ChatXAI}
    monkeypatch.setattr(
        langchain,
        "init_chat_model",
        lambda name, *, model_provider, **more: classes[model_provider](model=name, **more),
    )
    monkeypatch.setattr("pada_agent.app.adapters.llm.providers.find_spec", lambda name: name)
    for name in classes:
        monkeypatch.setenv(f"{name.upper()}_API_KEY", "tok-very-secret")


def open_client(model: str, **settings: Any) -> ChatClient:
    return find_opening(ModelConfig.model_validate({"model": model, **settings}), "judge").open()


def complete(model: str, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """The chat model that was asked, and what it was given with the call."""
    request = ChatRequest(messages=(Message(role="user", content="hi"),), temperature=0.7, max_output_tokens=55)
    open_client(model, **settings).ask(request, frozenset())
    return asked.pop()


def test_ollama_is_given_limit_and_timeout_under_its_own_names() -> None:
    chat, _ = complete("ollama:m", timeout_seconds=5, extra={"num_ctx": 8192})
    assert (chat.num_predict, chat.temperature, chat.num_ctx) == (55, 0.7, 8192)
    assert chat.client_kwargs == {"timeout": 5}


def test_options_of_ollamas_http_client_join_our_timeout() -> None:
    chat, _ = complete("ollama:m", timeout_seconds=5, extra={"client_kwargs": {"headers": {"X-Team": "data"}}})
    assert chat.client_kwargs == {"timeout": 5, "headers": {"X-Team": "data"}}


def test_cohere_is_given_key_and_timeout_under_its_own_names_and_the_limit_with_each_call() -> None:
    chat, options = complete("cohere:m", timeout_seconds=5)
    assert (chat.cohere_api_key, chat.timeout_seconds) == ("tok-very-secret", 5)
    assert options == {"max_tokens": 55, "temperature": 0.7}


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        ("ollama:m", {"extra": {"num_predct": 5}}, r"extra\.num_predct: ChatOllama .* Did you mean 'num_predict'\?"),
        (
            "ollama:m",
            {"api_key_env": "OLLAMA_API_KEY"},
            r"api_key_env: ChatOllama has no such parameter\. Leave it out\.",
        ),
        ("xai:m", {}, "max_output_tokens: ChatXAI has no such parameter"),
    ],
)
def test_what_the_class_does_not_know_is_refused_by_the_settings_name(
    model: str, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^models\.judge\.{words}"):
        complete(model, **settings)


def test_what_the_class_sends_with_each_request_is_known() -> None:
    client = open_client("xai:m", extra={"model_kwargs": {"max_tokens": 9, "top_k": 1}})
    assert isinstance(client, ConstructedClient)
    assert client._make(max_tokens=9).model_kwargs == {"max_tokens": 9, "top_k": 1}
