"""Landlock: keeps a program away from files, sockets and signals that are not its own. Needs no privileges, only a kernel with Landlock."""

import os
import stat
import struct
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from pada_agent.evaluation.confinement.kernel import IS_LINUX, syscall

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""The same on all architectures."""
ASK_VERSION, PATH_BENEATH = 1, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_SOCK, MAKE_BLOCK, REFER, TRUNCATE, IOCTL_DEV = 1 << 6, 1 << 9, 1 << 11, 1 << 13, 1 << 14, 1 << 15
FIRST_RIGHTS = (1 << 13) - 1
READ = EXECUTE | READ_FILE | READ_DIR
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
ALL_PORTS = 0b11
"""Access rights for TCP: bind and connect."""
ALL_SCOPES = 0b11
"""Scopes: abstract unix sockets, and signals."""
CONFINES_SIGNALS, CONFINES_TRUNCATE = 6, 3
"""Landlock versions from which this is supported."""

SYSTEM = (
    *("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/bin", "/usr/local/lib", "/usr/local/bin"),
    *("/lib", "/lib32", "/lib64", "/bin", "/nix/store", "/gnu/store"),
    *("/usr/share/zoneinfo", "/usr/share/locale", "/usr/share/mime", "/etc/localtime", "/etc/mime.types"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/os-release", "/usr/share/dict"),
    *("/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf", "/etc/crypto-policies"),
    *("/dev/zero", "/dev/random", "/dev/urandom", "/sys/devices/system/cpu"),
)
"""What may be read in addition to Python's own library: system libraries, time zones and library settings. No home
folder, no /etc/passwd, no /proc.
"""


class Place(NamedTuple):
    """A file or folder that stays accessible."""

    descriptor: int
    rights: int


def find_version() -> int:
    """Version of the kernel's Landlock. 0 if there is none or it is switched off."""
    try:
        return syscall(CREATE_RULESET, None, 0, ASK_VERSION) if IS_LINUX else 0
    except OSError:
        return 0


def open_places() -> list[Place]:
    """Python, the system's libraries and the working folder. Call this before changing the user, because Python may be installed in root's home."""
    work = FIRST_RIGHTS & ~(MAKE_CHAR | MAKE_BLOCK | MAKE_SOCK) | REFER | TRUNCATE
    return [*open_libraries(READ), *open_place("/dev/null", READ | WRITE_FILE), *open_place(".", work)]


def open_libraries(rights: int) -> list[Place]:
    """Python and the libraries it is linked with."""
    return [place for path in (*SYSTEM, *_python()) for place in open_place(path, rights)]


def open_place(path: str, rights: int) -> list[Place]:
    """The file or folder as a list of one. Empty if it does not exist."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return []
    is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
    return [Place(descriptor, rights if is_folder else rights & OF_FILES)]


def confine(places: Iterable[Place]) -> int:
    """Restrict this process and its children to these places, permanently. Returns the kernel's Landlock version; 0 means that nothing was done."""
    version = find_version()
    with suppress(OSError):
        if version:
            _restrict(places, version)
            return version
    return 0


def _restrict(places: Iterable[Place], version: int) -> None:
    handled = FIRST_RIGHTS | (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
    handled |= IOCTL_DEV if version >= 5 else 0
    attributes = struct.pack("QQQ", handled, ALL_PORTS, ALL_SCOPES)
    attributes = attributes[: 24 if version >= 6 else 16 if version >= 4 else 8]
    ruleset = syscall(CREATE_RULESET, attributes, len(attributes), 0)
    for place in places:
        rule = struct.pack("=Qi", place.rights & handled, place.descriptor)
        syscall(ADD_RULE, ruleset, PATH_BENEATH, rule, 0)
    syscall(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _python() -> Sequence[str]:
    """The standard library, the libraries its modules are linked with, and the interpreter."""
    lib = os.path.join(sys.base_prefix, "lib")
    folders = [path for path in sys.path if os.path.isdir(path) and not path.endswith("site-packages")]
    return [*folders, os.path.dirname(os.__file__), lib, f"{lib}64", os.path.realpath(sys.executable)]
