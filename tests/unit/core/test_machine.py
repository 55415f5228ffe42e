"""What fits on this machine."""

from types import SimpleNamespace

import psutil
import pytest

from pada_agent.core import machine


@pytest.mark.parametrize(("cores", "free_mb", "expected"), [(4, 100_000, 4), (64, 2100, 4), (8, 100, 1)])
def test_processes_at_the_same_time_are_limited_by_cores_and_by_free_memory(
    monkeypatch: pytest.MonkeyPatch, cores: int, free_mb: int, expected: int
) -> None:
    monkeypatch.setattr(machine, "count_cores", lambda: cores)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free_mb * 2**20))
    assert machine.count_at_once(512 * 2**20) == expected
