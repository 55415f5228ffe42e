"""How answers from batches are read."""

from pathlib import Path

import pytest

from pada_agent.app.adapters.llm.batch_services import AnthropicBatches, BatchService, OpenAIBatches
from pada_agent.app.adapters.llm.chat_models import make_language_model
from pada_agent.app.adapters.llm.limits import Budget, CallGate
from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.core.config import BudgetConfig
from pada_agent.core.model_config import ModelConfig
from tests.batch_server import Body, make_message, serving_batches
from tests.openai_server import make_completion
from tests.unit.app.adapters.llm.chat_world import ask


SERVICE = (ModelConfig(model="x:m"), "m", "http://host", {})
OPENAI, ANTHROPIC = OpenAIBatches(*SERVICE, lambda: pytest.fail("not asked")), AnthropicBatches(*SERVICE)


@pytest.mark.parametrize(
    ("service", "body", "counts"),
    [
        (
            OPENAI,
            make_completion("x")
            | {"usage": {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}}},
            (10, 6),
        ),
        (OPENAI, make_completion("x"), (10, None)),
        (
            ANTHROPIC,
            make_message("x")
            | {
                "usage": {
                    "input_tokens": 4,
                    "output_tokens": 5,
                    "cache_read_input_tokens": 6,
                    "cache_creation_input_tokens": 2,
                }
            },
            (12, 6),
        ),
        (ANTHROPIC, make_message("x"), (10, 0)),
    ],
)
def test_input_that_was_cached_is_part_of_the_input_and_counted(
    service: BatchService, body: Body, counts: tuple[int, int | None]
) -> None:
    usage = service.read(body).usage_metadata
    assert usage is not None
    assert (usage["input_tokens"], usage["input_token_details"].get("cache_read")) == counts


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
