"""One test per property of the sandbox."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import SandboxError
from pada_agent.evaluation import sandbox
from pada_agent.evaluation.sandbox import run_program
from pada_agent.evaluation.tasks.code import UNISOLATED
from pada_agent.evaluation.tasks.registry import make_task

ISOLATED = run_program("pass").isolated
needs_isolation = pytest.mark.skipif(not ISOLATED, reason="this kernel or container allows no network or pid namespace")


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    """A command line argument by which processes of one test are recognized."""
    yield f"mark-{tmp_path.name}-{os.getpid()}"


def alive(mark: str) -> bool:
    return any(mark.encode() in path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())


def test_a_program_that_reaches_its_end_is_ok() -> None:
    result = run_program("import math, dataclasses\nprint('out', math.pi)")
    assert result.ok and not result.reason and result.output_tail.startswith("out 3.14")


def test_a_failing_assert_is_named() -> None:
    result = run_program("def f(x):\n    return x\n\nassert f(2) == 4")
    assert not result.ok
    assert result.reason == "AssertionError at 'assert f(2) == 4'"
    assert "sandbox_launcher" not in result.output_tail


@pytest.mark.parametrize("code", ["f(", "x = '\ud800'", "x = '\0'"])
def test_a_program_that_is_no_python_is_not_ok(code: str) -> None:
    assert not run_program(code).ok


@pytest.mark.parametrize("leave", ["import sys; sys.exit(0)", "import os; os._exit(0)", "raise SystemExit"])
def test_leaving_before_the_tests_does_not_pass(leave: str) -> None:
    result = run_program(f"{leave}\nassert False")
    assert (result.ok, result.reason) == (False, "the program ended before its last line")


def test_printing_what_looks_like_success_does_not_pass() -> None:
    assert not run_program("import os\nfor fd in (1, 2):\n    os.write(fd, b'isolated\\nok\\n')\nos._exit(0)").ok


def test_an_endless_loop_is_stopped() -> None:
    result = run_program("while True: pass", timeout_seconds=0.5)
    assert result.reason == "no result within 0.5 s"


def test_an_endless_sleep_is_stopped() -> None:
    result = run_program("import time; time.sleep(60)", timeout_seconds=0.5)
    assert result.reason == "no result within 0.5 s"


@pytest.mark.skipif(os.geteuid() != 0 and not ISOLATED, reason="the limit counts the user's other processes too")
def test_a_fork_bomb_is_limited() -> None:
    code = "import os, time\nn = 0\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(30)\n        n += 1\n"
    result = run_program(f"{code}except BlockingIOError:\n    print(n)\n")
    ended = result.ok and int(result.output_tail) < sandbox.MAX_PROCESSES
    # Without namespaces of its own (in a chroot, or in many containers), the kernel counts loosely, and its supervisor stops the program.
    assert ended or result.reason == f"had more than {sandbox.MAX_PROCESSES} processes and threads"


def test_memory_is_limited() -> None:
    assert run_program("x = bytearray(300 * 2**20)", memory_mb=200).reason == "MemoryError"
    assert run_program("x = bytearray(100 * 2**20)", memory_mb=200).ok


def test_endless_output_is_stopped_and_only_its_end_kept() -> None:
    result = run_program("while True: print('x' * 10**6)")
    assert result.reason == "wrote more than 16 MB of output"
    assert len(result.output_tail) <= sandbox.TAIL_BYTES


def test_large_files_are_refused() -> None:
    assert "File too large" in run_program("open('big', 'wb').write(bytes(17 * 2**20))").reason


def test_open_files_are_limited() -> None:
    assert "Too many open files" in run_program("fs = [open('f', 'w') for _ in range(100)]").reason


@pytest.mark.parametrize(
    ("setup", "value"),
    [
        ("", "list({'apple', 'bread', 'cheese', 'dates', 'eggs', 'figs'})"),
        ("", "hash('a word')"),
        ("import random", "random.random()"),
    ],
)
def test_a_program_does_the_same_every_time(setup: str, value: str) -> None:
    """Otherwise a program whose answer hangs on the order of a set passes once and fails the next time."""
    outputs = {run_program(f"{setup}\nprint({value})").output_tail for _ in range(4)}
    assert len(outputs) == 1


def test_python_settings_of_the_user_do_not_reach_a_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not the standard library')")
    for name, value in (("PYTHONPATH", str(tmp_path)), ("PYTHONOPTIMIZE", "2"), ("PYTHONHASHSEED", "7")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    result = run_program(
        "import json, sys\nassert (sys.flags.optimize, sys.flags.no_user_site) == (0, 1)\nprint(hash('a'))"
    )
    assert result.ok, result.output_tail
    monkeypatch.undo()
    assert not run_program("assert False").ok and run_program("print(hash('a'))").output_tail == result.output_tail


def test_the_environment_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    result = run_program("import os\nprint(dict(os.environ))\nassert not os.environ")
    assert result.ok and result.output_tail == "{}"


def test_site_packages_and_the_project_are_out_of_reach() -> None:
    assert "ModuleNotFoundError" in run_program("import pydantic").reason
    assert "ModuleNotFoundError" in run_program("import pada_agent").reason


def test_it_starts_in_an_empty_folder_that_is_removed() -> None:
    result = run_program("import os\nopen('x', 'w').close()\nprint(os.getcwd(), sorted(os.listdir()))")
    folder, _, listing = result.output_tail.partition(" ")
    assert listing == "['x']" and not Path(folder).parent.exists()


def test_input_is_at_its_end() -> None:
    assert run_program("input()").reason.startswith("EOFError")


def test_a_crash_is_a_value() -> None:
    assert run_program("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)").reason == "killed by SIGSEGV"
    assert not run_program("import os; os.killpg(0, 9)").ok


@needs_isolation
def test_the_network_is_refused() -> None:
    result = run_program("import socket\nsocket.create_connection(('192.0.2.1', 80), timeout=2)", timeout_seconds=4)
    assert result.reason.startswith("PermissionError")


@needs_isolation
@pytest.mark.parametrize("detach", ["", "os.setsid()"])
def test_a_process_left_behind_is_killed(detach: str, mark: str) -> None:
    sleeper = f"os.execv({sys.executable!r}, ['python', '-c', 'import time; time.sleep(60)', {mark!r}])"
    code = f"import os, time\nif os.fork() == 0:\n    {detach or 'pass'}\n    {sleeper}\ntime.sleep(0.2)"
    assert run_program(code).ok
    time.sleep(0.1)
    assert not alive(mark)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a root to give up")
def test_root_is_given_up() -> None:
    assert run_program("import os\nassert os.getuid() != 0").ok
    assert "PermissionError" in run_program("open('/etc/pada-sandbox-test', 'w')").reason
    assert "Error" in run_program("import os\nos.setuid(0)").reason


def test_many_programs_run_side_by_side() -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run_program, [f"assert {i} % 2 == 0" for i in range(8)]))
    assert [r.ok for r in results] == [True, False] * 4


def test_a_sandbox_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(SandboxError, match="could not start"):
        run_program("pass")


def test_a_launcher_that_breaks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_LAUNCHER", "pada_agent.evaluation.no_such_module")
    with pytest.raises(SandboxError, match="no_such_module"):
        run_program("pass")


def test_a_failing_test_is_named_by_its_own_line() -> None:
    result = run_program("def f(x):\n    return x", tests="assert f(1) == 1\nassert f(2) == 4")
    assert (result.ok, result.reason) == (False, "AssertionError at 'assert f(2) == 4'")
    assert 'File "tests.py", line 2' in result.output_tail


def test_an_object_that_equals_everything_does_not_pass() -> None:
    always = "class A:\n    def __eq__(self, other): return True\ndef f(x): return A()"
    assert "claims to be equal to anything" in run_program(always, tests="assert f(2) == 4").reason


def test_tests_cannot_be_looked_up_as_source() -> None:
    code = "import inspect, linecache\ndef f(x): return 4 if linecache.getlines('tests.py') else 0"
    assert not run_program(code, tests="assert f(2) == 4").ok


def test_memory_of_all_processes_together_is_limited() -> None:
    code = (
        "import os, time\nfor _ in range(3):\n    if os.fork() == 0: break\nx = bytearray(150 * 2**20)\ntime.sleep(20)"
    )
    result = run_program(code, memory_mb=250, timeout_seconds=15)
    assert result.reason == "took more than 250 MB together with its child processes"


def test_memory_that_processes_share_counts_once() -> None:
    code = "import os, time\nx = bytearray(150 * 2**20)\nchildren = []\nfor _ in range(3):\n    pid = os.fork()\n    if pid == 0: time.sleep(0.5); os._exit(0)\n    children.append(pid)\nfor pid in children: os.waitpid(pid, 0)"
    assert run_program(code, memory_mb=350, timeout_seconds=15).ok


def test_threads_and_processes_are_counted_together() -> None:
    code = "import os, time, threading\nfor _ in range(40): threading.Thread(target=time.sleep, args=(5,), daemon=True).start()\nfor _ in range(40):\n    if os.fork() == 0: time.sleep(5)\ntime.sleep(5)"
    result = run_program(code)
    assert not result.ok and result.reason.startswith(("BlockingIOError", "RuntimeError", "had more than 64 processes"))


@pytest.mark.parametrize(
    "write",
    [
        "for i in range(2000): open(str(i), 'w').close()",
        "for i in range(8): open(str(i), 'wb').write(bytes(15 * 2**20))",
        "for i in range(600): os.mkdir('a' * 100); os.chdir('a' * 100)",
    ],
)
def test_what_is_written_is_limited_and_removed(write: str) -> None:
    before = set(Path(tempfile.gettempdir()).glob("pada-sandbox-*"))
    result = run_program(f"import os, time\n{write}\ntime.sleep(5)")
    assert result.reason.startswith(f"made more than {sandbox.MAX_FILES} files")
    assert set(Path(tempfile.gettempdir()).glob("pada-sandbox-*")) <= before


def test_a_folder_that_is_closed_is_removed() -> None:
    result = run_program(
        "import os\nos.makedirs('a/b')\nopen('a/b/c', 'w').close()\nos.chmod('a', 0)\nprint(os.getcwd())"
    )
    assert result.ok and not Path(result.output_tail).parent.exists()


def test_one_program_leaves_no_processes_to_the_next() -> None:
    many = "import os, time\nfor _ in range(50):\n    if os.fork() == 0: time.sleep(60)"
    for _ in range(3):
        assert run_program(many).ok
        assert run_program("import threading\nt = threading.Thread(target=len, args=('',)); t.start(); t.join()").ok


def test_a_program_that_must_pass_and_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_isolated", None)
    monkeypatch.setattr(sandbox, "_CAN_PASS", "import a_module_that_is_missing")
    with pytest.raises(SandboxError, match=r"one that must pass fails \(ModuleNotFoundError"):
        run_program("pass")


def test_a_program_that_must_fail_and_passes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_isolated", None)
    monkeypatch.setattr(sandbox, "_MUST_FAIL", "")
    with pytest.raises(SandboxError, match="one that must fail passes"):
        run_program("pass")


@pytest.mark.parametrize(("isolated", "told"), [(True, ()), (False, (UNISOLATED,))])
def test_the_code_task_says_when_programs_are_not_isolated(
    monkeypatch: pytest.MonkeyPatch, isolated: bool, told: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sandbox, "_isolated", isolated)
    assert make_task(TaskConfig(name="code", allow_unisolated_code=True)).check_machine() == told
