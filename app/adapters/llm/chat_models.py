"""LLM roles on top of chat models, with cache, limits, usage counts and classified failures."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache as once
from pathlib import Path
from threading import RLock
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda

from pada_agent.app.adapters.llm import local_engine
from pada_agent.app.adapters.llm.addresses import explain_not_found
from pada_agent.app.adapters.llm.batch_ledger import BatchLedger
from pada_agent.app.adapters.llm.batching import HALF_PRICE, BatchClient
from pada_agent.app.adapters.llm.brought_models import BroughtClient, name_author
from pada_agent.app.adapters.llm.clients import ChatClient, can_do_without
from pada_agent.app.adapters.llm.endings import BROKEN_OFF, CUT_OFF, FILTERED, find_ending
from pada_agent.app.adapters.llm.limits import Budget, CallGate, RetryableError
from pada_agent.app.adapters.llm.provider_errors import (
    ContentRefusedError,
    NotFoundError,
    ParameterRefusedError,
    translate_error,
)
from pada_agent.app.adapters.llm.providers import Opening, find_opening
from pada_agent.app.adapters.llm.response_cache import MILLION, ResponseCache, call_key, name_model, name_server
from pada_agent.app.adapters.storage import model_store
from pada_agent.core.chat import ChatReply, ChatRequest, Role
from pada_agent.core.errors import ModelUnavailableError, PadaError
from pada_agent.core.model_config import ECONOMY_PRICE, ModelConfig
from pada_agent.core.progress import Progress
from pada_agent.core.records import Usage
from pada_agent.core.surrogates import join_surrogates

FAMILIES = (
    "qwen",
    "llama",
    "claude",
    "mixtral",
    "mistral",
    "gemma",
    "gemini",
    "deepseek",
    "phi",
    "nova",
    "gpt",
    "smollm",
)
RANKS: Mapping[Role, int] = {"analyst": 0, "judge": 1, "generator": 1}
"""Who gets a place first. Each step of the analysis, and most of the rows, wait for the analyst's last answer."""
_O_SERIES = re.compile(r"(?:^|/)o[1-9](?:$|-)")
"""OpenAI's `o3`, `o4-mini` and the like."""
MOST_TOKENS = 1_000_000_000
"""Upper limit for the reported tokens of one answer. A server that reports more is mistaken."""


class ChatModelAdapter:
    """Implements `core.ports.LanguageModel` on top of a LangChain chat model, which is made with the first call that needs it."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        role: Role,
        cache: ResponseCache,
        budget: Budget,
        gate: CallGate,
        opening: Opening,
    ) -> None:
        self._config = config
        self._role = role
        self._cache = cache
        self._budget = budget
        self._gate = gate
        self._opening = opening
        self._refused: set[str] = set()
        self._traced = RunnableLambda(self._answer)
        self._client: ChatClient | None = None
        self._endpoint: local_engine.Endpoint | None = None  # the embedded engine's, which the client asks
        self._closed = False
        self._lock = RLock()  # a signal handler may close while its thread connects

    @property
    def name(self) -> str:
        return self._config.model

    def complete(self, request: ChatRequest) -> ChatReply:
        """See the port. Traced as a run of its own, named after the agent, around the model's run. A cached reply has no model run."""
        return self._traced.invoke(request, config=_describe_call(request, self._role))

    def answered_by(self, chat: BaseChatModel) -> "ChatModelAdapter":
        """The same role with the same cache, budget, limits and prices, but with a chat model made by the caller.

        What the model refuses is remembered however often it is brought, because every node of a run brings it.
        """
        brought = ChatModelAdapter(
            self._config,
            role=self._role,
            cache=self._cache,
            budget=self._budget,
            gate=self._gate,
            opening=Opening(lambda: BroughtClient(chat, self._config), written_by_app=name_author(chat)),
        )
        brought._refused = self._refused
        return brought

    def hide_words(self) -> None:
        """From now on, do not show a server's own words in errors."""
        self._opening = replace(self._opening, redaction=replace(self._opening.redaction, hides_words=True))

    def close(self) -> None:
        """Release the embedded engine, if this role started one. A thread that is just starting it releases it itself."""
        self._closed = True
        self._opening.close()
        if self._lock.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._lock.release()

    def _answer(self, request: ChatRequest) -> ChatReply:
        key = call_key(name_model(self._config, self._opening.address), request)
        agent = str(request.tags.get("agent", ""))
        with self._cache.asking_once(key):
            if self._config.provider == "local":
                self._cache.forget_cut_off(key, context_tokens=self._config.context_tokens)
            if cached := self._cache.get(key, role=self._role, agent=agent):
                return cached
            return self._gate.run(
                lambda: self._pay(request, key),
                tokens_of=lambda r: r.usage.input_tokens + r.usage.output_tokens,
                rank=RANKS[self._role],
            )

    def _pay(self, request: ChatRequest, key: str) -> ChatReply:
        """Make the call and record its cost as one step, so that the budget counts every call as either in flight or spent."""
        self._budget.begin()
        started = time.time()
        try:
            self._cache.begin(key, started=started)
            reply = self._call(request, key)
        except BaseException:
            with self._budget.ending():
                self._cache.give_up(key)
            raise
        seconds = time.time() - started
        with self._budget.ending():
            self._cache.put(
                reply,
                request,
                model=self.name,
                role=self._role,
                started=started,
                seconds=seconds,
                server=name_server(self._config, self._opening.address),
            )
        return reply

    def _call(self, request: ChatRequest, key: str) -> ChatReply:
        client = self._connect()
        while True:
            refused = frozenset(self._refused)  # as it is now: calls at the same time learn the same
            try:
                return self._to_reply(self._ask(client, request, refused), request, key)
            except ParameterRefusedError as exc:
                if not can_do_without(exc.parameter, refused, self._config):
                    raise exc.unusable from None
                self._refused.add(exc.parameter)
            except ContentRefusedError as exc:
                return ChatReply(text=str(exc), refused=True, usage=Usage(n_calls=1), key=key)

    def _ask(self, client: ChatClient, request: ChatRequest, refused: frozenset[str]) -> AIMessage:
        try:
            return client.ask(request, refused)
        except PadaError:
            raise
        except Exception as exc:
            opening = self._opening
            redaction, ours = opening.redaction, opening.written_by_app
            error = translate_error(
                exc, name=self.name, address=opening.address, redaction=redaction, written_by_app=ours
            )
            if isinstance(error, NotFoundError):
                error = NotFoundError(f"{error}{self._explain_not_found()}")
            if redaction.hides_words or redaction.is_in(
                str(exc)
            ):  # some servers repeat the key, and a cause is printed with its error
                raise error from None
            raise error from exc

    def _explain_not_found(self) -> str:
        config = self._config
        if config.economy == "batch":
            return f" Does it support batches? If not, remove models.{self._role}.economy."
        address = self._opening.address
        if address is None or not address.source or self._opening.redaction.hides_words:
            return ""
        return explain_not_found(address) if config.provider == "openai" else ""

    def _connect(self) -> ChatClient:
        file = self._engine_file
        with self._lock:
            if file and self._endpoint and not local_engine.is_reachable(file, self._endpoint):
                self._let_go()
            if self._client is None and not self._closed:
                self._client, self._endpoint = local_engine.make_client(file, self._opening.open)
            if self._closed:
                self._let_go()
            if self._client is None:
                raise ModelUnavailableError("the run was closed")
            return self._client

    @property
    def _engine_file(self) -> Path | None:
        """The embedded engine's model file. None without an embedded engine."""
        provider, _, name = self._config.model.partition(":")
        return model_store.resolve(name) if provider == "local" else None

    def _let_go(self) -> None:
        opened, self._client, self._endpoint = self._client, None, None
        if opened is not None and self._engine_file is not None:
            local_engine.release(self._engine_file)

    def _to_reply(self, message: AIMessage, request: ChatRequest, key: str) -> ChatReply:
        # Joined and masked before it is stored: the answer is paid for.
        text = self._opening.redaction.mask_answer(join_surrogates(str(message.text)))
        reason = find_ending(message)
        if reason in BROKEN_OFF and not text.strip():
            raise RetryableError(f"{self.name}: the provider cut the answer off ({reason})")
        refusal = self._opening.redaction.mask_answer(str(message.additional_kwargs.get("refusal") or ""))
        usage = self._count(message, request)
        is_refused = not text.strip() and (reason in FILTERED or bool(refusal))
        return ChatReply(
            text=(refusal or f"it ended with {reason}") if is_refused else text,
            usage=usage,
            n_cached_input_tokens=_count_cached(message, usage.input_tokens),
            truncated=reason in (*CUT_OFF, *BROKEN_OFF) or (reason in FILTERED and not is_refused),
            refused=is_refused,
            key=key,
            price_share=self._price_share(message),
        )

    def _price_share(self, message: AIMessage) -> float:
        """Fraction of the price: half for answers from a batch, and for those that OpenAI reports as tier `flex`."""
        metadata = message.response_metadata
        is_flex = self._config.economy == "flex" and metadata.get("service_tier") == "flex"
        return ECONOMY_PRICE if is_flex or metadata.get(HALF_PRICE) else 1.0

    def _count(self, message: AIMessage, request: ChatRequest) -> Usage:
        """Usage of the call. Thoughts count as output, although some providers include them only in the total.
        Estimated if the server reports nothing plausible.
        """
        reported: Mapping[str, Any] = message.usage_metadata or {}
        n_in, n_out, n_all = (_read_count(reported.get(f"{part}_tokens")) for part in ("input", "output", "total"))
        if n_in and n_out is not None:
            n_out = max(n_out, (n_all or 0) - n_in)
        else:
            n_in = sum(_estimate_tokens(m.content) for m in request.messages)
            n_out = _estimate_tokens(message.text)
        config, n_cached = self._config, _count_cached(message, n_in)
        full = (n_in - n_cached) * config.usd_per_million_input_tokens + n_out * config.usd_per_million_output_tokens
        cost = (full + n_cached * config.cached_input_price) / MILLION * self._price_share(message)
        return Usage(n_calls=1, input_tokens=n_in, output_tokens=n_out, cost_usd=cost)


def make_language_model(
    config: ModelConfig,
    *,
    role: Role,
    cache: ResponseCache,
    budget: Budget,
    gate: CallGate,
    report: Callable[[Progress], None] = lambda _: None,
) -> ChatModelAdapter:
    """The role's model. Nothing is started or contacted before the first call.

    Args:
        report: receives progress while batches are waited for.

    Raises:
        ConfigError: the provider is unknown; a package, a key, an address or a region is missing; or a setting cannot
            be used.
    """
    opening = find_opening(config, role)
    if config.economy == "batch":
        opening = _open_batches(opening, config, BatchLedger(cache.path), report)
    cache.set_prices(config, role=role, server=name_server(config, opening.address))
    return ChatModelAdapter(config, role=role, cache=cache, budget=budget, gate=gate, opening=opening)


def _open_batches(
    opening: Opening, config: ModelConfig, ledger: BatchLedger, report: Callable[[Progress], None]
) -> Opening:
    """The same model, asked in batches."""
    assert opening.batches is not None  # `find_opening` has refused the others
    ordinary = once(opening.open)
    model = name_model(config, opening.address)
    client = BatchClient(config, opening.batches(ordinary), ledger, model=model, ordinary=ordinary, report=report)
    return replace(opening, open=lambda: client, close=client.close)


def family_of(model: str) -> str:
    """Vendor family of a model's name, or the name itself if it is not known. The provider's name does not count: `ollama:` has any model."""
    lowered = model.casefold()
    name = lowered.partition(":")[2] or lowered
    if _O_SERIES.search(name):
        return "gpt"
    return next((family for family in FAMILIES if family in name), name)


def _describe_call(request: ChatRequest, role: Role) -> RunnableConfig:
    """What tracers and callbacks see of a call."""
    agent = str(request.tags.get("agent", role))
    return {
        "run_name": agent,
        "tags": [role, agent],
        "metadata": {**request.tags, "role": role, "reask": request.attempt},
    }


def _read_count(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and 0 <= value <= MOST_TOKENS else None


def _count_cached(message: AIMessage, n_in: int) -> int:
    """How many of the input tokens were read from the provider's cache, as it reports. LangChain puts the service tier before the name."""
    reported: Mapping[str, Any] = message.usage_metadata or {}
    details: Mapping[str, Any] = reported.get("input_token_details") or {}
    counts = [_read_count(count) or 0 for name, count in details.items() if name.endswith("cache_read")]
    return min(sum(counts), n_in)


def _estimate_tokens(text: str) -> int:
    """Four bytes per token, rounded up: four letters, but little more than one Chinese character. For servers that report no usage."""
    return -(-len(text.encode("utf-8", "replace")) // 4)
