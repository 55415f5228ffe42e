"""The command line as a child process, on the toy world with a tiny student and a teacher behind HTTP."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

VOLATILE = {"seconds_by_stage", "peak_memory_mb", "usage", "name", "config_hash", "student"}


REAL, TOY = "pada_agent.app.cli", "tests.toy_command"


def start(*arguments: str, module: str = REAL, **environment: str) -> subprocess.Popen[str]:
    """`pada ARGUMENTS`, in a session of its own."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, **environment},
    )


def finish(*arguments: str, code: int = 0, module: str = REAL, **environment: str) -> str:
    """What `pada ARGUMENTS` printed; it must end with `code`."""
    process = start(*arguments, module=module, **environment)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == code, output
    return output


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """The process must not end before."""
    while process.poll() is None and not condition():
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()[0]


def count_calls(path: Path) -> int:
    """LLM calls whose answers a cache keeps."""
    with closing(sqlite3.connect(path)) as database:
        (n,) = database.execute("SELECT COUNT(*) FROM calls").fetchone()
    return int(n)


def read_summary(folder: Path) -> dict[str, Any]:
    """The finished run's summary, without what differs between two equal runs."""
    summary = json.loads((folder / "r" / "summary.json").read_text())
    return {key: value for key, value in summary.items() if key not in VOLATILE}
