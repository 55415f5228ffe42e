"""What a person reads if Ray cannot be joined or started."""

from types import SimpleNamespace
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


def test_a_second_run_does_not_end_up_in_the_first_one_s_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[str] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_compute, "_joined", {})
    monkeypatch.setattr(ray_compute.ray, "init", lambda address, **_: joined.append(address))
    monkeypatch.setattr(ray_compute.ray, "is_initialized", lambda: bool(joined))
    cluster = SimpleNamespace(gcs_address="10.0.0.1:6379")
    monkeypatch.setattr(ray_compute.ray, "get_runtime_context", lambda: cluster)
    connect(ClusterConfig(address=None))
    connect(ClusterConfig(address=None))
    with pytest.raises(ConfigError, match=r"'gpu-head:6379', but an earlier run in this process has joined None"):
        connect(ClusterConfig(address="gpu-head:6379"))
    assert joined == ["local"]
    connect(ClusterConfig(address="10.0.0.1:6379"))  # the same one by its own name
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    connect(ClusterConfig(address="auto"))
    cluster.gcs_address = "10.0.0.2:6379"  # the application has left that one and joined its own
    connect(ClusterConfig(address="gpu-head:6379"))
