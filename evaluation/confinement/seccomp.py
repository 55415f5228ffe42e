"""A filter of system calls (seccomp) for what Landlock leaves open: sockets, shared memory, other processes, owners and modes.

It lists what is refused rather than what is allowed, because a program that is refused a harmless call would be graded
wrong. Calls newer than this list appear not to exist.
"""

import ctypes
import os
import struct
from collections.abc import Sequence
from typing import NamedTuple

from pada_agent.evaluation.confinement.kernel import PR_SET_SECCOMP, prctl

EPERM, ENOSYS = 1, 38
ALLOW, KILL = 0x7FFF0000, 0x80000000
NEWEST_KNOWN_CALL = 470
X32_CALLS = 0x40000000
"""On x86-64, the kernel accepts every call under a second number with this bit set."""

ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""The kernel's code for the architecture, and its column in the tables below."""

CallNumbers = tuple[int | None, int | None]
"""Number of a system call on x86-64 and on arm64. None if it does not exist there."""

REFUSED: dict[str, CallNumbers] = {
    # Sockets of any kind. A connected pair stays, see `_allow_stream_pairs`: asyncio wakes itself up by one.
    **{"socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202)},
    **{"accept4": (288, 242), "sendmsg": (46, 211), "sendmmsg": (307, 269)},
    # Memory and messages that outlive the program, or that no limit counts.
    **{"shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195)},
    **{"semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192)},
    **{"msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187)},
    **{"mq_open": (240, 180), "mq_unlink": (241, 181), "memfd_create": (319, 279), "memfd_secret": (447, 447)},
    **{"add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219)},
    # Other processes of the same user.
    **{"ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272)},
    **{"pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "tkill": (200, 130)},
    **{"rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "process_madvise": (440, 440)},
    **{"process_mrelease": (448, 448), "migrate_pages": (256, 238), "move_pages": (279, 239)},
    **{"setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setscheduler": (144, 119)},
    **{"sched_setparam": (142, 118), "sched_setaffinity": (203, 122), "sched_setattr": (314, 274)},
    # Other views of the system, and the way back out of ours.
    **{"unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41)},
    **{"chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430)},
    **{"fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442)},
    **{"open_tree_attr": (467, 467), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265)},
    # Doors into the kernel that no such program needs.
    **{
        "io_uring_setup": (425, 425),
        "io_uring_enter": (426, 426),
        "io_uring_register": (427, 427),
        "io_setup": (206, 0),
    },
    **{"bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "vmsplice": (278, 75)},
    **{"fanotify_init": (300, 262), "personality": (135, 92), "syslog": (103, 116), "vhangup": (153, 58)},
    **{
        "quotactl": (179, 60),
        "quotactl_fd": (443, 443),
        "acct": (163, 89),
        "swapon": (167, 224),
        "swapoff": (168, 225),
    },
    **{"reboot": (169, 142), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105)},
    **{"finit_module": (313, 273), "delete_module": (176, 106), "settimeofday": (164, 170)},
    **{"clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171), "sethostname": (170, 161)},
    **{"setdomainname": (171, 162), "modify_ldt": (154, None), "iopl": (172, None), "ioperm": (173, None)},
}

OWNERSHIP: dict[str, CallNumbers] = {
    **{"chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452)},
    **{"chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54)},
    **{"setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463)},
    **{"removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466)},
    **{"file_setattr": (469, 469)},
}
"""Calls that Landlock does not restrict: the owner of a file anywhere may change its mode and owner. Changing times
stays allowed, because `Path.touch` uses it to find out whether a file exists.
"""

TRUNCATE: CallNumbers = (76, 45)
CLONE, CLONE3, SOCKETPAIR, PRLIMIT = (56, 220), (435, 435), (53, 199), (302, 261)
KILL_CALL, TGKILL, FCNTL, IOCTL = (62, 129), (234, 131), (72, 25), (16, 29)

NEW_NAMESPACES = 0x7E020000
"""All CLONE_NEW… flags of `clone`."""
SIGNALS_BY_DESCRIPTOR = (8, 10, 15)
"""F_SETOWN, F_SETSIG and F_SETOWN_EX, which would send signals past the rules for `kill`."""
TERMINAL_INPUT = (0x5412, 0x541C, 0x8901, 0x8902)
"""TIOCSTI and TIOCLINUX; and FIOSETOWN and SIOCSPGRP, which do the same as F_SETOWN."""

LOAD, EQUAL, GREATER, AT_LEAST, HAS_BITS, AND, RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x54, 0x06
NUMBER_AT, ARCHITECTURE_AT = 0, 4

Instructions = list[bytes]


class FilterNeeds(NamedTuple):
    """What the filter has to do because nothing else does it."""

    only_signals_to: int | None = None
    """The only process that may be sent signals. None if Landlock or a namespace restricts signals."""
    keep_ownership: bool = True
    """Changes of owner and mode appear to succeed but are not made, because the program's user also owns other files."""
    refuse_truncate: bool = False
    """Landlock before its third version does not restrict `truncate`."""


def install_filter(needs: FilterNeeds) -> bool:
    """Apply the filter to this process and its children, permanently. False if there is no filter for this machine or kernel."""
    machine = os.uname().machine
    if machine not in ARCHITECTURES or struct.calcsize("P") != 8:
        return False
    code = build_filter(needs, machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HP", len(code) // 8, ctypes.addressof(buffer))
    try:
        prctl(PR_SET_SECCOMP, 2, ctypes.create_string_buffer(program, len(program)))
    except OSError:
        return False
    return True


def build_filter(needs: FilterNeeds, machine: str) -> bytes:
    """The filter in the kernel's format (classic BPF)."""
    architecture, column = ARCHITECTURES[machine]

    def numbers(table: Sequence[CallNumbers]) -> list[int]:
        return [number for call in table if (number := call[column]) is not None]

    code = [_load(ARCHITECTURE_AT), _jump(EQUAL, architecture, 1, 0), _return(KILL), _load(NUMBER_AT)]
    if machine == "x86_64":
        code += _when(AT_LEAST, X32_CALLS, ENOSYS)
    code += _when(GREATER, NEWEST_KNOWN_CALL, ENOSYS)
    for number in numbers([*REFUSED.values(), *([TRUNCATE] if needs.refuse_truncate else [])]):
        code += _when(EQUAL, number, EPERM)
    for number in numbers([CLONE3]):  # its flags lie in memory, where a filter cannot look; libraries then take `clone`
        code += _when(EQUAL, number, ENOSYS)
    for number in numbers(list(OWNERSHIP.values()) if needs.keep_ownership else []):
        code += _when(EQUAL, number, 0)
    for call, block in _by_arguments(needs):
        code += [_jump(EQUAL, numbers([call])[0], 0, len(block)), *block]
    return b"".join([*code, _return(ALLOW)])


def _by_arguments(needs: FilterNeeds) -> list[tuple[CallNumbers, Instructions]]:
    """Calls that are refused only for some arguments. Each block ends with a return."""
    blocks: list[tuple[CallNumbers, Instructions]] = [
        (CLONE, [_load_argument(0), *_when(HAS_BITS, NEW_NAMESPACES, EPERM), _return(ALLOW)]),
        (SOCKETPAIR, _allow_stream_pairs()),
        (PRLIMIT, [_load_argument(0), *_unless(0, EPERM), _return(ALLOW)]),
        (FCNTL, [_load_argument(1), *_when_any(SIGNALS_BY_DESCRIPTOR), _return(ALLOW)]),
        (IOCTL, [_load_argument(1), *_when_any(TERMINAL_INPUT), _return(ALLOW)]),
    ]
    if needs.only_signals_to is not None:
        itself = [_load_argument(0), *_unless(needs.only_signals_to, EPERM), _return(ALLOW)]
        blocks += [(KILL_CALL, itself), (TGKILL, itself)]
    return blocks


def _allow_stream_pairs() -> Instructions:
    """`socketpair(AF_UNIX, SOCK_STREAM)`: its two ends are connected, and cannot be connected to anything else."""
    of_this_kind = [_load_argument(1), struct.pack("HBBI", AND, 0, 0, 0xF), *_unless(1, EPERM)]
    return [_load_argument(0), *_unless(1, EPERM), *of_this_kind, _return(ALLOW)]


def _when(test: int, value: int, error: int) -> Instructions:
    return [_jump(test, value, 0, 1), _return_error(error)]


def _unless(value: int, error: int) -> Instructions:
    return [_jump(EQUAL, value, 1, 0), _return_error(error)]


def _when_any(values: Sequence[int]) -> Instructions:
    return [instruction for value in values for instruction in _when(EQUAL, value, EPERM)]


def _load(offset: int) -> bytes:
    return struct.pack("HBBI", LOAD, 0, 0, offset)


def _load_argument(index: int) -> bytes:
    """Load the lower half of an argument, on little-endian machines. Everything compared here is an `int` to the kernel."""
    return _load(16 + 8 * index)


def _jump(test: int, value: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("HBBI", test, if_true, if_false, value)


def _return(action: int) -> bytes:
    return struct.pack("HBBI", RETURN, 0, 0, action)


def _return_error(number: int) -> bytes:
    """Do not make the call and return this error. With 0, the call appears to have succeeded."""
    return _return(0x00050000 | number)
