"""Keeps a program and all its processes within common limits, which the kernel only has for single processes, and ends them all."""

import os
import select
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
LOOK_SECONDS = 0.01
LOOK_SHARE = 8
"""At most one part in this many of the time is spent on looking. On a machine with many processes, looks become rarer."""
FOLDER_LOOK_SECONDS = 0.2
GIVE_UP_SECONDS = 5.0
MAX_PATH = 1000
"""Maximum length in characters of a path below the working folder. Deeper folders could neither be examined nor removed by name."""


class Stop(NamedTuple):
    """Why a program was stopped."""

    reason: str
    """`time`, `memory`, `processes`, `files`, `busy` if the machine gave it too little time to tell, or `left` if pada itself is gone. Empty if
    the program ended by itself."""


class Limits(NamedTuple):
    """Limits for all processes of a program together."""

    seconds: float
    """Time that they wait for a processor does not count, as long as they have used less than this of one."""
    patience_seconds: float
    """Time after which they are stopped even so."""
    memory_bytes: int
    n_processes: int
    """Threads count too."""
    folder_bytes: int
    n_files: int


class ProcessFigures(NamedTuple):
    """Figures of one process of the machine."""

    pid: int
    parent: int
    n_threads: int
    resident_bytes: int
    """Includes shared pages."""
    used_seconds: float
    """Processor time, with that of its children that have ended."""


def watch(ended: int, lifeline: int, limits: Limits) -> Stop:
    """Wait until `ended` delivers a line, all its writers are gone, or the program has to be stopped."""
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(lifeline, select.POLLIN)
    start = time.monotonic()
    pause, folder_look = LOOK_SECONDS, start + FOLDER_LOOK_SECONDS
    while True:
        ready = {descriptor for descriptor, _ in poll.poll(pause * 1000)}
        if ended in ready:
            return Stop("")
        now = time.monotonic()
        if reason := "left" if lifeline in ready else find_overtime(now - start, limits) or find_excess(limits):
            return Stop(reason)
        if now > folder_look:
            if is_folder_full(limits):
                return Stop("files")
            folder_look = time.monotonic() + FOLDER_LOOK_SECONDS
        pause = max(LOOK_SECONDS, LOOK_SHARE * (time.monotonic() - now))


def find_overtime(seconds: float, limits: Limits) -> str:
    """`time` if our descendants have had their time, `busy` if others have taken it for too long, otherwise empty."""
    if seconds <= limits.seconds:
        return ""
    family = list_descendants()
    waited = sum(_read_waiting(process.pid) for process in family)
    if seconds - waited > limits.seconds or sum(process.used_seconds for process in family) > limits.seconds:
        return "time"
    return "busy" if seconds > limits.patience_seconds else ""


def find_excess(limits: Limits) -> str:
    """`memory` or `processes` if our descendants exceed that limit, otherwise empty."""
    family = list_descendants()
    if sum(process.n_threads for process in family) > limits.n_processes:
        return "processes"
    if sum(process.resident_bytes for process in family) <= limits.memory_bytes:
        return ""
    return "memory" if sum(map(_proportional_bytes, family)) > limits.memory_bytes else ""


def list_descendants() -> list[ProcessFigures]:
    """All processes below this one, including those whose parent has died, because this process is their new parent."""
    children: dict[int, list[ProcessFigures]] = {}
    for process in _list_processes():
        children.setdefault(process.parent, []).append(process)
    found: list[ProcessFigures] = []
    new = children.get(os.getpid(), [])
    while new:
        found += new
        new = [child for process in new for child in children.get(process.pid, [])]
    return found


def end_descendants(child: int) -> int | None:
    """Kill and reap all processes below this one, so that none counts against the next program. Returns the child's exit code.

    They are paused first, so that none can fork faster than it is killed.
    """
    known: set[int] = set()
    while new := {process.pid for process in list_descendants()} - known:
        _signal(new, signal.SIGSTOP)
        known |= new
    _signal({child, *known}, signal.SIGKILL)
    deadline, code = time.monotonic() + GIVE_UP_SECONDS, None
    while time.monotonic() < deadline:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
        elif pid == 0:
            _signal({process.pid for process in list_descendants()}, signal.SIGKILL)
            time.sleep(0.001)
    return code


def count_threads() -> int:
    """Number of threads of all visible processes."""
    return sum(process.n_threads for process in _list_processes())


def is_folder_full(limits: Limits) -> bool:
    """Whether the working folder holds too many files or bytes. Folders that are closed to us are opened first."""
    n_files, n_bytes, folders = 0, 0, ["."]
    while folders:
        folder = folders.pop()
        if len(folder) > MAX_PATH:
            return True
        for path, status in _list_folder(folder):
            n_files += 1
            n_bytes += status.st_blocks * 512
            if n_files > limits.n_files or n_bytes > limits.folder_bytes:
                return True
            if stat.S_ISDIR(status.st_mode):
                folders.append(path)
    return False


def _list_folder(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    with suppress(OSError):
        os.chmod(folder, 0o700)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                yield entry.path, entry.stat(follow_symlinks=False)


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, number)


def _list_processes() -> Iterator[ProcessFigures]:
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in names:
        if name.isdecimal():
            with suppress(OSError, ValueError, IndexError):
                fields = _read(f"/proc/{name}/stat").rpartition(b")")[2].split()
                used = sum(map(int, fields[11:15])) / TICKS
                yield ProcessFigures(int(name), int(fields[1]), int(fields[17]), int(fields[21]) * PAGE_BYTES, used)


def _read_waiting(pid: int) -> float:
    """Seconds for which a process could have run, but another had the processor. 0 if the kernel does not count them."""
    with suppress(OSError, ValueError, IndexError):
        return int(_read(f"/proc/{pid}/schedstat").split()[1]) / 1e9
    return 0.0


def _proportional_bytes(process: ProcessFigures) -> int:
    """Resident memory, counting only our share of shared pages: a forked process shares most of its pages with its parent."""
    with suppress(OSError, StopIteration):
        lines = _read(f"/proc/{process.pid}/smaps_rollup").split(b"\n")
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(b"Pss:"))
    with suppress(OSError, ValueError):
        resident, shared = _read(f"/proc/{process.pid}/statm").split()[1:3]
        return (int(resident) - int(shared)) * PAGE_BYTES
    return 0  # it has ended


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()
