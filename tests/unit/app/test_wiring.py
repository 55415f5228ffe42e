"""What the adapters of one run share, and what they do without."""

from pathlib import Path
from typing import Any

import pytest

from pada_agent.app import wiring
from pada_agent.app.adapters.llm.limits import Budget, CallGate
from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.core.chat import ChatRequest
from pada_agent.core.config_files import parse_config
from pada_agent.core.errors import ArtifactError, ConfigError
from tests.toy_student import make_weights


def test_roles_of_one_model_go_through_one_gate(tmp_path: Path) -> None:
    model: dict[str, Any] = {"model": "openai:m", "base_url": "http://127.0.0.1:1/v1", "requests_per_minute": 5}
    models = {"analyst": model, "generator": model | {"max_output_tokens": 900}, "judge": model | {"model": "openai:n"}}
    config = parse_config({"models": models}, origin="test")
    cache, gates = ResponseCache(tmp_path / "calls.sqlite"), dict[str, CallGate]()
    budget = Budget(config.budget, cache.totals)
    analyst = wiring._prompt(config.models.analyst, "analyst", config, cache, budget, gates)
    generator = wiring._prompt(config.models.generator, "generator", config, cache, budget, gates)
    assert len(gates) == 1
    judge = wiring._prompt(config.models.judge, "judge", config, cache, budget, gates)
    assert len(gates) == 2
    for role in (analyst, generator, judge):
        role.model.close()
    cache.close()


@pytest.fixture
def values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings with a student, on a machine without keys and without a sentence encoder."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("PADA_MODELS", str(tmp_path / "models"))
    student = tmp_path / "student"
    student.mkdir()
    (student / "config.json").write_text("{}")
    (student / "model.safetensors").write_bytes(make_weights())
    roles = {key: {"model": "openai:big"} for key in ("analyst", "generator", "judge")}
    return {"student": {"model": str(student)}, "models": roles, "runs_folder": str(tmp_path / "runs")}


@pytest.mark.parametrize(
    "change", [{"loop": {"max_iterations": 0}}, {"generation": {"sources": "held_back", "pattern_share": 0}}]
)
def test_a_run_that_writes_nothing_needs_neither_keys_nor_an_encoder(
    values: dict[str, Any], change: dict[str, Any]
) -> None:
    with pytest.raises(
        ConfigError, match=r"models.embedder: .*\nmodels.analyst: .*\nmodels.generator: .*\nmodels.judge: "
    ):
        wiring.connect(parse_config(values, origin="test"))
    adapters = wiring.connect(parse_config({**values, **change}, origin="test"))
    with pytest.raises(ConfigError, match="no API key"):
        adapters.generator.model.complete(ChatRequest(messages=()))
    with pytest.raises(ArtifactError, match="pada models pull all-mpnet-base-v2"):
        adapters.embedder.embed(["a text"])
    adapters.close()


def test_a_run_that_has_begun_with_its_own_objects_does_not_share_others_later(tmp_path: Path) -> None:
    """Its jobs would leave adapters where it does not look for them."""
    wiring.link_objects(tmp_path / "first", "common")
    wiring.link_objects(tmp_path / "first", "common")
    (tmp_path / "own" / "objects").mkdir(parents=True)
    for name, shared in (("own", "common"), ("first", "others")):
        with pytest.raises(ConfigError, match=rf"shared_folder: \S*{name} has begun with objects"):
            wiring.link_objects(tmp_path / name, shared)
