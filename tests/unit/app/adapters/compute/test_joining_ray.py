"""What a person reads if Ray cannot be joined or started."""

from typing import Any

import pytest

from pada_agent.core.compute_config import ClusterConfig
from pada_agent.core.errors import ConfigError

pytest.importorskip("ray")

from pada_agent.app.adapters.compute import ray_compute
from pada_agent.app.adapters.compute.ray_compute import connect


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (None, r"Ray did not start on this machine \(The current node timed out during startup\)\. If the machine is"),
        ("auto", r"no Ray cluster can be joined at 'auto' \(The current node timed out during startup\)\. Start one"),
    ],
)
def test_a_node_that_starts_too_slowly(address: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: Any) -> None:
        raise Exception("The current node timed out during startup.")  # as ray._private.node does

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_compute.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray_compute.ray, "init", init)
    with pytest.raises(ConfigError, match=expected):
        connect(ClusterConfig(address=address))
