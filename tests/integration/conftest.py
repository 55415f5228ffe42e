"""A finished run for all tests of this folder."""

import shutil
from pathlib import Path

import pytest

from tests.integration.graph_runs import save_run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("finished") / "toy")


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(finished_run, tmp_path / "toy")
