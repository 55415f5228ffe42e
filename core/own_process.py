"""Starts our own modules as separate processes with the standard library alone."""

import json
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parents[1]
START = """
import sys
package = type(sys)("pada_agent")
package.__path__ = [sys.argv.pop(1)]
sys.modules["pada_agent"] = package
__import__("importlib").import_module(sys.argv.pop(1)).main()
"""
"""The package's own `__init__` is not run, because it needs more than the standard library, and time."""
ENVIRONMENT = MappingProxyType({"PYTHONHASHSEED": "0"})
"""The whole environment of such a process. Sets of strings have the same order in every process."""


def command_of(module: str) -> list[str]:
    """Command that runs `main` of a module, without site-packages and the current folder on its path. To be started with
    `ENVIRONMENT`: `-I` would also ignore the hash seed.
    """
    return [sys.executable, "-P", "-s", "-S", "-X", "utf8", "-c", START, str(PACKAGE), module]


class Ended(NamedTuple):
    """Why there is no answer."""

    by: str
    """`time`, the name of a signal, or the exit code in words."""


class OwnProcess:
    """A module that answers one JSON line with another; it ends when nobody holds this object any more."""

    def __init__(self, module: str, settings: dict[str, Any]) -> None:
        """Start it, and send the settings as its first line.

        Raises:
            OSError: no process can be started.
        """
        self._process = subprocess.Popen(
            command_of(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
        self._unread = b""
        self.close = weakref.finalize(self, _end, self._process)
        """End it now."""
        self._send(settings)

    @property
    def is_running(self) -> bool:
        """Whether it can be asked."""
        return self.close.alive and self._process.poll() is None

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any] | Ended:
        """Its answer; one that does not come in time ends it."""
        self._send(request)
        line = self._read_line(time.monotonic() + seconds)
        if not line:
            code = self._process.wait() if line is not None else 0
            self.close()
            return Ended("time" if line is None else signal.Signals(-code).name if code < 0 else f"exit code {code}")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _send(self, value: dict[str, Any]) -> None:
        if self._process.stdin:
            with suppress(BrokenPipeError):  # the answer says that it has ended
                self._process.stdin.write(json.dumps(value).encode() + b"\n")
                self._process.stdin.flush()

    def _read_line(self, deadline: float) -> bytes | None:
        """A line, b"" where the process has ended, None where time was up."""
        output = self._process.stdout.fileno() if self._process.stdout else -1
        while b"\n" not in self._unread:
            ready, _, _ = select.select([output], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            received = os.read(output, 2**20)
            if not received:
                return b""
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        return line


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            if pipe:
                pipe.close()
