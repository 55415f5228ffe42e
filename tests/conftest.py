"""Shared by all tests."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Threads cost tiny arrays more than they bring, most of all on a busy machine. Read when numpy or torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine makes examples slow; that is no fault of the code under test.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")

KEPT = ("PATH", "PYTHON", "VIRTUAL_ENV", "PYTEST_", "LANG", "LC_", "TZ", "TMPDIR", "OMP_", "LD_LIBRARY_PATH", "CUDA_")
"""How the variables begin that a test may see: what finds programs and Python, and where to write temporary files."""

DEVELOPERS = dict(os.environ)


def pytest_configure(config: pytest.Config) -> None:
    """Tests see a bare machine: an empty HOME, so no pulled model, and no variable of the developer's. Imports do, too."""
    home = tempfile.mkdtemp(prefix="pada-home-")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    config.stash[_BARE] = {**{n: v for n, v in DEVELOPERS.items() if n.startswith(KEPT)}, "HOME": home}
    _set_environment(config.stash[_BARE])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """Only slow tests see the developer's machine, with the models that were pulled."""
    if not item.get_closest_marker("slow"):
        return (yield)
    _set_environment(DEVELOPERS)
    try:
        return (yield)
    finally:
        _set_environment(item.config.stash[_BARE])


@pytest.fixture(autouse=True)
def home_stays_empty(request: pytest.FixtureRequest) -> Iterator[None]:
    """What one test leaves in HOME, the next must not find."""
    yield
    home = Path(request.config.stash[_BARE]["HOME"])
    for left in home.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()


_BARE = pytest.StashKey[dict[str, str]]()


def _set_environment(values: dict[str, str]) -> None:
    """Variables that pytest sets meanwhile stay."""
    for name in [n for n in os.environ if n not in values and not n.startswith("PYTEST_")]:
        del os.environ[name]
    os.environ.update(values)
