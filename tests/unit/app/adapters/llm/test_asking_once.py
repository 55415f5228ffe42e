"""Runs that share replies and ask the same at the same time."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel

from pada_agent.app.adapters.llm.chat_models import make_language_model
from pada_agent.app.adapters.llm.limits import Budget, CallGate
from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.core.config import BudgetConfig, ModelConfig
from pada_agent.core.errors import PadaError, StructuredOutputError
from tests.unit.app.adapters.llm.chat_world import ask

CONFIG = ModelConfig(model="own:slow")


class SlowChat(FakeListChatModel):
    """Takes its time, and answers the first `n_failures` times with an error."""

    n_failures: int = 0
    n_asked: int = 0

    def _call(self, *_: Any, **__: Any) -> str:
        self.n_asked += 1
        fails = self.n_asked <= self.n_failures
        time.sleep(0.2)
        if fails:
            raise StructuredOutputError("the prompt does not fit")
        return "yes"


def complete(cache: ResponseCache, chat: SlowChat, gate: CallGate) -> str:
    model = make_language_model(
        CONFIG, role="judge", cache=cache, budget=Budget(BudgetConfig(), cache.totals), gate=gate
    )
    try:
        return model.answered_by(chat).complete(ask()).text
    except PadaError as exc:
        return str(exc)


@pytest.mark.parametrize(
    ("n_failures", "replies", "n_asked"),
    [(0, ["yes", "yes", "yes"], 1), (1, ["the prompt does not fit", "yes", "yes"], 2)],
)
def test_the_first_pays_and_the_others_wait_for_its_reply(
    tmp_path: Path, n_failures: int, replies: list[str], n_asked: int
) -> None:
    shared = ResponseCache(tmp_path / "shared" / "llm_calls.sqlite")
    caches = [ResponseCache(tmp_path / name / "llm_calls.sqlite", shared=shared) for name in "abc"]
    chat, gate = SlowChat(responses=[], n_failures=n_failures), CallGate(CONFIG)
    with ThreadPoolExecutor(len(caches)) as pool:
        given = list(pool.map(lambda cache: complete(cache, chat, gate), caches))
    assert sorted(given) == sorted(replies)
    assert chat.n_asked == n_asked, "those that wait ask only where the first got no answer"
    assert shared.totals().n_calls == sum(cache.totals().n_calls for cache in caches) == 1
    assert sum(cache.totals().n_cached for cache in caches) == replies.count("yes") - 1
    for cache in caches:
        cache.close()
