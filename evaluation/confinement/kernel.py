"""System calls and process controls for which Python has no functions."""

import ctypes
import os
import sys

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP = 1, 4, 22
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38

IS_LINUX = sys.platform == "linux"
libc = ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: object) -> int:
    """Make a system call and return its result.

    Raises:
        OSError: the kernel refused.
    """
    return _check(libc.syscall(ctypes.c_long(number), *map(_widen, arguments)))


def prctl(option: int, *arguments: object) -> int:
    """Call `prctl` and return its result. All four arguments are passed, because some options insist on zeros.

    Raises:
        OSError: the kernel refused.
    """
    filled = [*arguments, 0, 0, 0, 0][:4]
    return _check(libc.prctl(ctypes.c_long(option), *map(_widen, filled)))


def _widen(argument: object) -> object:
    """Convert an argument to the width of a register, which is how variadic C functions read it."""
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
