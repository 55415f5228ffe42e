"""Runs programs that a model wrote."""

import marshal
import os
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from pada_agent.core.errors import SandboxError
from pada_agent.core.lines import split_lines
from pada_agent.core.own_process import ENVIRONMENT, command_of
from pada_agent.core.records import Record

MEMORY_MB = 512
"""Limit for all processes of a program together, unless another is given."""
MAX_FILE_BYTES = 16 * 2**20
"""Limit for any one file the program writes, and for its output."""
MAX_FOLDER_BYTES = 64 * 2**20
MAX_FILES = 1000
MAX_PATH = 2000
"""Maximum length of a path in characters. Linux allows 4095."""
MAX_PROCESSES = 64
"""Threads count too."""
MAX_OPEN_FILES = 64
TAIL_BYTES = 2000
BUSY_SECONDS = 20.0
"""Time in addition to the program's own for which it may wait for a processor that others use."""
PATIENCE_SECONDS = 30.0
"""Time in addition to the program's own, so that its processes can start and end on a busy machine."""

_LAUNCHER = "pada_agent.evaluation.sandbox_launcher"
_CAN_PASS = (
    "import collections, datetime, decimal, functools, hashlib, itertools, json, math, random, re, string\nx = math.pi"
)
_MUST_FAIL = "assert x == 3"

_isolated: bool | None = None
"""None: not tried yet."""
_check_lock = Lock()


class SandboxResult(Record):
    """How a program did."""

    ok: bool
    """Whether the program ran to its last line without an error."""
    output_tail: str = ""
    """The last 2000 bytes of stdout and stderr."""
    reason: str = ""
    """Why it is not ok, in words."""
    is_undecided: bool = False
    """Whether the machine was too busy to find out."""
    isolated: bool = False
    """Whether files, keys, other processes and the network were out of the program's reach, because Landlock and seccomp were in force."""


def run_program(
    code: str,
    *,
    tests: str = "",
    timeout_seconds: float = 5,
    memory_mb: int = MEMORY_MB,
    allow_unisolated: bool = False,
) -> SandboxResult:
    """Run Python source, then its tests, and check whether both reach their last line.

    Both run in a separate process with an empty environment, no site-packages, and a temporary folder that is removed
    afterwards. If we are root, that process first becomes `nobody`. It then confines itself, which needs no privileges:

    - namespaces of its own (user, processes, network, shared memory), if the kernel allows them;
    - no capabilities;
    - Landlock: it can read only Python, the system's libraries and the temporary folder, and write only the latter;
    - seccomp: no sockets, shared memory, mounts, or calls that reach other processes.

    All its processes together are limited to `memory_mb`, `MAX_PROCESSES`, `MAX_FOLDER_BYTES` and `timeout_seconds`,
    and each has limits on CPU time, open files and file size. Time in which they could run but other processes have the
    processor does not count, so that a right program does not fail on a busy machine; after `BUSY_SECONDS` more, the
    result is undecided. All of them are killed and reaped at the end. Leaving early, for example by `sys.exit(0)`, is not ok.

    So that a program gets the same verdict every time, hashes of strings (the order of a set of words) and the seed of
    `random` are fixed.

    This works without privileges, in containers, and where user namespaces are forbidden. It needs Linux 5.13 or later
    with Landlock, on x86-64 or arm64. Elsewhere, a program is refused unless `allow_unisolated` is set. It can then
    read and write what its user can, including keys, and use the network.

    Not covered:

    - A program shares its interpreter with its tests. One that searches it for the success token, or the running tests
      for expected values, can pass without being right. Objects that claim to equal everything are detected in the
      comparisons of `tests` themselves, unless they choose whom they equal.
    - A program can find out names and sizes of files outside, and change times of its user's files, but not read or
      change their content.
    - The limits on all processes together are checked a hundred times a second. For that long, memory can be a few
      hundred MB above its limit.
    - Programs that need /tmp (`tempfile` uses the working folder), sockets, or locks and pools of `multiprocessing`
      (/dev/shm) do not get them. If the program's user owns more than its folder, changes of mode and owner appear to
      succeed but are not made.
    - The verdict on a program can still vary if it depends on the time or on how fast it runs, on `os.urandom` (`secrets`,
      `uuid4`, `random.SystemRandom`), on memory addresses (`id`, or the order of a set of objects without a `__hash__`),
      or on the string hashes of a Python that it starts itself.
    - A bug in the kernel remains a bug in the kernel. Against attackers, rather than a model's mistakes, run the whole
      tool in a virtual machine.

    Raises:
        SandboxError: the program could not be started or not be isolated; or a program that must pass fails here, which
            would make every grade worthless.
    """
    check_sandbox(allow_unisolated=allow_unisolated)
    return _run(code, tests, timeout_seconds, memory_mb=memory_mb, allow_unisolated=allow_unisolated)


def check_sandbox(*, allow_unisolated: bool = False) -> bool:
    """Try the sandbox, once per process, with a program that must pass and one that must fail. Returns whether programs are isolated.

    Raises:
        SandboxError: programs cannot be graded, or cannot be isolated although they must be.
    """
    global _isolated
    with _check_lock:
        if _isolated or (_isolated is False and allow_unisolated):
            return _isolated
        passed = _run(
            _CAN_PASS, "assert x > 3", PATIENCE_SECONDS, memory_mb=MEMORY_MB, allow_unisolated=allow_unisolated
        )
        if not passed.ok:
            raise SandboxError(
                f"programs cannot be graded on this machine: one that must pass fails ({passed.reason})."
                f" Its output: {passed.output_tail or 'none'}"
            )
        if _run(_CAN_PASS, _MUST_FAIL, PATIENCE_SECONDS, memory_mb=MEMORY_MB, allow_unisolated=allow_unisolated).ok:
            raise SandboxError("programs cannot be graded on this machine: one that must fail passes")
        _isolated = passed.isolated
        return _isolated


def _run(code: str, tests: str, seconds: float, *, memory_mb: int, allow_unisolated: bool) -> SandboxResult:
    spec = {
        "code": code,
        "tests": tests,
        "token": secrets.token_hex(16),
        "allow_unisolated": allow_unisolated,
        "limits": {
            "seconds": seconds,
            "patience_seconds": seconds + BUSY_SECONDS,
            "memory_bytes": memory_mb * 2**20,
            "n_processes": MAX_PROCESSES,
            "folder_bytes": MAX_FOLDER_BYTES,
            "n_files": MAX_FILES,
        },
        "resources": {
            "RLIMIT_AS": memory_mb * 2**20,
            "RLIMIT_CPU": int(seconds) + 1,
            "RLIMIT_FSIZE": MAX_FILE_BYTES,
            "RLIMIT_NOFILE": MAX_OPEN_FILES,
            "RLIMIT_MSGQUEUE": 0,
            "RLIMIT_CORE": 0,
        },
    }
    try:
        ran = _launch(spec, seconds + PATIENCE_SECONDS)
    except OSError as exc:
        raise SandboxError(f"the sandbox could not start a process: {exc}") from exc
    guards = ran.report["guards"]
    isolated = bool(guards["landlock"] and guards["seccomp"])
    if not isolated and not allow_unisolated:
        raise SandboxError(_explain_guards(guards))
    ok = ran.exit_code == 0 and bool(ran.report["finished"])
    return SandboxResult(
        ok=ok,
        output_tail=ran.tail,
        reason="" if ok else _explain(ran, seconds, memory_mb),
        is_undecided=ran.report["stopped"] == "busy",
        isolated=isolated,
    )


class _Ran(NamedTuple):
    report: dict[str, Any]
    """From the launcher: the guards in force, why it stopped the program, its wait status, and whether it finished."""
    exit_code: int | None
    """None if the program was stopped."""
    tail: str
    n_output_bytes: int


def _launch(spec: dict[str, Any], seconds: float) -> _Ran:
    with (
        _work_folder() as root,
        _pipe() as (reader, report),
        _pipe() as (lifeline, _),
        tempfile.TemporaryFile() as order,
    ):
        order.write(marshal.dumps({**spec, "report": report, "lifeline": lifeline}))
        order.seek(0)
        with (root / "output").open("w+b") as output:
            process = subprocess.Popen(
                command_of(_LAUNCHER),
                stdin=order,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=root / "work",
                env=ENVIRONMENT,
                pass_fds=[report, lifeline],
                start_new_session=True,
            )
            _wait(process, seconds)
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - TAIL_BYTES))
            tail = output.read().decode(errors="replace").strip()
        said = _read(reader)
    if not said:
        raise SandboxError(f"the sandbox failed before the program started: {tail or 'no output'}")
    report_of = marshal.loads(said)
    status = report_of["status"]
    if status is None and not report_of["stopped"] and report_of["guards"]["seccomp"]:
        raise SandboxError("the sandbox was killed from outside, perhaps for lack of memory on this machine")
    return _Ran(report_of, None if status is None else os.waitstatus_to_exitcode(status), tail, size)


def _wait(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Wait for the launcher, which ends by itself. If this process dies, the closed lifeline ends the launcher too."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise SandboxError(f"the sandbox did not answer within {seconds:g} s; the machine may be overloaded") from None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def _read(reader: int) -> bytes:
    with suppress(BlockingIOError):
        return os.read(reader, 65536)
    return b""


@contextmanager
def _work_folder() -> Iterator[Path]:
    """A folder that contains an empty `work`. It is removed afterwards, whatever happened to it."""
    root = Path(tempfile.mkdtemp(prefix="pada-sandbox-"))
    try:
        root.chmod(0o711)
        (root / "work").mkdir()
        yield root
    finally:
        remove_tree(root)


def remove_tree(root: Path) -> None:
    """Remove a folder, however deep, including folders that were closed to us. What cannot be removed is silently left.

    `shutil.rmtree` gives up on a tree that is deeper than its recursion limit or than the maximum path length. Here,
    folders far below are first moved up to the root.
    """
    waiting = [root]
    emptied: list[Path] = []
    with suppress(OSError):
        while waiting:
            folder = waiting.pop()
            if len(str(folder)) > MAX_PATH:
                folder = folder.rename(root / f".{len(emptied)}")
            folder.chmod(0o700)
            with os.scandir(folder) as entries:
                for entry in list(entries):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    else:
                        Path(entry.path).unlink()
            emptied.append(folder)
        for folder in reversed(emptied):  # parents come before what is in them
            folder.rmdir()


def _explain(ran: _Ran, seconds: float, memory_mb: int) -> str:
    reasons = {
        "time": f"no result within {seconds:g} s",
        "busy": f"the machine is too busy: others have used the processor for {BUSY_SECONDS:g} s",
        "memory": f"took more than {memory_mb} MB together with its child processes",
        "processes": f"had more than {MAX_PROCESSES} processes and threads",
        "files": f"made more than {MAX_FILES} files, or wrote more than {MAX_FOLDER_BYTES // 2**20} MB",
    }
    if ran.exit_code is None:
        return reasons.get(ran.report["stopped"], "stopped")
    if ran.n_output_bytes >= MAX_FILE_BYTES:
        return f"wrote more than {MAX_FILE_BYTES // 2**20} MB of output"
    if ran.exit_code == 0:
        return "the program ended before its last line"
    if ran.exit_code < 0:
        return f"killed by {signal.Signals(-ran.exit_code).name}"
    return _last_error(ran.tail) or f"exit code {ran.exit_code}"


def _explain_guards(guards: dict[str, Any]) -> str:
    lacking = [name for name, there in (("Landlock", guards["landlock"]), ("seccomp", guards["seccomp"])) if not there]
    return (
        f"this machine cannot keep programs away from your files and keys: it has no {' and no '.join(lacking)}."
        " Programs that a model wrote are not run. Use Linux 5.13 or later with Landlock switched on (x86-64 or arm64), or"
        " a virtual machine; or, if nothing on this machine is worth protecting, set task.allow_unisolated_code: true."
    )


def _last_error(tail: str) -> str:
    """The last line of the traceback, with the test that failed: `AssertionError at 'assert f(2) == 4'`."""
    lines = [line.strip() for line in split_lines(tail) if line.strip(" ^~")]
    if len(lines) >= 2 and lines[-1].startswith("AssertionError") and lines[-2].startswith("assert"):
        return f"{lines[-1]} at '{lines[-2]}'"
    return lines[-1] if lines else ""
