"""Sharing the embedded engine, with an engine that loads nothing."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pada_agent.app.adapters import local_engine
from pada_agent.core.errors import ModelUnavailableError


class FakeServer:
    """Counts how many were started."""

    started: list[Any]

    def __init__(self, params: Any) -> None:
        if "broken" in params.model.path:
            raise RuntimeError("Failed to init server")
        self.started.append(params)
        self.listening_address = f"http://127.0.0.1:{1000 + len(self.started)}"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    FakeServer.started = []
    make_params = lambda: SimpleNamespace(model=SimpleNamespace(), cpuparams=SimpleNamespace())  # noqa: E731
    monkeypatch.setitem(sys.modules, "xllamacpp", SimpleNamespace(Server=FakeServer, CommonParams=make_params))
    yield FakeServer.started
    local_engine._engines.clear()


def make_file(folder: Path, name: str = "model.gguf") -> Path:
    file = folder / name
    file.write_bytes(b"GGUF")
    return file


def test_a_model_file_has_one_engine_until_its_last_user_leaves(tmp_path: Path, started: list[Any]) -> None:
    file = make_file(tmp_path)
    urls = {local_engine.acquire(file, n_slots=8, context_tokens=512) for _ in range(2)}
    assert (urls, len(started)) == ({"http://127.0.0.1:1001/v1"}, 1)
    local_engine.release(file)
    assert local_engine.acquire(file, n_slots=8, context_tokens=512) in urls
    local_engine.release(file)
    local_engine.release(file)
    assert local_engine.acquire(file, n_slots=8, context_tokens=512) not in urls


def test_the_context_is_for_all_slots_together(tmp_path: Path, started: list[Any]) -> None:
    local_engine.acquire(make_file(tmp_path), n_slots=8, context_tokens=512)
    assert (started[0].n_parallel, started[0].n_ctx, started[0].port) == (8, 4096, 0)


def test_letting_go_of_what_was_never_started_is_harmless(tmp_path: Path) -> None:
    local_engine.release(tmp_path / "model.gguf")


@pytest.mark.usefixtures("started")
def test_an_engine_that_does_not_start_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"broken\.gguf: the engine did not start"):
        local_engine.acquire(make_file(tmp_path, "broken.gguf"), n_slots=1, context_tokens=512)


@pytest.mark.usefixtures("started")
def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"none\.gguf: no such file"):
        local_engine.acquire(tmp_path / "none.gguf", n_slots=1, context_tokens=512)


@pytest.mark.usefixtures("started")
def test_too_little_memory_is_said_before_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_engine, "_available_bytes", lambda: 3)
    with pytest.raises(ModelUnavailableError, match=r"model\.gguf needs .* GiB of memory"):
        local_engine.acquire(make_file(tmp_path), n_slots=1, context_tokens=512)
