"""docs/teachers.md says what to write: every row and every sample is tried."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pada_agent.app.adapters.llm.providers import find_key_variables, find_opening
from pada_agent.core.config import RunConfig
from pada_agent.core.model_config import ModelConfig

PAGE = (Path(__file__).parents[5] / "docs" / "teachers.md").read_text(encoding="utf-8")
CODE = re.compile(r"`([^`]+)`")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.split("## Reasoning models")[0].split("\n")
    if line.startswith("| ") and not line.startswith(("| teacher", "|---"))
]
SAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


def read_row(cells: list[str]) -> ModelConfig:
    """The settings that a row of the table says."""
    _, model, address, key = cells
    values: dict[str, Any] = {"model": CODE.findall(model)[0]}
    for code in CODE.findall(address) + CODE.findall(key):
        if code.startswith("http"):
            values["base_url"] = code
        elif ": " in code:
            values |= yaml.safe_load(code)
    return ModelConfig.model_validate(values)


@pytest.mark.parametrize("cells", ROWS, ids=lambda cells: cells[0])
def test_a_row_of_the_table_can_be_written_into_settings(cells: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if "¹" in cells[0]:
        pytest.importorskip("langchain")
    config = read_row(cells)
    for name in (*find_key_variables(config), "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "tok-very-secret")
    if config.provider == "local":
        monkeypatch.setattr("pada_agent.app.adapters.storage.model_store.resolve", Path)
    assert find_opening(config, "judge")
    if re.fullmatch("`[A-Z_]+`", cells[3]):
        assert cells[3].strip("`") in find_key_variables(config)


def test_the_table_was_read() -> None:
    assert len(ROWS) > 15


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_is_taken(sample: str) -> None:
    assert RunConfig.model_validate(yaml.safe_load(sample))
