"""A `llama-server` of the user's own: a program that answers /health and writes down how it was started."""

import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from pada_agent.app.adapters.llm import local_engine, own_llama_server
from pada_agent.core.errors import ConfigError, ModelUnavailableError

PROGRAM = """#!{python}
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

arguments = sys.argv[1:]
model, port = arguments[arguments.index("--model") + 1], int(arguments[arguments.index("--port") + 1])
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


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("/nowhere/llama-server -ngl 99", "PADA_LLAMA_SERVER: /nowhere/llama-server is not a program"),
        ("'unclosed", "PADA_LLAMA_SERVER cannot be read"),
    ],
)
def test_a_name_that_is_no_program_is_named(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    monkeypatch.setenv("PADA_LLAMA_SERVER", value)
    with pytest.raises(ConfigError, match=message):
        own_llama_server.find_command()


@pytest.mark.parametrize("value", ["", "  "])
def test_without_a_name_the_wheel_serves(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PADA_LLAMA_SERVER", value)
    assert own_llama_server.find_command() == ()
