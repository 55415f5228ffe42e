"""Gives up privileges: root becomes `nobody`, without capabilities, in namespaces of its own if the kernel allows that."""

import ctypes
import os
import sys
from contextlib import suppress

from pada_agent.evaluation.confinement.kernel import PR_SET_DUMPABLE, libc, prctl

NOBODY = 65534
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x08000000, 0x10000000, 0x20000000, 0x40000000
CAPABILITY_VERSION_3 = 0x20080522


def become_nobody() -> bool:
    """If this process is root, switch to the user `nobody` and give it the working folder. Returns whether the process is `nobody` now.

    A container without CAP_SETUID, or a user namespace without that user, does not allow it. The process then stays
    root but still gives up its capabilities.
    """
    if os.geteuid() != 0:
        return False
    _give_folder(NOBODY)
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError:
        _give_folder(os.geteuid())
    return {*os.getresuid(), *os.getresgid()} == {NOBODY} and not os.getgroups()


def _give_folder(user: int) -> None:
    try:
        os.chown(".", user, user)
    except OSError:
        os.chmod(".", 0o777)  # the folder above it has a name that cannot be guessed


def open_library() -> dict[str, int]:
    """Open the folders of the standard library, for a user who has no access to their path."""
    sys.path[:] = [path for path in sys.path if os.path.isdir(path)]
    return {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in sys.path}


def use_library(opened: dict[str, int]) -> None:
    """If Python is installed in root's home, import from the opened folders, so that no right to read all files is needed."""
    moved: dict[str, str] = {}
    for path, descriptor in opened.items():
        if os.access(path, os.R_OK | os.X_OK):
            os.close(descriptor)
        else:
            moved[path] = f"/proc/self/fd/{descriptor}"
    if moved:
        loaded = [vars(module).get("__path__") for module in sys.modules.values()]
        for paths in (sys.path, *(found for found in loaded if isinstance(found, list))):
            paths[:] = [_move(path, moved) for path in paths]
        sys.path_importer_cache.clear()


def _move(path: str, moved: dict[str, str]) -> str:
    for old, new in sorted(moved.items(), reverse=True):
        if path == old or path.startswith(f"{old}/"):
            return new + path.removeprefix(old)
    return path


def drop_capabilities() -> None:
    """Give up all capabilities, in every namespace.

    Raises:
        OSError: the kernel refused.
    """
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()
    if libc.capset(header, none) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"capabilities stay: {os.strerror(number)}")


def enter_namespaces() -> bool:
    """Leave the network and the machine's shared memory, and put further children into a process tree that dies with its first member.

    False if the kernel or a container refuses. This process cannot be used for anything else then.
    """
    user, group = os.geteuid(), os.getegid()
    with suppress(OSError):
        prctl(PR_SET_DUMPABLE, 1)  # who changed its user may not write its own maps otherwise
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC) != 0:
        return False
    try:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    except OSError:  # Ubuntu lets everybody enter a user namespace, and do nothing in it
        return False
    return True


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
