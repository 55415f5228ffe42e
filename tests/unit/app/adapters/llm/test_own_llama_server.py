"""A `llama-server` of the user's own: a program that answers /health and writes down how it was started."""

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import psutil
import pytest

from pada_agent.app.adapters.llm import local_engine, own_llama_server
from pada_agent.core.errors import ConfigError, ModelUnavailableError

PROGRAM = """#!{python}
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

arguments = sys.argv[1:]
model = arguments[arguments.index("--model") + 1]
port = int(dict(zip(arguments[::2], arguments[1::2]))["--port"])
if "broken" in model:
    sys.exit("error: the model cannot be read")
with open(model + ".json", "w") as file:
    json.dump({{"pid": os.getpid(), "arguments": arguments, "key": os.environ["LLAMA_API_KEY"]}}, file)

class Handler(BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Handler.asked += 1
        self.send_response(503 if Handler.asked == 1 else 200)
        self.end_headers()
    def log_message(self, *_):
        pass

HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "my llama-server"
    path.write_text(PROGRAM.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PADA_LLAMA_SERVER", f"'{path}' --threads 3")
    yield path
    for file in list(local_engine._engines):
        local_engine._engines[file].n_users = 0
    local_engine.keep_idle(False)


def make_file(folder: Path, name: str = "model.gguf") -> Path:
    file = folder / name
    file.write_bytes(b"GGUF")
    return file


def write_wrapper(program: Path, *options: str) -> Path:
    """A script that starts the program as its child, with further options."""
    path = program.with_name("wrap.sh")
    path.write_text(f"#!/bin/sh\necho loading >&2\n'{program}' \"$@\" {' '.join(options)}\n")
    path.chmod(0o755)
    return path


def wait_for_pid(file: Path) -> int:
    for _ in range(200):
        if file.exists() and (text := file.read_text().strip()):
            return int(text)
        time.sleep(0.05)
    raise AssertionError(f"{file} was not written")


def wait_until_gone(pid: int) -> None:
    for _ in range(200):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    raise AssertionError(f"{pid} still runs")


@pytest.mark.usefixtures("program")
def test_it_serves_in_place_of_the_wheel_and_ends_with_its_last_user(tmp_path: Path) -> None:
    file = make_file(tmp_path)
    endpoint = local_engine.acquire(file, n_slots=4, context_tokens=512)
    assert httpx.get(endpoint.url.removesuffix("/v1") + "/health").status_code == 200, "the model is loaded"
    started = json.loads(file.with_name("model.gguf.json").read_text())
    assert started["key"] == endpoint.key
    given = dict(zip(started["arguments"][::2], started["arguments"][1::2], strict=True))
    assert (given["--parallel"], given["--ctx-size"], given["--host"]) == ("4", "2048", "127.0.0.1")
    assert started["arguments"][-2:] == ["--threads", "3"], "the user's own options prevail"
    local_engine.release(file)
    wait_until_gone(started["pid"])


@pytest.mark.usefixtures("program")
def test_it_decides_itself_whether_there_is_enough_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_engine.psutil, "virtual_memory", lambda: SimpleNamespace(available=3))
    assert local_engine.acquire(make_file(tmp_path), n_slots=1, context_tokens=512)


@pytest.mark.usefixtures("program")
def test_it_is_started_again_when_it_has_died(tmp_path: Path) -> None:
    file = make_file(tmp_path)
    endpoint = local_engine.acquire(file, n_slots=1, context_tokens=512)
    first = json.loads(file.with_name("model.gguf.json").read_text())["pid"]
    os.kill(first, 9)
    for _ in range(200):
        if not local_engine.is_reachable(file, endpoint):
            break
        time.sleep(0.05)
    assert not local_engine.is_reachable(file, endpoint)
    local_engine.acquire(file, n_slots=1, context_tokens=512)
    assert json.loads(file.with_name("model.gguf.json").read_text())["pid"] != first


@pytest.mark.usefixtures("program")
def test_what_it_said_last_is_the_reason_why_it_did_not_start(tmp_path: Path) -> None:
    with pytest.raises(
        ModelUnavailableError, match=r"broken\.gguf in .*my llama-server: error: the model cannot be read"
    ):
        local_engine.acquire(make_file(tmp_path, "broken.gguf"), n_slots=1, context_tokens=512)


def test_one_that_is_not_ready_in_time_is_ended_and_its_last_line_shown(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PADA_LLAMA_SERVER", str(write_wrapper(program, "--port", str(own_llama_server._find_port()))))
    monkeypatch.setattr(local_engine, "START_SECONDS", 5.0)
    file = make_file(tmp_path)
    with pytest.raises(ModelUnavailableError, match=r"not ready after 5 seconds; its last line: loading"):
        local_engine.acquire(file, n_slots=1, context_tokens=512)
    wait_until_gone(json.loads(file.with_name("model.gguf.json").read_text())["pid"])


def test_the_server_behind_a_script_ends_with_the_run(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PADA_LLAMA_SERVER", str(write_wrapper(program)))
    file = make_file(tmp_path)
    local_engine.acquire(file, n_slots=1, context_tokens=512)
    (engine,) = local_engine._engines.values()
    assert engine.process.stdin is not None
    engine.process.stdin.close()  # as when the run is killed
    wait_until_gone(json.loads(file.with_name("model.gguf.json").read_text())["pid"])


def test_a_server_that_still_loads_ends_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "loading.sh"
    script.write_text('#!/bin/sh\necho $$ > "$2.pid"\nsleep 60\n')
    script.chmod(0o755)
    monkeypatch.setenv("PADA_LLAMA_SERVER", str(script))
    monkeypatch.setenv("PADA_ENGINE_KEY", "key")
    file = make_file(tmp_path)
    command = [*local_engine.SERVER, str(file), "1", "512"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    pid = wait_for_pid(file.with_name("model.gguf.pid"))
    process.communicate(timeout=20)
    wait_until_gone(pid)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("/nowhere/llama-server -ngl 99", "PADA_LLAMA_SERVER: /nowhere/llama-server is not a program"),
        ("'unclosed", "PADA_LLAMA_SERVER cannot be read"),
        ("true --port 18977", r"PADA_LLAMA_SERVER: the run itself decides --port\. Leave it out\."),
        ("true --host=0.0.0.0", r"the run itself decides --host\. Leave it out\."),
        ("true -t 3 --api-key secret", r"the run itself decides --api-key\. Leave it out\."),
        ("true --ctx-size 9", r"the run itself decides --ctx-size\. Set context_tokens of the model instead\."),
        ("true -np 9", r"the run itself decides -np\. Set max_concurrency of the model instead\."),
    ],
)
def test_a_command_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    monkeypatch.setenv("PADA_LLAMA_SERVER", value)
    with pytest.raises(ConfigError, match=message):
        own_llama_server.find_command()


@pytest.mark.parametrize("value", ["", "  "])
def test_without_a_name_the_wheel_serves(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PADA_LLAMA_SERVER", value)
    assert own_llama_server.find_command() == ()
