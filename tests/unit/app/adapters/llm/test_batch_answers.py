"""How answers from batches are read."""

from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest

from pada_agent.app.adapters.llm.batch_services import AnthropicBatches, BatchService, OpenAIBatches
from pada_agent.app.adapters.llm.chat_models import make_language_model
from pada_agent.app.adapters.llm.limits import Budget, CallGate
from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.core.chat import ChatReply
from pada_agent.core.config import BudgetConfig
from pada_agent.core.model_config import ModelConfig
from tests.batch_server import BatchServer, Body, make_message, serving_batches
from tests.openai_server import make_completion
from tests.unit.app.adapters.llm.chat_world import ask


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "tok-very-s3cret")


def complete(folder: Path, server: BatchServer, economy: Literal["batch"] | None) -> ChatReply:
    quick = {"batch_window_seconds": 0.05, "batch_poll_seconds": 0.01}
    config = ModelConfig(model="openai:toy", base_url=f"{server.address}/v1", economy=economy, **quick)
    with closing(ResponseCache(folder / "llm_calls.sqlite")) as cache:
        budget = Budget(BudgetConfig(), cache.totals)
        model = make_language_model(config, role="judge", cache=cache, budget=budget, gate=CallGate(config))
        with closing(model):
            return model.complete(ask())


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


def test_a_batch_goes_to_the_organization_and_project_of_ordinary_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-team")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-x")
    with serving_batches(lambda _: (200, make_completion("x"))) as server:
        for economy in ("batch", None):
            complete(tmp_path / str(economy), server, economy)
        accounts = [(h.get("openai-organization"), h.get("openai-project")) for h in server.headers]
    assert (len(server.batches), len(server.ordinary)) == (1, 1)
    assert set(accounts) == {("org-team", "proj-x")}


def test_an_answer_that_the_provider_broke_off_is_asked_for_by_itself(tmp_path: Path) -> None:
    def answer(_: Body) -> tuple[int, Body]:
        body: Body = make_completion("[1, " if not server.ordinary else "[1, 2]")
        body["choices"][0]["finish_reason"] = "stop" if server.ordinary else "abort"
        return 200, body

    with serving_batches(answer) as server:
        assert complete(tmp_path, server, "batch").text == "[1, 2]"
        assert (len(server.batches), len(server.ordinary)) == (1, 1)
