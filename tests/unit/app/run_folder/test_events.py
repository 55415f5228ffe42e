"""Events are appended whole or not at all."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from pada_agent.app.run_folder.events import RunEvent, append_event
from pada_agent.core.errors import ArtifactError

EVENT = RunEvent(mode="custom", data={"text": "x" * 100})


@pytest.fixture
def _small_files() -> Iterator[None]:
    """Files have room for 300 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("_small_files")
def test_an_event_without_room_is_an_error_and_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append_event(path, EVENT)
    with pytest.raises(ArtifactError, match=r"events\.jsonl: the disk is full\. Free some space"):
        append_event(path, EVENT)
    assert path.read_text().count("\n") == 1 and path.read_text().endswith("\n")


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot be written \(Is a directory\)"):
        append_event(tmp_path, EVENT)
