"""The functions of `pada_agent` take paths as people write them, and say what else is wrong with an argument."""

from pathlib import Path
from typing import Any

import pytest

import pada_agent
from pada_agent.core.errors import ArtifactError, ConfigError


def test_paths_may_be_texts(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: mine\n")
    config = pada_agent.load_config(str(tmp_path / "a.yaml"))
    assert config.name == "mine"
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        pada_agent.load_config(str(tmp_path / "none.yaml"))
    with pytest.raises(ArtifactError, match="none"):
        pada_agent.resume(str(tmp_path / "none"))
    with pytest.raises(ArtifactError, match="contains no adapter"):
        pada_agent.evaluate_model(config, adapter=str(tmp_path), split="validation")


def test_settings_in_place_of_a_connect_function_are_refused() -> None:
    given: Any = pada_agent.RunConfig()
    with pytest.raises(TypeError, match=r"found RunConfig\. Settings are passed when the graph is called"):
        pada_agent.build_graph(given)


@pytest.mark.parametrize("given", ["mytask.yaml", Path("mytask.yaml"), {"name": "mine"}])
def test_a_run_of_something_else_than_settings_says_how_to_read_them(given: Any) -> None:
    with pytest.raises(ConfigError, match=rf"found {type(given).__name__}\. .*run\(load_config\(path\)\)"):
        pada_agent.run(given)
