"""The real `langgraph dev` on a free loopback port, for tests and benchmarks."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 300
"""A few seconds on a free machine; minutes where other work takes all cores."""


@dataclass
class DevServer:
    """A server that was started in `folder`, where it keeps its state (`.langgraph_api/`)."""

    folder: Path
    url: str
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def list_workers(self) -> list[int]:
        """Process ids of the training workers that descend from the server."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and "pada_agent.training.worker" in _read_command(entry):
                found += [int(entry.name)] * (self.process.pid in _ancestors(int(entry.name)))
        return found

    def kill(self) -> None:
        """SIGKILL to the server alone; its workers end when their stdin closes."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()


def start_server(folder: Path, teacher_url: str) -> DevServer:
    """Start the graph that the repository's langgraph.json names, in `folder`; wait until it answers.

    Its workspace is the folder above; settings may name the teacher, and `embedder` in the workspace.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = json.loads((ROOT / "langgraph.json").read_text())
    (folder / "langgraph.json").write_text(json.dumps({**settings, "dependencies": [str(ROOT)]}))
    return launch(
        folder,
        PADA_WORKSPACE=str(folder.parent),
        PADA_ALLOWED_HOSTS=urlsplit(teacher_url).netloc,
        PADA_ALLOWED_MODELS=f"*,{folder.parent / 'embedder' / 'whole'}",
    )


def launch(folder: Path, **environment: str) -> DevServer:
    """Start what the folder's langgraph.json names; wait until it answers."""
    port = _free_port()
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload", "--port", str(port)]
    ours = {"PYTHONPATH": str(ROOT), "LANGSMITH_TRACING": "false", "HF_HUB_OFFLINE": "1"}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--n-jobs-per-worker", "4"],
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**os.environ, **ours, **environment},
        )
    server = DevServer(folder=folder, url=f"http://127.0.0.1:{port}", process=process)
    _wait_until_ready(server)
    return server


@contextmanager
def running_server(folder: Path, teacher_url: str) -> Iterator[DevServer]:
    server = start_server(folder, teacher_url)
    try:
        yield server
    finally:
        server.stop()


def _wait_until_ready(server: DevServer) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            if httpx.get(f"{server.url}/ok", timeout=2).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    server.process.kill()
    raise AssertionError(f"langgraph dev did not answer:\n{server.log[-3000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        found.append(pid)
    return found


def _read_command(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_text()
    except OSError:
        return ""
