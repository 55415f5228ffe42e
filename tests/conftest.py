"""Shared by all tests."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Threads cost tiny arrays more than they bring, most of all on a busy machine. Read when numpy or torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine makes examples slow; that is no fault of the code under test.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")

KEYS = ("OPENAI_API_KEY", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "HF_TOKEN")


def pytest_configure(config: pytest.Config) -> None:
    """A bare machine for all tests that are not slow: an empty HOME, so no pulled model, and no settings of the developer's."""
    if config.option.markexpr != "not slow":
        return
    home = Path(tempfile.mkdtemp(prefix="pada-home-"))
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    os.environ["HOME"] = str(home)
    for name in [n for n in os.environ if n.startswith(("PADA_", "LANGSMITH_", "LANGCHAIN_", "XDG_")) or n in KEYS]:
        del os.environ[name]
