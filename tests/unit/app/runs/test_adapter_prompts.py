from pathlib import Path
from typing import Any

import pytest

from pada_agent.app.run_folder import layout
from pada_agent.app.runs.adapter_prompts import doubt_prompts
from pada_agent.core.config_files import parse_config


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, ""),
        ({"task": {"description": "Customers ask.", "labels": {"yes": "agrees"}}, "seed": 3}, ""),
        ({"student": {"system": "Be brief."}}, "student.system"),
        ({"task": {"labels": ["yes", "no"], "instruction": "Yes or no?"}}, "task.instruction, task.labels"),
    ],
)
def test_an_adapter_that_was_trained_with_other_prompts_is_told(
    changes: dict[str, Any], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = parse_config({"task": {"labels": ["yes"]}}, origin="test")
    chosen = parse_config({"task": {"labels": ["yes"]}, **changes}, origin="test")
    adapter = tmp_path / "runs" / "r" / "best"
    adapter.mkdir(parents=True)
    assert not doubt_prompts(adapter, chosen), "nothing is known of what is in no run's folder"
    (adapter.parent / "config.yaml").write_text(layout.dump_config(run))
    (adapter.parent / "summary.json").write_text("{}")
    monkeypatch.chdir(adapter.parent)
    for given in (adapter, Path("best"), Path("iterations/1/adapter")):
        told = doubt_prompts(given, chosen)
        assert told.startswith(f"Warning: {given} was trained with {named} of another value") if named else not told
    (adapter.parent / "config.yaml").write_text("[")
    assert not doubt_prompts(adapter, chosen)
