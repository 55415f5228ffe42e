"""Events are appended whole or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest

from pada_agent.app.run_folder.events import RunEvent, append_event
from pada_agent.core.errors import ArtifactError

APPEND_TWICE = """
import resource, sys
from pathlib import Path
from pada_agent.app.run_folder.events import RunEvent, append_event
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))  # room for one event, and a part of the next
for _ in range(2):
    append_event(Path(sys.argv[1]), RunEvent(mode="custom", data={"text": "x" * 100}))
"""


def test_an_event_without_room_is_an_error_and_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    done = subprocess.run([sys.executable, "-c", APPEND_TWICE, str(path)], capture_output=True, text=True, check=False)
    assert "ArtifactError" in done.stderr and "events.jsonl: the disk is full. Free some space" in done.stderr
    assert path.read_text().count("\n") == 1 and path.read_text().endswith("\n")


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot be written \(Is a directory\)"):
        append_event(tmp_path, RunEvent(mode="custom", data={}))
