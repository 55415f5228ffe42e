"""The embedded llama.cpp engine: a model file served on a loopback port of this process, with batching."""

import os
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from pada_agent.core.errors import ModelUnavailableError

PROMPT_CACHE_MIB = 512
"""Host memory for prompt prefixes seen before."""


@dataclass
class Engine:
    """A running server and how many users it has."""

    server: Any
    url: str
    n_users: int = 0


_engines: dict[Path, Engine] = {}
_lock = RLock()
"""Re-entrant: a signal handler may close while its thread connects."""


def acquire(file: Path, *, n_slots: int, context_tokens: int) -> str:
    """The OpenAI-compatible base URL of an engine for the model file, started at the first call.

    Args:
        context_tokens: per slot. The settings of the first caller hold for all.

    Raises:
        ModelUnavailableError: no such file, not a model, or not enough memory.
    """
    with _lock:
        if file not in _engines:
            _engines[file] = _start(file, n_slots=n_slots, context_tokens=context_tokens)
        _engines[file].n_users += 1
        return _engines[file].url


def release(file: Path) -> None:
    """Let go of an engine; the last user's leaving frees its memory."""
    with _lock:
        engine = _engines.get(file)
        if engine is None:
            return
        engine.n_users -= 1
        if engine.n_users == 0:
            del _engines[file]


def _start(file: Path, *, n_slots: int, context_tokens: int) -> Engine:
    import xllamacpp

    if not file.is_file():
        raise ModelUnavailableError(f"local model {file}: no such file. `pada models list` shows what is here.")
    _check_memory(file)
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_parallel = n_slots
    params.n_ctx = n_slots * context_tokens
    params.cpuparams.n_threads = _count_cores()
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.port = 0
    params.ui = False
    params.verbosity = 0
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as exc:
        raise ModelUnavailableError(f"local model {file}: the engine did not start ({exc})") from exc
    return Engine(server=server, url=f"{server.listening_address}/v1")


def _count_cores() -> int:
    """Cores this process may use: in a container fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_memory(file: Path) -> None:
    """llama.cpp maps the file; without room for it every token would come from disk."""
    available = _available_bytes()
    if available is not None and file.stat().st_size > available:
        raise ModelUnavailableError(
            f"local model {file.name} needs {file.stat().st_size / 2**30:.1f} GiB of memory, "
            f"{available / 2**30:.1f} GiB are available. Close other programs, or choose a smaller model."
        )


def _available_bytes() -> int | None:
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    line = next((row for row in meminfo.read_text().splitlines() if row.startswith("MemAvailable:")), None)
    return int(line.split()[1]) * 1024 if line else None
