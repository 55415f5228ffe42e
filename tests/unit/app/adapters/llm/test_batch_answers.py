"""How answers from batches are read."""

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


def test_an_answer_that_the_provider_broke_off_is_asked_for_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "tok-very-s3cret")

    def answer(_: Body) -> tuple[int, Body]:
        body: Body = make_completion("[1, " if not server.ordinary else "[1, 2]")
        body["choices"][0]["finish_reason"] = "stop" if server.ordinary else "abort"
        return 200, body

    with serving_batches(answer) as server:
        config = ModelConfig(
            model="openai:toy",
            base_url=f"{server.address}/v1",
            economy="batch",
            batch_window_seconds=0.05,
            batch_poll_seconds=0.01,
        )
        cache = ResponseCache(tmp_path / "llm_calls.sqlite")
        budget = Budget(BudgetConfig(), cache.totals)
        model = make_language_model(config, role="judge", cache=cache, budget=budget, gate=CallGate(config))
        assert model.complete(ask()).text == "[1, 2]"
        assert (len(server.batches), len(server.ordinary)) == (1, 1)
        model.close()
        cache.close()
