"""A run goes on when nobody reads what it says."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import IO

import pytest

from pada_agent.app.run_folder.events import RunEvent
from pada_agent.app.streams import surviving
from pada_agent.app.terminal import console
from pada_agent.app.terminal.display import PlainDisplay

EVENT = RunEvent(mode="updates", data={"prepare": {}})


@pytest.fixture
def unread() -> Iterator[IO[str]]:
    """A stream whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        yield stream


def test_a_display_goes_on_in_silence(unread: IO[str]) -> None:
    display = PlainDisplay(unread)
    for _ in range(3):
        display(EVENT)


def test_what_is_echoed_goes_nowhere(unread: IO[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", unread)
    for _ in range(3):
        console.echo("result")


def test_other_errors_of_a_stream_are_errors() -> None:
    with pytest.raises(OSError, match="space"), surviving(io.StringIO()):
        raise OSError(28, "No space left on device")
    with surviving(io.StringIO()):
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_command_whose_streams_are_closed_works(closed: str) -> None:
    command = f"{sys.executable} -m pada_agent.app.cli config show --set seed=1 {closed}"
    assert subprocess.run(["sh", "-c", command], capture_output=True, check=False).returncode == 0


def test_a_command_whose_reader_ends_early_ends_well() -> None:
    command = f"({sys.executable} -m pada_agent.app.cli config show; echo rc=$? >&2) | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert "rc=0" in done.stderr and "Traceback" not in done.stderr and "Exception" not in done.stderr
