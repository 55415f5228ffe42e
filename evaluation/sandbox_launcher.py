"""The inside of the sandbox: `sandbox.run_program` starts it as a separate process. Standard library only.

It gives up its privileges, forks the program, and stays behind to watch it. `preexec_fn` could do this, but is unsafe
with threads. With namespaces there are three processes: the supervisor, the one that enters the namespaces, and the
first one inside, with which the kernel ends all others.
"""

import linecache
import marshal
import os
import random
import resource
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from types import ModuleType, TracebackType
from typing import Any, NamedTuple

from pada_agent.evaluation.confinement import landlock, privileges, seccomp
from pada_agent.evaluation.confinement.kernel import (
    IS_LINUX,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    prctl,
)
from pada_agent.evaluation.confinement.supervision import Limits, Stop, count_threads, end_descendants, watch
from pada_agent.evaluation.value_check import CHECK, check_value, compile_tests

NO_NAMESPACES = 77
"""Exit code of the process that could not enter the namespaces."""
SPARE_THREADS = 4096
"""If the kernel counts threads by user, this many above those that exist. Only against a fork bomb that is faster than we are."""
PROGRAM, TESTS = "program.py", "tests.py"
"""Names in tracebacks; there are no such files."""
OWN_NAMESPACE_COUNTS = (5, 14)
"""Linux version from which a user namespace counts its own processes."""

Spec = Mapping[str, Any]


class Ran(NamedTuple):
    """What the supervisor saw."""

    stop: Stop
    said: list[str]
    """First the guards around the program, as `name=version`. Then the token, if the program reached its end."""
    status: int | None
    """As returned by `waitpid`. None if the program was stopped."""


def main() -> None:
    sys.dont_write_bytecode = True
    with open(0, "rb", closefd=False) as file:
        spec: Spec = marshal.load(file)
    places = landlock.open_places() if IS_LINUX else []
    is_nobody = IS_LINUX and give_up_root()
    ran = supervise(spec, places, is_nobody=is_nobody, namespaces=True) if IS_LINUX else None
    ran = ran or supervise(spec, places, is_nobody=is_nobody, namespaces=False)
    if ran is None or not ran.said:
        sys.exit(1)  # what went wrong stands in the output
    finished = spec["token"] in ran.said[1:]
    guards = {name: int(value) for name, _, value in (word.partition("=") for word in ran.said[0].split())}
    report = {"guards": guards, "stopped": ran.stop.reason, "status": ran.status, "finished": finished}
    with suppress(BrokenPipeError):
        os.write(spec["report"], marshal.dumps(report))


def give_up_root() -> bool:
    """Become `nobody` if we are root, gain nothing by any `exec`, adopt all orphans below us, and keep others out of our memory."""
    library = privileges.open_library()
    is_nobody = privileges.become_nobody()
    privileges.use_library(library)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_DUMPABLE, 0)
    return is_nobody


def supervise(spec: Spec, places: list[landlock.Place], *, is_nobody: bool, namespaces: bool) -> Ran | None:
    """Run the program and end everything that is left of it. None if the kernel refuses the namespaces."""
    said_by, said = os.pipe()
    ended_by, ended = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(said_by)
        os.close(ended_by)
        become_program(spec, places, said, ended, is_nobody=is_nobody, namespaces=namespaces)
    os.close(said)
    os.close(ended)
    stop = watch(ended_by, spec["lifeline"], Limits(**spec["limits"]))
    status = b"" if stop.reason else os.read(ended_by, 64)
    if end_descendants(child) == NO_NAMESPACES:
        return None
    os.set_blocking(said_by, False)
    lines: list[str] = []
    with suppress(BlockingIOError):
        lines = os.read(said_by, 65536).decode(errors="replace").split("\n")
    return Ran(stop, [line for line in lines if line], int(status) if status else None)


def become_program(
    spec: Spec, places: list[landlock.Place], said: int, ended: int, *, is_nobody: bool, namespaces: bool
) -> None:
    """In the child: run the program and report through `ended` how it ended. Does not return."""
    if IS_LINUX:
        prctl(PR_SET_DUMPABLE, 1)  # the supervisor reads its memory figures
    if namespaces:
        if not privileges.enter_namespaces():
            os._exit(NO_NAMESPACES)
        die_with_parent()
        if inner := os.fork():
            os.close(said)
            os.close(ended)
            os.waitpid(inner, 0)
            os._exit(0)
    die_with_parent()
    program = os.fork()
    if program == 0:
        die_with_parent()
        for descriptor in (ended, spec["lifeline"], spec["report"]):
            os.close(descriptor)
        run(spec, places, said, is_nobody=is_nobody, namespaces=namespaces)
        os._exit(0)
    os.close(said)
    os.write(ended, str(os.waitpid(program, 0)[1]).encode())
    os._exit(0)


def die_with_parent() -> None:
    """End this process if the supervisor is killed from outside."""
    if IS_LINUX:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run(spec: Spec, places: list[landlock.Place], said: int, *, is_nobody: bool, namespaces: bool) -> None:
    """Run the program as `__main__`, with a fixed seed for `random`. The token is written only after its last line."""
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    limit_resources(spec, namespaces=namespaces)
    guards = put_up_guards(places, is_nobody=is_nobody, namespaces=namespaces)
    forget_ourselves()
    random.seed(0)
    os.write(said, " ".join(f"{name}={value:d}" for name, value in guards.items()).encode() + b"\n")
    if not spec["allow_unisolated"] and not (guards["landlock"] and guards["seccomp"]):
        return
    module = ModuleType("__main__")
    module.__file__ = PROGRAM
    sys.modules["__main__"] = module
    sys.excepthook = lambda kind, error, trace: show_error(kind, error, trace, spec["tests"])
    keep_source(PROGRAM, spec["code"])
    exec(compile(spec["code"], PROGRAM, "exec"), module.__dict__)
    if spec["tests"]:
        module.__dict__[CHECK] = check_value
        exec(compile_tests(spec["tests"], TESTS), module.__dict__)
    sys.stdout.flush()
    os.write(said, f"{spec['token']}\n".encode())


def limit_resources(spec: Spec, *, namespaces: bool) -> None:
    """Set the limits that the kernel has for each process."""
    counts_ours = namespaces and read_version(os.uname().release) >= OWN_NAMESPACE_COUNTS
    n_threads = spec["limits"]["n_processes"] if counts_ours else count_threads() + SPARE_THREADS
    for name, limit in {**spec["resources"], "RLIMIT_NPROC": n_threads}.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        allowed = resource.getrlimit(kind)[1]
        most = limit if allowed == resource.RLIM_INFINITY else min(limit, allowed)
        resource.setrlimit(kind, (most, most))


def read_version(release: str) -> tuple[int, ...]:
    """Turn `6.8.0-45-generic` into (6, 8)."""
    return tuple(int(digits) for part in release.split(".")[:2] if (digits := "".join(filter(str.isdecimal, part[:4]))))


def put_up_guards(places: list[landlock.Place], *, is_nobody: bool, namespaces: bool) -> dict[str, int]:
    """Take away capabilities, files, sockets and signals. Returns which guards are in force, with their versions.

    Raises:
        OSError: capabilities could not be given up.
    """
    if IS_LINUX:
        privileges.drop_capabilities()
    version = landlock.confine(places)
    for place in places:
        os.close(place.descriptor)
    needs = seccomp.FilterNeeds(
        only_signals_to=None if namespaces or version >= landlock.CONFINES_SIGNALS else os.getpid(),
        keep_ownership=not is_nobody,
        refuse_truncate=version < landlock.CONFINES_TRUNCATE,
    )
    filtered = IS_LINUX and seccomp.install_filter(needs)
    return {"nobody": is_nobody, "namespaces": namespaces, "landlock": version, "seccomp": filtered}


def forget_ourselves() -> None:
    """Remove our own modules, so that the program sees only the standard library."""
    os.environ.clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "pada_agent"]:
        del sys.modules[name]
    sys.argv[:] = [""]


def keep_source(name: str, source: str) -> None:
    """Keep the source for tracebacks and `inspect.getsource`."""
    linecache.cache[name] = (len(source), None, [f"{line}\n" for line in source.split("\n")], name)


def show_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None, tests: str) -> None:
    """Print the traceback without our own frames, after the program's output. Until now, the program could not look up its tests."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    keep_source(TESTS, tests)
    while trace and trace.tb_frame.f_code.co_filename not in (PROGRAM, TESTS):
        trace = trace.tb_next
    traceback.print_exception(kind, error, trace)
