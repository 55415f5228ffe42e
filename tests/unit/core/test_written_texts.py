"""A text keeps the form in which it is written, wherever it stands in settings."""

from pathlib import Path
from typing import Any

import pytest

from pada_agent.core.config_files import change_config, load_config, parse_config
from pada_agent.core.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    (path := folder / "run.yaml").write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        ("[001, 002, 003]", ["001", "002", "003"]),
        ("[010, 020, 100]", ["010", "020", "100"]),
        ("[1.1, 1.10, 1.2]", ["1.1", "1.10", "1.2"]),
        ("[1e3, 2, 5e-1, F32]", ["1e3", "2", "5e-1", "F32"]),
        ("[+1, -1]", ["+1", "-1"]),
        ("[True, no, 'null']", ["True", "no", "null"]),
    ],
)
def test_labels_in_a_list_are_those_that_are_written(tmp_path: Path, written: str, labels: list[str]) -> None:
    config = load_config(write(tmp_path, f"task: {{labels: {written}}}\n"))
    assert list(config.task.labels) == labels
    for change in (f"task.labels={written}", f"task={{labels: {written}}}"):
        assert change_config(config, [change]).task == config.task


def test_an_empty_name_in_a_list_of_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"task\.labels: .*a name is empty \(null\)"):
        load_config(write(tmp_path, "task: {labels: [null, a]}\n"))
    labels: Any = parse_config({"task": {"labels": [1, 2.5, True]}}, origin="Python").task.labels
    assert list(labels) == ["1", "2.5", "true"]
