"""Events of a run, one per line in `events.jsonl`."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic_core import to_jsonable_python

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


OnEvent = Callable[[RunEvent], None]


def append_event(path: Path, event: RunEvent) -> None:
    """Append a line to `events.jsonl`."""
    line = json.dumps(to_jsonable_python(event, fallback=str), ensure_ascii=False)
    with path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        file.write(line + "\n")
