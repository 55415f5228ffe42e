import pytest

from pada_agent.app.runs import checking
from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import parse_config


def test_a_probe_waits_for_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pada check` answers in seconds, and a batch may take a day."""
    teacher = {"model": "openai:m", "economy": "batch"}
    config = parse_config({"models": dict.fromkeys(("analyst", "generator", "judge"), teacher)}, origin="test")
    connected: list[RunConfig] = []
    monkeypatch.setattr(checking.wiring, "connect", connected.append)
    with checking._connect(config):
        pass
    models = connected[0].models
    assert [role.economy for role in (models.analyst, models.generator, models.judge)] == [None] * 3
    assert models.judge.model == "openai:m"
