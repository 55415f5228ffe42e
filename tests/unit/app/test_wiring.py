"""What the adapters of one run share."""

from pathlib import Path
from typing import Any

from pada_agent.app import wiring
from pada_agent.app.adapters.llm.limits import Budget, CallGate
from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.core.config_files import parse_config


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
