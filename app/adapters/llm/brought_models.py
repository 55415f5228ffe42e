"""Chat models that the application brings."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult

from pada_agent.app.adapters.llm.clients import PlainClient, is_made_to_stream


def name_author(chat: BaseChatModel) -> str:
    """The class of a chat model that the application has written. Empty for those of LangChain's packages for providers, and
    for classes derived from them, because these packages raise errors of Python for answers that they cannot read.
    """
    packages = {kind.__module__.partition(".")[0] for kind in type(chat).__mro__} - {"langchain_core"}
    return "" if any(name.startswith("langchain_") for name in packages) else type(chat).__name__


@dataclass(frozen=True)
class BroughtClient(PlainClient):
    """Calls a chat model that the application brings."""

    @cached_property
    def _asked(self) -> BaseChatModel:
        chat = self.chat
        inherited = {key: getattr(chat, key) for key in ("callbacks", "tags", "metadata", "rate_limiter", "verbose")}
        return _InOnePiece(chat=chat, cache=False, name=chat.get_name(), **inherited)


class _InOnePiece(BaseChatModel):
    """Like `clients.in_one_piece`, but not a copy: what the application's model counts, it counts in its own object."""

    chat: BaseChatModel

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer = self.chat._stream if is_made_to_stream(self.chat) else self.chat._generate
        if "run_manager" in signature(answer).parameters:
            kwargs["run_manager"] = run_manager
        found = answer(messages, stop=stop, **kwargs)
        return found if isinstance(found, ChatResult) else generate_from_stream(found)

    @property
    def _llm_type(self) -> str:
        return self.chat._llm_type

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return self.chat._identifying_params

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        return self.chat._get_invocation_params(stop=stop, **kwargs)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return self.chat._get_ls_params(stop=stop, **kwargs)
