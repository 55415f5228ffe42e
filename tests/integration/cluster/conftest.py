"""One cluster for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pada_agent.app.adapters.compute.ray_compute import RayCompute


@pytest.fixture(scope="package")
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray")
    from tests.ray_cluster import start_cluster

    with start_cluster() as cluster:
        yield cluster


@pytest.fixture
def compute(cluster: Any, tmp_path: Path) -> Iterator["RayCompute"]:
    del cluster
    from tests.ray_cluster import make_compute

    compute = make_compute(tmp_path)
    yield compute
    compute.close()
    if compute._leaving is not None:
        compute._leaving.join()
