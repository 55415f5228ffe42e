"""The command line as a child process, on the toy world with a tiny student and a teacher behind HTTP."""

import json
import os
import subprocess
import sys
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


def read_summary(folder: Path) -> dict[str, Any]:
    """The finished run's summary, without what differs between two equal runs."""
    summary = json.loads((folder / "r" / "summary.json").read_text())
    return {key: value for key, value in summary.items() if key not in VOLATILE}
