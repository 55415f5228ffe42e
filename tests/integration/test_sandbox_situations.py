"""What a program reaches, and what it can use, on the machines that people have."""

from functools import cache
from typing import Any

import pytest

from tests.sandbox_situations import KEY, SITUATIONS, UNISOLATED, CannotSimulate, put_on

TRY = """
import ctypes, os, resource, signal, socket, struct
FOLDER, PORT, PID, SOURCE = FACTS["folder"], FACTS["port"], FACTS["pid"], FACTS["source"]
libc = ctypes.CDLL(None, use_errno=True)
reached = []
def attempt(name):
    def run(attack):
        try:
            if attack() is not False:
                reached.append(name)
        except Exception:
            pass
    return run
def read(path):
    with open(path, "rb") as file:
        return len(file.read(64)) > 0
def write(path, mode="a"):
    with open(path, mode) as file:
        file.write("x")
def call(family, kind, address):
    sock = socket.socket(family, kind)
    sock.settimeout(1)
    sock.connect(address)
    sock.send(b"x")
"""
ATTACKS = {
    "a key file": "read(f'{FOLDER}/credentials')",
    "the key file of Linux": "read('/etc/shadow')",
    "the names of files in a home": "os.listdir(FOLDER)",
    "the environment of pada": "read(f'/proc/{PID}/environ')",
    "the environment of the parent": "read(f'/proc/{os.getppid()}/environ')",
    "the memory of pada": "open(f'/proc/{PID}/mem', 'rb')",
    "a file of the user": "write(f'{FOLDER}/credentials')",
    "a new file of the user": "write(f'{FOLDER}/new')",
    "an emptied file": "os.truncate(f'{FOLDER}/credentials', 0)",
    "pada's own code": "write(f'{SOURCE}/evaluation/sandbox_launcher.py', 'r+')",
    "/etc": "write('/etc/pada-sandbox-test')",
    "/tmp": "write('/tmp/pada-sandbox-test')",
    "/dev/shm": "write('/dev/shm/pada-sandbox-test')",
    "TCP": "call(socket.AF_INET, socket.SOCK_STREAM, ('127.0.0.1', PORT))",
    "UDP": "call(socket.AF_INET, socket.SOCK_DGRAM, ('127.0.0.1', PORT))",
    "a unix socket": "call(socket.AF_UNIX, socket.SOCK_STREAM, f'{FOLDER}/socket')",
    "an abstract socket": "call(socket.AF_UNIX, socket.SOCK_STREAM, chr(0) + FOLDER)",
    "a socket of the kernel": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "a pair of sockets that can be connected": "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    "a second connection of a pair": "socket.socketpair()[0].connect(f'{FOLDER}/socket')",
    "shared memory of System V": "libc.shmget(0, 4096, 0o1600) >= 0",
    "a file in memory": "os.memfd_create('x')",
    "a queue": "libc.mq_open(b'/pada-sandbox-test', 0o102, 0o600, None) >= 0",
    "a signal to pada": "os.kill(PID, 0)",
    "a signal to the parent": "os.getppid() and os.kill(os.getppid(), 0)",
    "signals by a descriptor": "__import__('fcntl').fcntl(os.pipe()[0], 8, PID)",
    "the limits of pada": "resource.prlimit(PID, resource.RLIMIT_CPU, (1, 1))",
    "a handle on pada": "os.pidfd_open(PID)",
    "the priority of all": "libc.setpriority(2, 0, 19) == 0",
    "a debugger": "libc.ptrace(16, PID, None, None) == 0",
    "a namespace": "libc.unshare(0x10000000) == 0",
    "root": "os.getuid() != 0 and os.setuid(0)",
    "another user": "os.setuid(1)",
    "a new root": "os.chroot('.')",
    "io_uring": "libc.syscall(425, 1, ctypes.create_string_buffer(120)) >= 0",
    "a call that is newer than we": "libc.syscall(471) >= 0 or ctypes.get_errno() != 38",
    "processes that are none of its own": "any(int(p) != os.getpid() for p in os.listdir('/proc') if p.isdecimal())",
}
ATTACK = TRY + "".join(f"attempt({name!r})(lambda: {code})\n" for name, code in ATTACKS.items()) + "print(reached)"

USES = {
    "modules": "import asyncio, ctypes, decimal, hashlib, sqlite3, ssl, uuid, xml.etree.ElementTree, zoneinfo, multiprocessing",
    "asyncio": "import asyncio\nasync def f(): await asyncio.sleep(0); return 1\nassert asyncio.run(f()) == 1",
    "threads": "from concurrent.futures import ThreadPoolExecutor as P\nassert sum(P(4).map(abs, range(9))) == 36",
    "a child": "import os\npid = os.fork()\nif pid == 0: os._exit(3)\nassert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3",
    "a command": "import subprocess\nassert subprocess.run(['/bin/echo', 'hi'], capture_output=True).stdout == b'hi\\n'",
    "a database": "import sqlite3\nc = sqlite3.connect('x.db'); c.execute('create table t (a)'); c.commit()\nimport os; assert os.path.getsize('x.db')",
    "temporary files": "import tempfile, os\nwith tempfile.TemporaryDirectory() as d: open(os.path.join(d, 'x'), 'w').write('1')",
    "folders": "import os, shutil\nos.makedirs('a/b'); open('a/b/c', 'w').close(); shutil.copytree('a', 'd'); shutil.move('d/b', 'e'); shutil.rmtree('a')\nassert os.listdir('e') == ['c']",
    "copies and modes": "import os, shutil, pathlib\npathlib.Path('p').touch(); os.chmod('p', 0o600); shutil.copy2('p', 'q'); os.utime('q'); os.truncate('q', 3)\nassert os.path.getsize('q') == 3",
    "digests": "import hashlib\nassert hashlib.sha256(b'').hexdigest().startswith('e3b0') and hashlib.md5(b'').hexdigest()",
    "time zones": "import time, datetime\ntime.localtime(); datetime.datetime.now().astimezone()",
    "its own source": "import inspect\nassert inspect.getsource(probe).startswith('def probe')",
    "its own end": "import signal, os, threading\nhits = []\nsignal.signal(signal.SIGUSR1, lambda *a: hits.append(1)); os.kill(os.getpid(), signal.SIGUSR1); signal.raise_signal(signal.SIGUSR1)\nassert len(hits) == 2",
    "the machine": "import os, platform\nassert os.cpu_count() >= 1 and platform.platform() and os.getcwd()",
    "odd encodings": "assert 'ä'.encode('idna') and 'ä'.encode('cp1252')",
    "chance": "import random, secrets, os\nassert len(os.urandom(8)) == 8 and secrets.token_hex() and random.random() < 1",
}
USE = (
    f"USES = {USES!r}\n"
    """
import traceback
def probe(): pass
failed = []
for name, code in USES.items():
    try:
        exec(code, {**globals()})
    except BaseException:
        failed.append((name, traceback.format_exc()[-300:]))
print(failed)
"""
)
PROGRAMS: dict[str, dict[str, Any]] = {
    "attack": {"code": ATTACK, "timeout_seconds": 20},
    "use": {"code": USE, "timeout_seconds": 20},
    "pass": {"code": "import math", "tests": "assert math.pi > 3"},
    "fail": {"code": "x = 1", "tests": "assert x == 2"},
    "change": {"code": "import os\nos.chmod(FACTS['folder'] + '/credentials', 0o777)"},
}
isolated = pytest.mark.parametrize("situation", SITUATIONS)


@cache
def run(situation: str, allow: bool = False) -> dict[str, Any]:
    try:
        names = PROGRAMS if situation in SITUATIONS else ("pass", "fail")
        return put_on(situation, {name: {**PROGRAMS[name], "allow_unisolated": allow} for name in names})
    except CannotSimulate as exc:
        return {"cannot": str(exc)}


def result(situation: str, program: str, *, allow: bool = False) -> dict[str, Any]:
    found = run(situation, allow)
    if "cannot" in found:
        pytest.skip(found["cannot"])
    answer: dict[str, Any] = found["results"][program]
    return answer


@isolated
def test_right_programs_pass_and_wrong_ones_fail(situation: str) -> None:
    assert result(situation, "pass").get("ok"), result(situation, "pass")
    assert result(situation, "fail")["reason"] == "AssertionError at 'assert x == 2'"


@isolated
def test_a_program_reaches_nothing_outside(situation: str) -> None:
    attack = result(situation, "attack")
    assert attack["isolated"] and attack["output_tail"] == "[]", attack
    assert run(situation)["calls"] == []


@isolated
def test_what_is_outside_stays_as_it_is(situation: str) -> None:
    result(situation, "change")
    assert run(situation)["bait"]["text"] == KEY
    assert run(situation)["bait"]["mode"] == 0o600
    assert sorted(run(situation)["bait"]["names"]) == ["credentials", "socket"]
    assert run(situation)["left"] == []


@isolated
def test_what_programs_use_is_there(situation: str) -> None:
    assert result(situation, "use")["output_tail"] == "[]"


@pytest.mark.parametrize("situation", UNISOLATED)
def test_programs_that_cannot_be_isolated_are_not_run(situation: str) -> None:
    assert "task.allow_unisolated_code" in result(situation, "pass")["error"]


@pytest.mark.parametrize("situation", UNISOLATED)
def test_where_a_user_allows_it_they_are_run_and_are_said_not_to_be_isolated(situation: str) -> None:
    passed = result(situation, "pass", allow=True)
    assert (passed["ok"], passed["isolated"]) == (True, False)
    assert not result(situation, "fail", allow=True)["ok"]
