"""Runs programs that a model wrote."""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from pada_agent.core.errors import SandboxError
from pada_agent.core.lines import split_lines
from pada_agent.core.records import Record

MAX_FILE_BYTES = 16 * 2**20
"""Of any one file the program writes, and of its output."""
MAX_PROCESSES = 64
MAX_OPEN_FILES = 64
TAIL_BYTES = 2000
_LAUNCHER = Path(__file__).with_name("sandbox_launcher.py")


class SandboxResult(Record):
    """How a program fared."""

    ok: bool
    """The program ran to its last line without an error."""
    timed_out: bool = False
    output_tail: str = ""
    """The last 2000 bytes of stdout and stderr."""
    reason: str = ""
    """Why it is not ok."""
    isolated: bool = False
    """The kernel let us take the network away and tie all processes to the program's life."""


def run_program(code: str, *, timeout_seconds: float = 5, memory_mb: int = 512) -> SandboxResult:
    """Run Python source in a process of its own and see whether it reaches its last line.

    It has a temporary folder that is removed afterwards, an empty environment, no site-packages, the user `nobody` if
    we are root, and limits on wall-clock and CPU time, memory (per process), processes, open files and file size. Its
    processes are killed when it ends or its time is up. Leaving early, as by `sys.exit(0)`, is not ok.

    Not covered: it can read what its user can read (all files, if we are root and Python lies in root's home), and
    write small files where its user can write. Where
    `isolated` is false it has the network, and a process that it starts in a session of its own outlives it. A program
    that searches its own interpreter for the success token finds it, and a kernel bug stays a kernel bug: this guards
    against mistakes of a model, not against an attacker. For that, run the whole tool in a container or VM.

    Raises:
        SandboxError: the program could not be started.
    """
    limits = {
        "RLIMIT_AS": memory_mb * 2**20,
        "RLIMIT_CPU": int(timeout_seconds) + 1,
        "RLIMIT_FSIZE": MAX_FILE_BYTES,
        "RLIMIT_NPROC": MAX_PROCESSES,
        "RLIMIT_NOFILE": MAX_OPEN_FILES,
        "RLIMIT_CORE": 0,
    }
    token = secrets.token_hex(16)
    try:
        ran = _launch({"code": code, "token": token, "limits": limits}, timeout_seconds)
    except OSError as exc:
        raise SandboxError(f"the sandbox could not start a process: {exc}") from exc
    if not ran.status:
        raise SandboxError(f"the sandbox broke before the program started: {ran.tail or 'no output'}")
    ok = ran.return_code == 0 and token in ran.status[1:]
    return SandboxResult(
        ok=ok,
        timed_out=ran.return_code is None,
        output_tail=ran.tail,
        reason="" if ok else _explain(ran, timeout_seconds),
        isolated=ran.status[0] == "isolated",
    )


class _Ran(NamedTuple):
    return_code: int | None
    """None after a timeout."""
    status: list[str]
    """First whether it is isolated; then, from a program that reached its end, the token."""
    tail: str
    n_output_bytes: int


def _launch(spec: dict[str, object], timeout_seconds: float) -> _Ran:
    with tempfile.TemporaryDirectory(prefix="pada-sandbox-", ignore_cleanup_errors=True) as folder, _pipe() as ends:
        root, (reader, writer) = Path(folder), ends
        root.chmod(0o711)
        (root / "work").mkdir()
        with (root / "output").open("w+b") as output:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", str(_LAUNCHER)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=root / "work",
                env={},
                pass_fds=[writer],
                start_new_session=True,
            )
            return_code = _wait(process, json.dumps({**spec, "status": writer}), timeout_seconds)
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - TAIL_BYTES))
            tail = output.read().decode(errors="replace").strip()
        return _Ran(return_code, _read_lines(reader), tail, size)


def _wait(process: "subprocess.Popen[bytes]", spec: str, timeout_seconds: float) -> int | None:
    try:
        process.communicate(spec.encode("utf-8", "surrogatepass"), timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return process.returncode


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def _read_lines(reader: int) -> list[str]:
    with suppress(BlockingIOError):
        return split_lines(os.read(reader, 65536).decode(errors="replace"))
    return []


def _explain(ran: _Ran, timeout_seconds: float) -> str:
    if ran.return_code is None:
        return f"no result within {timeout_seconds:g} s"
    if ran.n_output_bytes >= MAX_FILE_BYTES:
        return f"wrote more than {MAX_FILE_BYTES // 2**20} MB of output"
    if ran.return_code == 0:
        return "the program ended before its last line"
    if ran.return_code < 0 or ran.return_code > 256 - signal.NSIG:
        number = -ran.return_code if ran.return_code < 0 else 256 - ran.return_code
        return f"killed by {signal.Signals(number).name}"
    return _last_error(ran.tail) or f"exit code {ran.return_code}"


def _last_error(tail: str) -> str:
    """The last line of the traceback, with the test that failed: `AssertionError at 'assert f(2) == 4'`."""
    lines = [line.strip() for line in split_lines(tail) if line.strip(" ^~")]
    if len(lines) >= 2 and lines[-1].startswith("AssertionError") and lines[-2].startswith("assert"):
        return f"{lines[-1]} at '{lines[-2]}'"
    return lines[-1] if lines else ""
