"""The machines on which programs are graded, put on by a process of its own: `python -m tests.sandbox_situations NAME`.

It takes the situation on, lays out bait (a key in its environment, a key file, listening sockets), runs the programs that
it reads as JSON, and writes what became of them.
"""

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ORDINARY_USER = 4321
KEY = "sk-planted-key"
CANNOT = 3
"""Exit code: this machine cannot take the situation on."""

PR_CAPBSET_DROP, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 24, 22, 38
DOCKER = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)
"""The capabilities of a container, by number: no CAP_SYS_ADMIN, no CAP_DAC_READ_SEARCH."""
CALLS = {"x86_64": {"unshare": 272, "prctl": 157}, "aarch64": {"unshare": 97, "prctl": 167}}
LANDLOCK_CREATE_RULESET = 444
EPERM, EINVAL, ENOSYS = 1, 22, 38

libc = ctypes.CDLL(None, use_errno=True)


class CannotSimulate(Exception):
    """Why this machine cannot take the situation on."""


def filter_calls(*refused: tuple[int, int | None, int]) -> None:
    """Refuse calls: number, first argument (None: any), error."""
    code = [struct.pack("HBBI", 0x20, 0, 0, 0)]
    for number, argument, error in refused:
        answer = struct.pack("HBBI", 0x06, 0, 0, 0x50000 | error)
        if argument is None:
            code += [struct.pack("HBBI", 0x15, 0, 1, number), answer]
        else:
            code += [struct.pack("HBBI", 0x15, 0, 4, number), struct.pack("HBBI", 0x20, 0, 0, 16)]
            code += [struct.pack("HBBI", 0x15, 0, 1, argument), answer, struct.pack("HBBI", 0x20, 0, 0, 0)]
    code += [struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)]
    blob = ctypes.create_string_buffer(b"".join(code))
    program = ctypes.create_string_buffer(struct.pack("HP", len(code), ctypes.addressof(blob)))
    if libc.prctl(PR_SET_SECCOMP, 2, program, 0, 0) != 0:
        raise CannotSimulate("this kernel refuses filters of system calls")


def number_of(call: str) -> int:
    machine = os.uname().machine
    if machine not in CALLS:
        raise CannotSimulate(f"no numbers of system calls for {machine}")
    return CALLS[machine][call]


def be_ordinary() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER)
        os.setresuid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise CannotSimulate("this kernel knows no PR_SET_NO_NEW_PRIVS")


def be_root_with(capabilities: tuple[int, ...]) -> None:
    if os.geteuid() != 0:
        raise CannotSimulate("only root has capabilities to give up")
    for number in range(64):
        if number not in capabilities:
            libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
    low = sum(1 << n for n in capabilities if n < 32)
    data = (ctypes.c_uint32 * 6)(low, low, 0, 0, 0, 0)
    if libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), data) != 0:
        raise CannotSimulate("this kernel keeps its capabilities")


def refuse_namespaces() -> None:
    filter_calls((number_of("unshare"), None, EPERM))


def follow_ubuntu() -> None:
    """Everybody may enter a user namespace, and nobody may map users in it: the write to /proc/self/setgroups is refused."""
    ruleset = libc.syscall(LANDLOCK_CREATE_RULESET, struct.pack("Q", 1 << 1), 8, 0)
    if ruleset < 0:
        raise CannotSimulate("this kernel has no Landlock to forbid writing below /proc with")
    for folder in Path("/").iterdir():
        if folder.is_dir() and folder.name != "proc":
            opened = os.open(folder, os.O_PATH)
            libc.syscall(445, ruleset, 1, struct.pack("=Qi", 1 << 1, opened), 0)
    if libc.syscall(446, ruleset, 0) != 0:
        raise CannotSimulate("this kernel refuses Landlock")


def _ordinary(*further: Callable[[], None]) -> Callable[[], None]:
    def put_on() -> None:
        be_ordinary()
        for step in further:
            step()

    return put_on


def _docker() -> None:
    refuse_namespaces()
    be_root_with(DOCKER)


def _without_capabilities() -> None:
    refuse_namespaces()
    be_root_with(())


SITUATIONS: dict[str, Callable[[], None]] = {
    "as this machine is": lambda: None,
    "root, no user namespaces": refuse_namespaces,
    "root in Docker": _docker,
    "root in a pod without seccomp profile": lambda: be_root_with(DOCKER),
    "root without capabilities": _without_capabilities,
    "ordinary user": _ordinary(),
    "ordinary user, no user namespaces": _ordinary(refuse_namespaces),
    "ordinary user of Ubuntu": _ordinary(follow_ubuntu),
}
UNISOLATED: dict[str, Callable[[], None]] = {
    "no Landlock": lambda: filter_calls((LANDLOCK_CREATE_RULESET, None, ENOSYS)),
    "ordinary user, no Landlock": _ordinary(lambda: filter_calls((LANDLOCK_CREATE_RULESET, None, ENOSYS))),
    "ordinary user, no seccomp": _ordinary(lambda: filter_calls((number_of("prctl"), PR_SET_SECCOMP, EINVAL))),
}


def put_on(name: str, programs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Results by name of program, `calls` (what came to the listening sockets), `bait` (as it is afterwards) and `left` (in
    the folder for temporary files).

    Raises:
        CannotSimulate: with the reason.
    """
    done = subprocess.run(
        [_python_for(name), "-m", "tests.sandbox_situations", name],
        input=json.dumps(programs),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={
            "PYTHONPATH": os.pathsep.join([str(ROOT), *_site_packages()]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "A_KEY": KEY,
        },
        timeout=300,
    )
    if done.returncode == CANNOT:
        raise CannotSimulate(done.stderr.strip())
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _python_for(name: str) -> str:
    """This interpreter, or where others may not run it the system's of the same version."""
    if not name.startswith("ordinary user") or os.geteuid() != 0 or _is_open(Path(sys.base_prefix)):
        return sys.executable
    system = Path(f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}")
    if not system.exists():
        raise CannotSimulate(f"an ordinary user may not run {sys.executable}, and there is no {system}")
    return str(system)


def _is_open(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o5 == 0o5 for parent in (path, *path.parents))


def _site_packages() -> list[str]:
    return [path for path in sys.path if path.endswith("-packages")]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pada-situation-") as folder:
        sys.stdout.write(json.dumps(run_in(sys.argv[1], json.load(sys.stdin), Path(folder))))


def run_in(name: str, programs: dict[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
    bait, work = folder / "bait", folder / "work"
    folder.chmod(0o711)
    bait.mkdir(mode=0o700)
    work.mkdir()
    tempfile.tempdir = str(work)
    (bait / "credentials").write_text(KEY)
    (bait / "credentials").chmod(0o600)
    if name.startswith("ordinary user") and os.geteuid() == 0:
        for path in (folder, work, bait, bait / "credentials"):
            os.chown(path, ORDINARY_USER, ORDINARY_USER)
    try:
        if not _is_open(ROOT):
            raise CannotSimulate(f"{ROOT} is not open to other users")
        {**SITUATIONS, **UNISOLATED}[name]()
    except CannotSimulate as exc:
        sys.stderr.write(str(exc))
        sys.exit(CANNOT)
    sockets = _listen(bait)
    from pada_agent.core.errors import SandboxError
    from pada_agent.evaluation.sandbox import run_program

    facts = {"folder": str(bait), "port": sockets[0].getsockname()[1], "pid": os.getpid(), "source": str(ROOT)}

    def run(program: dict[str, Any]) -> dict[str, Any]:
        code = f"FACTS = {facts!r}\n{program.pop('code')}"
        try:
            return run_program(code, **program).model_dump()
        except SandboxError as exc:
            return {"error": str(exc)}

    with ThreadPoolExecutor(3) as pool:
        results = dict(zip(programs, pool.map(run, programs.values()), strict=True))
    calls = [sock.getsockname() for sock in sockets if _was_called(sock)]
    state = (bait / "credentials").stat()
    kept = {
        "text": (bait / "credentials").read_text(),
        "mode": state.st_mode & 0o777,
        "names": [path.name for path in bait.iterdir()],
    }
    left = [str(path) for path in work.iterdir()]
    return {"results": results, "calls": [str(call) for call in calls], "bait": kept, "left": left}


def _listen(folder: Path) -> list[socket.socket]:
    kinds = [
        (socket.AF_INET, ("127.0.0.1", 0)),
        (socket.AF_UNIX, str(folder / "socket")),
        (socket.AF_UNIX, f"\0{folder}"),
    ]
    sockets = []
    for family, address in kinds:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.bind(address)
        sock.listen()
        sock.setblocking(False)
        sockets.append(sock)
    return sockets


def _was_called(sock: socket.socket) -> bool:
    try:
        sock.accept()
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    main()
