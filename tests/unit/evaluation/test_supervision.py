"""When a program has had its time: on a busy machine, waiting for a processor is not its own."""

import pytest

from pada_agent.evaluation.confinement import supervision
from pada_agent.evaluation.confinement.supervision import Limits, ProcessFigures, find_overtime

LIMITS = Limits(seconds=5, patience_seconds=25, memory_bytes=1, n_processes=1, folder_bytes=1, n_files=1)


@pytest.mark.parametrize(
    ("seconds", "used", "waiting", "reason"),
    [
        (4.9, (4.9,), 0.0, ""),
        (5.1, (5.0,), 0.0, "time"),
        (5.1, (0.1,), 0.0, "time"),
        (5.1, (0.3,), 4.8, ""),
        (20.0, (0.3,), 19.7, ""),
        (20.0, (5.1,), 14.9, "time"),
        (20.0, (3.0, 3.0), 17.0, "time"),
        (20.0, (0.3,), 14.0, "time"),
        (25.1, (0.3,), 24.8, "busy"),
    ],
    ids=str,
)
def test_time_that_others_take_from_a_program_does_not_count(
    monkeypatch: pytest.MonkeyPatch, seconds: float, used: tuple[float, ...], waiting: float, reason: str
) -> None:
    family = [ProcessFigures(pid, 1, 1, 0, share) for pid, share in enumerate(used, start=2)]
    monkeypatch.setattr(supervision, "list_descendants", lambda: family)
    monkeypatch.setattr(supervision, "_read_waiting", lambda pid: waiting if pid == 2 else 0.0)
    assert find_overtime(seconds, LIMITS) == reason
