"""Events of a run, one per line in `events.jsonl`."""

import errno
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic_core import to_jsonable_python

from pada_agent.app.adapters.storage.artifacts import explain_writing
from pada_agent.core.records import Record


class RunEvent(Record):
    """One thing that happened in the graph."""

    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    """UTC, ISO 8601 with milliseconds."""
    namespace: tuple[str, ...] = ()
    """Path of subgraphs. Empty for the outer graph."""
    mode: Literal["updates", "custom"]
    """`updates`: a node has finished, and `data` maps its name to what it changed. `custom`: `data` is a `Progress`."""
    data: dict[str, Any]
    run: str = Field(default="", exclude=True)
    """Name of the run if several runs are shown together. Not written to `events.jsonl`, which belongs to one run."""


SESSION_START = "start"
"""Stage of the event that every start and resume of a run writes first."""

OnEvent = Callable[[RunEvent], None]


def append_event(path: Path, event: RunEvent) -> None:
    """Append a line to `events.jsonl`, as a whole or not at all.

    Raises:
        ArtifactError: the disk is full, or the file cannot be written to.
    """
    line = json.dumps(to_jsonable_python(event, fallback=str), ensure_ascii=False) + "\n"
    content = line.encode("utf-8", "backslashreplace")
    with explain_writing(path), path.open("ab", buffering=0) as file:
        end = file.tell()
        if file.write(content) < len(content):  # the next write would say why
            file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
