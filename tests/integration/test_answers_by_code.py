"""What an application's function answers to a review: usable, or given up on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pada_agent
from pada_agent.app import wiring
from pada_agent.app.adapters.compute import backends
from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import load_config
from pada_agent.core.errors import ConfigError
from tests import openai_server
from tests.integration.test_embedding_examples import ToyCompute
from tests.tiny_world import save_rows, write_config
from tests.toy_student import save_hollow_model
from tests.toy_world import WordCountEmbedder


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunConfig]:
    monkeypatch.setattr(backends, "LocalCompute", ToyCompute)
    monkeypatch.setattr(wiring, "SentenceEmbedder", lambda _: WordCountEmbedder())
    model = save_hollow_model(tmp_path / "model")
    settings = {**save_rows(tmp_path, student=model, embedder=model), "review": {"strategies": True}}
    with openai_server.serving(delay_seconds=0) as teacher:
        yield load_config(write_config(settings, tmp_path, teacher.url))


@pytest.mark.parametrize("reply", [lambda _: "yes", lambda n: f"not 'yes', {n}"], ids=["the same", "others"])
def test_a_function_that_gives_only_unusable_answers_ends_the_call_and_the_run_goes_on_later(
    config: RunConfig, reply: Any
) -> None:
    asked: list[Any] = []

    def answer(question: pada_agent.Question) -> Any:
        asked.append(question.payload.get("problem"))
        assert len(asked) < 50, "it is asked without end"
        return reply(len(asked))

    with pytest.raises(
        ConfigError, match=r"the answer to the review of strategies cannot be used: An answer is \"approve\""
    ):
        pada_agent.run(config, answer=answer)
    assert asked[0] is None and "not 'yes'" in asked[-1]
    outcome = pada_agent.run(config, answer=lambda question: "approve" if question.payload.get("problem") else "ok")
    assert outcome.summary, "another answer than before is used"


def test_a_run_that_waits_goes_on_in_its_folder_under_another_path(config: RunConfig, tmp_path: Path) -> None:
    assert pada_agent.run(config).questions
    (tmp_path / "link").symlink_to(config.runs_folder)
    linked = config.model_copy(update={"runs_folder": str(tmp_path / "link")})
    assert pada_agent.run(linked, answer=lambda _: "approve").summary
