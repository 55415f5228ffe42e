"""A provider whose queue takes only so many calls in batches at the same time."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from pada_agent.app.adapters.llm.chat_models import make_language_model
from pada_agent.app.adapters.llm.limits import Budget, CallGate
from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.core.config import BudgetConfig
from pada_agent.core.model_config import ModelConfig
from tests.batch_server import Body, serving_batches
from tests.openai_server import make_completion
from tests.unit.app.adapters.llm.chat_world import ask


def shout(body: Body) -> tuple[int, Body]:
    return 200, make_completion(str(body["messages"][-1]["content"]).upper())


def test_a_batch_that_the_queue_has_no_room_for_is_sent_in_smaller_ones_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "tok-very-s3cret")
    texts = [f"t{n}" for n in range(23)]
    quick = {"batch_window_seconds": 0.05, "batch_poll_seconds": 0.01}
    with serving_batches(shout, queue=5) as server, closing(ResponseCache(tmp_path / "calls.sqlite")) as cache:
        server.failure = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}
        config = ModelConfig(model="openai:toy", base_url=f"{server.address}/v1", economy="batch", **quick)
        budget = Budget(BudgetConfig(), cache.totals)
        model = make_language_model(config, role="judge", cache=cache, budget=budget, gate=CallGate(config))
        with closing(model), ThreadPoolExecutor(len(texts)) as pool:
            replies = list(pool.map(lambda text: model.complete(ask(text)).text, texts))
        assert replies == [text.upper() for text in texts]
        done = [batch for batch in server.batches.values() if batch.status == "completed"]
        assert set(Counter(key for batch in done for key in batch.calls).values()) == {1}, "paid for once"
        assert sum(len(batch.calls) for batch in done) == len(texts) and not server.ordinary
        assert len(done) < len(texts), "not each call by itself"
