"""The inside of the sandbox: run as a script by `sandbox.run_program`, never imported.

It gives up what it can and only then forks the program: what `preexec_fn` would do, which threads make unsafe.
Standard library only, as it runs without site-packages.
"""

import ctypes
import json
import os
import resource
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
PR_SET_NO_NEW_PRIVS = 38
NOBODY = 65534


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
    """Become nobody: limits on processes do not bind root. Root stays where the standard library is for root only."""
    if os.geteuid() != 0:
        return
    try:
        os.chown(".", NOBODY, NOBODY)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, 0)
    except OSError:
        return
    saved = NOBODY if os.access(os.__file__, os.R_OK) else 0
    os.setresuid(saved, saved, saved)


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
    for name, limit in spec["limits"].items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    Path("program.py").write_text(spec["code"], encoding="utf-8")
    module = types.ModuleType("__main__")
    module.__file__ = "program.py"
    sys.modules["__main__"] = module
    exec(compile(spec["code"], "program.py", "exec"), module.__dict__)
    sys.stdout.flush()
    os.write(spec["status"], f"{spec['token']}\n".encode())


if __name__ == "__main__":
    main()
