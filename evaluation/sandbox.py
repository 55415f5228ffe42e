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
from pada_agent.core.own_process import command_of
from pada_agent.core.records import Record

MAX_FILE_BYTES = 16 * 2**20
"""Of any one file the program writes, and of its output."""
MAX_FOLDER_BYTES = 64 * 2**20
MAX_FILES = 1000
MAX_PATH = 2000
"""Characters; Linux takes 4095."""
MAX_PROCESSES = 64
"""Threads included."""
MAX_OPEN_FILES = 64
TAIL_BYTES = 2000
PATIENCE_SECONDS = 30.0
"""Beside the program's own time, for its processes to start and to end on a busy machine."""

_LAUNCHER = "pada_agent.evaluation.sandbox_launcher"
_CAN_PASS = (
    "import collections, datetime, decimal, functools, hashlib, itertools, json, math, random, re, string\nx = math.pi"
)
_MUST_FAIL = "assert x == 3"

_isolated: bool | None = None
"""None: not tried yet."""
_check_lock = Lock()


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
    """Files, keys, other processes and the network were out of the program's reach: Landlock and seccomp were in force."""


def run_program(
    code: str, *, tests: str = "", timeout_seconds: float = 5, memory_mb: int = 512, allow_unisolated: bool = False
) -> SandboxResult:
    """Run Python source, then its tests on what it defined, and see whether they reach their last line.

    Both run in a process of their own, with a temporary folder that is removed afterwards, an empty environment, and no
    site-packages. As root we become `nobody` first. Then, unprivileged: namespaces of its own (user, processes, network,
    shared memory) where the kernel allows them; no capability; Landlock: only Python, the system's libraries and the
    temporary folder can be read, and only the latter written; seccomp: no sockets, shared memory, mounts, nor calls that
    reach other processes. All its processes together are held to `memory_mb`, `MAX_PROCESSES`, `MAX_FOLDER_BYTES` and
    `timeout_seconds`, each to limits on CPU time, open files and file size; all are killed and reaped at the end.
    Leaving early, as by `sys.exit(0)`, is not ok.

    Works without privileges, in containers, and where user namespaces are forbidden; Linux 5.13 or later with Landlock, on
    x86-64 or arm64. Elsewhere a program is refused unless `allow_unisolated`: it may then read and write what its user can,
    keys included, and use the network.

    Not covered: a program shares its interpreter with its tests. One that searches it for the success token, or for the
    expected values in the running tests, can pass without being right. Objects that equal everything are found out in the
    comparisons of `tests` themselves, unless they choose whom they equal. Names and sizes of files outside can be asked for and times of the user's own changed, not their
    content. A limit on all processes together is looked at
    a hundred times a second: memory can be a few hundred MB above it for that long. What a program needs and does not
    get: /tmp (`tempfile` takes the working folder), sockets, locks and pools of `multiprocessing` (/dev/shm). Where its
    user owns more than its folder, changes of mode and owner of files seem to work and are not made. A kernel bug
    stays a kernel bug: for attackers rather than mistakes of a model, run the whole tool in a virtual machine.

    Raises:
        SandboxError: the program could not be started, or not kept apart; or a program that must pass fails here, which
            would make every grade worthless.
    """
    check_sandbox(allow_unisolated=allow_unisolated)
    return _run(code, tests, timeout_seconds, memory_mb=memory_mb, allow_unisolated=allow_unisolated)


def check_sandbox(*, allow_unisolated: bool = False) -> bool:
    """Try the sandbox with a program that must pass and one that must fail, once a process. Whether programs are isolated.

    Raises:
        SandboxError: it cannot grade, or cannot isolate and must.
    """
    global _isolated
    with _check_lock:
        if _isolated or (_isolated is False and allow_unisolated):
            return _isolated
        passed = _run(_CAN_PASS, "assert x > 3", PATIENCE_SECONDS, memory_mb=512, allow_unisolated=allow_unisolated)
        if not passed.ok:
            raise SandboxError(
                f"programs cannot be graded on this machine: one that must pass fails ({passed.reason})."
                f" Its output: {passed.output_tail or 'none'}"
            )
        if _run(_CAN_PASS, _MUST_FAIL, PATIENCE_SECONDS, memory_mb=512, allow_unisolated=allow_unisolated).ok:
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
        timed_out=ran.report["stopped"] == "time",
        output_tail=ran.tail,
        reason="" if ok else _explain(ran, seconds, memory_mb),
        isolated=isolated,
    )


class _Ran(NamedTuple):
    report: dict[str, Any]
    """Of the launcher: guards, why it stopped the program, its wait status, whether it finished."""
    exit_code: int | None
    """None when it was stopped."""
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
                env={},
                pass_fds=[report, lifeline],
                start_new_session=True,
            )
            _wait(process, seconds)
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - TAIL_BYTES))
            tail = output.read().decode(errors="replace").strip()
        said = _read(reader)
    if not said:
        raise SandboxError(f"the sandbox broke before the program started: {tail or 'no output'}")
    report_of = marshal.loads(said)
    status = report_of["status"]
    if status is None and not report_of["stopped"] and report_of["guards"]["seccomp"]:
        raise SandboxError("the sandbox was killed from outside, perhaps for lack of memory on this machine")
    return _Ran(report_of, None if status is None else os.waitstatus_to_exitcode(status), tail, size)


def _wait(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """The launcher ends by itself; the end of this process ends it too, by its lifeline."""
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
    """A folder with an empty `work` in it, removed afterwards whatever was made of it."""
    root = Path(tempfile.mkdtemp(prefix="pada-sandbox-"))
    try:
        root.chmod(0o711)
        (root / "work").mkdir()
        yield root
    finally:
        remove_tree(root)


def remove_tree(root: Path) -> None:
    """Remove a folder, however deep, with folders in it that were closed to us. What cannot be removed stays, silently.

    `shutil.rmtree` gives up in a tree that is deeper than its recursion or than a path may be long: here folders far below
    are moved up to the root first.
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
