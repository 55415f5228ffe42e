"""The inside of the sandbox: run as a script by `sandbox.run_program`, never imported.

It gives up what it can and only then forks the program: what `preexec_fn` would do, which threads make unsafe.
Standard library only, as it runs without site-packages.
"""

import ctypes
import json
import os
import resource
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS = 8, 38
CAP_DAC_READ_SEARCH = 2
LINUX_CAPABILITY_VERSION_3 = 0x20080522
NOBODY = 65534
PROGRAM = "program.py"


def main() -> None:
    spec = json.load(sys.stdin)
    isolated = isolate()
    drop_root()
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.write(spec["status"], b"isolated\n" if isolated else b"not isolated\n")
    if isolated:
        run_in_child(lambda: run_in_child(lambda: run(spec)))
    else:
        run_in_child(lambda: run(spec))


def isolate() -> bool:
    """Leave the network, and have further children in a process tree that dies with the first of them.

    False where the kernel or a container does not allow it.
    """
    libc = ctypes.CDLL(None)
    if os.geteuid() == 0 and libc.unshare(CLONE_NEWPID | CLONE_NEWNET) == 0:
        return True
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET) != 0:
        return False
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    return True


def drop_root() -> None:
    """Become nobody, as limits on processes do not bind root.

    Where the standard library lies in a folder of root's, the right to read all files is kept. Where a container does
    not let us change the user, root stays.
    """
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None)
    try:
        os.chown(".", NOBODY, NOBODY)
        os.setgroups([])
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError:
        return
    kept = 0 if os.access(os.__file__, os.R_OK) else 1 << CAP_DAC_READ_SEARCH
    header = (ctypes.c_uint32 * 2)(LINUX_CAPABILITY_VERSION_3, 0)
    effective_permitted_inheritable = (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0)
    libc.capset(header, effective_permitted_inheritable)


def run_in_child(action: Callable[[], None]) -> None:
    """Fork; the child acts, this process ends the way the child does (256 - n after signal n)."""
    child = os.fork()
    if child == 0:
        action()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) % 256)


def run(spec: dict[str, Any]) -> None:
    """Run the program as `__main__`; the token is written only once its last line is done."""
    os.environ.clear()
    for name, limit in spec["limits"].items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    sys.excepthook = show_error
    Path(PROGRAM).write_text(spec["code"], encoding="utf-8")
    module = ModuleType("__main__")
    module.__file__ = PROGRAM
    sys.modules["__main__"] = module
    exec(compile(spec["code"], PROGRAM, "exec"), module.__dict__)
    sys.stdout.flush()
    os.write(spec["status"], f"{spec['token']}\n".encode())


def show_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback without our own frames."""
    while trace and trace.tb_frame.f_code.co_filename != PROGRAM:
        trace = trace.tb_next
    traceback.print_exception(kind, error, trace)


if __name__ == "__main__":
    main()
