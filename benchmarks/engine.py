"""An embedded engine with different settings from those of `pada` (`python -m benchmarks.engine FILE SETTINGS`).

Runs like `pada_agent.app.adapters.llm.engine_process`: prints its URL, and ends when stdin closes.
"""

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import httpx
from pydantic import Field

from benchmarks.measuring import BenchmarkError
from pada_agent.app.adapters.llm import engine_process
from pada_agent.core.machine import WAITING, add_waiting
from pada_agent.core.records import Record

SECONDS_PER_ANSWER = 900.0
SHOWN_CHARACTERS = 300


class EngineSettings(Record):
    """How an engine starts."""

    n_slots: int | None = None
    """None: the settings of llama.cpp's own `llama-server` instead of ours."""
    context_tokens: int = 2048
    """Per slot."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Other llama.cpp settings by dotted name: numbers, or dotted names of xllamacpp's constants."""
    ours_waits: bool = True
    """Whether OpenMP threads wait for each other as ours do (`core.machine.WAITING`)."""


@contextmanager
def serving(file: Path, settings: EngineSettings) -> Iterator[httpx.Client]:
    """A client for a fresh engine, so that nothing is cached yet. Paths are the server's own (`/v1/chat/completions`)."""
    key = secrets.token_hex(16)
    plain = {name: value for name, value in os.environ.items() if name not in WAITING}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.engine", str(file), settings.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=(add_waiting(plain) if settings.ours_waits else plain) | {"PADA_ENGINE_KEY": key},
        )
        try:
            url = process.stdout.readline().strip() if process.stdout else ""
            if not url:
                log.seek(0)
                raise BenchmarkError(f"the engine did not start with {settings}: {log.read()[-SHOWN_CHARACTERS:]}")
            with connect(url, key) as client:
                yield client
        finally:
            process.kill()
            process.communicate()


def connect(url: str, key: str) -> httpx.Client:
    """A client for the engine with this OpenAI-compatible base URL."""
    return httpx.Client(
        base_url=url.removesuffix("/v1"),
        headers={"Authorization": f"Bearer {key}"},
        timeout=SECONDS_PER_ANSWER,
        limits=httpx.Limits(max_connections=None),
        trust_env=False,
    )


def post(client: httpx.Client, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's answer.

    Raises:
        BenchmarkError: the engine refuses, or it has died.
    """
    try:
        response = client.post(path, json=dict(body))
    except httpx.HTTPError as exc:
        raise BenchmarkError(f"{path}: {exc!r}") from exc
    if response.is_error:
        raise BenchmarkError(f"{path}: {response.status_code} {response.text[:SHOWN_CHARACTERS]}")
    found: dict[str, Any] = response.json()
    return found


def make_params(file: str, settings: EngineSettings) -> Any:
    """`xllamacpp.CommonParams`: ours, or the defaults of `llama-server`, with the changes."""
    import xllamacpp

    if settings.n_slots is None:
        params = xllamacpp.CommonParams()
        params.model.path = file
        params.n_parallel = -1  # as `llama-server` has it: four slots with one common cache
    else:
        params = engine_process.make_params(file, n_slots=settings.n_slots, context_tokens=settings.context_tokens)
    for name, value in settings.params.items():
        assign(params, name, value)
    return params


def assign(params: Any, name: str, value: Any) -> None:
    """Set `params.a.b` and check that it took effect, because attributes set on a copy would be silently lost.

    Raises:
        BenchmarkError: there is no such setting, or it keeps its value.
    """
    import xllamacpp

    parent, _, last = name.rpartition(".")
    wanted = [_resolve(v, xllamacpp) for v in value] if isinstance(value, list) else _resolve(value, xllamacpp)
    try:
        getattr(attrgetter(parent)(params) if parent else params, last)
        setattr(attrgetter(parent)(params) if parent else params, last, wanted)
    except AttributeError as exc:
        raise BenchmarkError(f"llama.cpp has no setting {name}: {exc}") from exc
    if (found := attrgetter(name)(params)) != wanted:
        raise BenchmarkError(f"llama.cpp's setting {name} is {found} after it was set to {wanted}")


def _resolve(value: Any, constants: Any) -> Any:
    is_name = isinstance(value, str) and hasattr(constants, value.partition(".")[0])
    return attrgetter(value)(constants) if is_name else value


if __name__ == "__main__":
    engine_process.serve(make_params(sys.argv[1], EngineSettings.model_validate_json(sys.argv[2])))
