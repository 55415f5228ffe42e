"""The embedded llama.cpp engine: one child process per model file, shared by the roles that use it."""

import os
import re
import secrets
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import IO, NamedTuple, TypeVar

import psutil

from pada_agent.app.adapters.llm import own_llama_server
from pada_agent.core.errors import ModelUnavailableError
from pada_agent.core.lines import split_lines
from pada_agent.core.machine import add_waiting

ClientT = TypeVar("ClientT")

SERVER = (sys.executable, "-m", "pada_agent.app.adapters.llm.engine_process")
START_SECONDS = 600.0
"""Time for loading a model. Our default: enough for 60 GB from a disk that reads 100 MB per second."""
_PART = re.compile(r"(?P<name>.+)-\d{5}-of-(?P<count>\d{5})\.gguf")


class Shape(NamedTuple):
    """How much an engine can be asked at a time."""

    n_slots: int
    """Number of requests in progress."""
    context_tokens: int
    """Per slot."""

    def join(self, other: "Shape") -> "Shape":
        """What is enough for both."""
        return Shape(max(self.n_slots, other.n_slots), max(self.context_tokens, other.context_tokens))


class Endpoint(NamedTuple):
    """Where an engine can be reached."""

    url: str
    """OpenAI-compatible base URL on a loopback port."""
    key: str


@dataclass
class Engine:
    """A running engine, and how many users it has."""

    process: subprocess.Popen[str]
    endpoint: Endpoint
    shape: Shape
    n_users: int = 0


_engines: dict[Path, Engine] = {}
_keeps_idle = False
_lock = RLock()
"""Re-entrant: a signal handler may close while its thread connects."""


def acquire(file: Path, *, n_slots: int, context_tokens: int) -> Endpoint:
    """Where the model file's engine can be reached. It starts with the first call, and again if it died.

    If it is too small for the caller, it starts again with enough for everybody. Answers in progress are lost then, and have to be
    asked for again.

    Args:
        context_tokens: per slot.

    Raises:
        ModelUnavailableError: the file does not exist or is not a model, there is not enough memory, or the engine did not start in
            time.
    """
    with _lock:
        shape, engine = Shape(n_slots, context_tokens), _engines.get(file)
        if engine is None:
            _engines[file] = engine = Engine(*_start(file, shape), shape)
        shape = shape.join(engine.shape)
        if engine.process.poll() is not None or engine.shape != shape:
            _end(engine.process)
            engine.process, engine.endpoint = _start(file, shape)
            engine.shape = shape
        engine.n_users += 1
        return engine.endpoint


def make_client(file: Path | None, make: Callable[[], ClientT]) -> tuple[ClientT, Endpoint | None]:
    """What `make` makes, and where the model file's engine, which it acquires, can be reached.

    Nobody can start the engine again in between. Without a file, there is no engine.
    """
    if file is None:
        return make(), None
    with _lock:
        client, engine = make(), _engines.get(file)
        return client, engine.endpoint if engine else None


def is_reachable(file: Path, endpoint: Endpoint) -> bool:
    """Whether the model file's engine runs and can be reached there.

    It may have died, most likely for lack of memory, or it may have been started again since, for another user.
    """
    with _lock:
        engine = _engines.get(file)
        return engine is not None and engine.endpoint == endpoint and engine.process.poll() is None


def release(file: Path) -> None:
    """Release an engine. When its last user does, it ends, even in the middle of an answer, unless idle engines are kept."""
    with _lock:
        engine = _engines.get(file)
        if engine is None:
            return
        engine.n_users -= 1
        _end_idle()


def keep_idle(keep: bool) -> None:
    """Set whether engines outlive their last user, so that the next one finds them warm. False ends those that are idle."""
    global _keeps_idle
    with _lock:
        _keeps_idle = keep
        _end_idle()


def _end_idle() -> None:
    if _keeps_idle:
        return
    for file in [f for f, engine in _engines.items() if engine.n_users == 0]:
        _end(_engines.pop(file).process)


def _start(file: Path, shape: Shape) -> tuple[subprocess.Popen[str], Endpoint]:
    if not file.is_file():
        raise ModelUnavailableError(
            f"local model {file}: no such file. `pada models list` shows the models on this machine."
        )
    if not own_llama_server.find_command():  # it may use a GPU's memory
        _check_memory(file)
    key = secrets.token_hex(16)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            [*SERVER, str(file), *map(str, shape)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=add_waiting(os.environ) | {"PADA_ENGINE_KEY": key},
            start_new_session=True,  # Ctrl-C is for the parent, which decides
        )
        stdout: IO[str] = process.stdout  # type: ignore[assignment]
        is_in_time = bool(select.select([stdout], [], [], START_SECONDS)[0])
        url = stdout.readline().strip() if is_in_time else ""
        if not url:
            _end(process)
            log.seek(0)
            last = (split_lines(log.read().strip()) or ["it said nothing"])[-1]
            own = own_llama_server.find_command()
            late = "" if is_in_time else f"not ready after {START_SECONDS:g} seconds; its last line: "
            raise ModelUnavailableError(f"local model {file}{f' in {own[0]}' if own else ''}: {late}{last}")
    return process, Endpoint(url, key)


def _end(process: subprocess.Popen[str]) -> None:
    """End the engine, and with it the program that it may have started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _check_memory(file: Path) -> None:
    """llama.cpp maps the file into memory. Without room for it, every token would have to be read from disk."""
    available = psutil.virtual_memory().available
    size = sum(part.stat().st_size for part in _list_parts(file))
    if size > available:
        raise ModelUnavailableError(
            f"local model {file.name} needs {size / 2**30:.1f} GiB of memory, but only "
            f"{available / 2**30:.1f} GiB are available. Close other programs, or choose a smaller model."
        )


def _list_parts(file: Path) -> list[Path]:
    """The files of a model that is split as `NAME-00001-of-00003.gguf`, of which llama.cpp is given the first. Or the file alone."""
    found = _PART.fullmatch(file.name)
    if not found:
        return [file]
    names = [f"{found['name']}-{n:05}-of-{found['count']}.gguf" for n in range(1, int(found["count"]) + 1)]
    return [part for name in names if (part := file.with_name(name)).is_file()]
