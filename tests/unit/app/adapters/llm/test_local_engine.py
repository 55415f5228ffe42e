"""Sharing the embedded engine, with an engine process that loads nothing."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from pada_agent.app.adapters.llm import local_engine
from pada_agent.app.adapters.llm.chat_models import ChatModelAdapter, make_language_model
from pada_agent.app.adapters.llm.clients import ChatClient, OpenAIClient
from pada_agent.app.adapters.llm.limits import Budget, CallGate
from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.app.adapters.storage import model_store
from pada_agent.core.config import BudgetConfig, ModelConfig
from pada_agent.core.errors import ModelUnavailableError
from pada_agent.core.machine import WAITING

FAKE = """
import os, sys
if "broken" in sys.argv[1]:
    sys.exit("noise\\nthe engine did not start (not a model)")
if "waiting" in sys.argv[1]:
    with open(sys.argv[1] + ".env", "w") as file:
        file.write(os.environ.get("OMP_WAIT_POLICY", "") + os.environ.get("GOMP_SPINCOUNT", ""))
print(f"http://127.0.0.1:{os.getpid()}/v1", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def fake_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(local_engine, "SERVER", (sys.executable, "-c", FAKE))
    yield
    for file in list(local_engine._engines):
        local_engine._engines[file].n_users = 0
    local_engine.keep_idle(False)


def make_file(folder: Path, name: str = "model.gguf") -> Path:
    file = folder / name
    file.write_bytes(b"GGUF")
    return file


def make_role(folder: Path, **settings: Any) -> ChatModelAdapter:
    config = ModelConfig(model="local:toy", **settings)
    cache = ResponseCache(folder / "llm_calls.sqlite")
    budget = Budget(BudgetConfig(), cache.totals)
    return make_language_model(config, role="judge", cache=cache, budget=budget, gate=CallGate(config))


def address_of(client: ChatClient) -> str:
    assert isinstance(client, OpenAIClient)
    return str(client.chat.openai_api_base)


def kill_engine() -> None:
    (engine,) = local_engine._engines.values()
    engine.process.kill()
    engine.process.wait()


def pid_of(endpoint: local_engine.Endpoint) -> int:
    return int(endpoint.url.split(":")[2].split("/")[0])


@pytest.mark.parametrize(("policy", "found"), [(None, "PASSIVE30000"), ("ACTIVE", "ACTIVE")])
def test_its_threads_sleep_soon_while_they_wait_unless_the_user_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str | None, found: str
) -> None:
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)
    if policy:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    file = make_file(tmp_path, "waiting.gguf")
    local_engine.acquire(file, n_slots=8, context_tokens=512)
    local_engine.release(file)
    assert file.with_name("waiting.gguf.env").read_text() == found


def test_a_model_file_has_one_engine_until_its_last_user_leaves(tmp_path: Path) -> None:
    file = make_file(tmp_path)
    first, second = (local_engine.acquire(file, n_slots=8, context_tokens=512) for _ in range(2))
    assert first == second
    local_engine.release(file)
    assert local_engine.acquire(file, n_slots=8, context_tokens=512) == first
    local_engine.release(file)
    local_engine.release(file)
    assert not psutil.pid_exists(pid_of(first))
    assert local_engine.acquire(file, n_slots=8, context_tokens=512) != first


def test_an_idle_engine_waits_for_the_next_user_while_idle_ones_are_kept(tmp_path: Path) -> None:
    file = make_file(tmp_path)
    local_engine.keep_idle(True)
    first = local_engine.acquire(file, n_slots=8, context_tokens=512)
    local_engine.release(file)
    assert local_engine.acquire(file, n_slots=8, context_tokens=512) == first
    local_engine.release(file)
    assert local_engine.acquire(file, n_slots=8, context_tokens=1024) != first, "too small for the next user"
    assert not psutil.pid_exists(pid_of(first))
    local_engine.release(file)
    local_engine.keep_idle(False)
    assert not local_engine._engines


def test_an_engine_that_died_is_started_again(tmp_path: Path) -> None:
    file = make_file(tmp_path)
    dead = local_engine.acquire(file, n_slots=1, context_tokens=512)
    os.kill(pid_of(dead), 9)
    while psutil.pid_exists(pid_of(dead)) and psutil.Process(pid_of(dead)).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert local_engine.acquire(file, n_slots=1, context_tokens=512) != dead


def test_a_role_asks_the_new_engine_where_the_old_one_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_store, "resolve", lambda _: make_file(tmp_path))
    role = make_role(tmp_path)
    before = role._connect()
    kill_engine()
    assert role._connect() is not before
    role.close()
    assert not local_engine._engines
    with pytest.raises(ModelUnavailableError, match="closed"):
        role._connect()


def test_every_role_asks_the_new_engine_whoever_started_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_store, "resolve", lambda _: make_file(tmp_path))
    first, second = make_role(tmp_path), make_role(tmp_path)
    before = first._connect(), second._connect()
    kill_engine()
    after = first._connect(), second._connect()
    (engine,) = local_engine._engines.values()
    assert [address_of(client) for client in after] == [engine.endpoint.url] * 2
    assert (first._connect(), second._connect()) == after, "the new engine is kept"
    assert address_of(before[1]) != engine.endpoint.url
    first.close()
    assert engine.process.poll() is None, "the other role still uses it"
    second.close()
    assert not local_engine._engines


def test_an_engine_is_large_enough_for_every_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_store, "resolve", lambda _: make_file(tmp_path))
    analyst = make_role(tmp_path, max_concurrency=8, context_tokens=4096)
    generator = make_role(tmp_path, max_concurrency=2, context_tokens=16384)
    analyst._connect()
    (engine,) = local_engine._engines.values()
    generator._connect()
    grown = engine.endpoint
    assert engine.shape == (8, 16384)
    assert address_of(analyst._connect()) == grown.url
    kill_engine()
    analyst._connect()
    assert engine.shape == (8, 16384), "the generator's needs are remembered"
    for role in (analyst, generator):
        role.close()
    assert not local_engine._engines


def test_an_engine_that_cannot_grow_serves_those_who_need_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_store, "resolve", lambda _: make_file(tmp_path))
    analyst, generator = make_role(tmp_path), make_role(tmp_path, context_tokens=16384)
    analyst._connect()
    with monkeypatch.context() as scarce, pytest.raises(ModelUnavailableError, match="memory"):
        scarce.setattr(local_engine.psutil, "virtual_memory", lambda: SimpleNamespace(available=3))
        generator._connect()
    analyst._connect()
    (engine,) = local_engine._engines.values()
    assert engine.process.poll() is None
    assert engine.shape == (8, 4096)


def test_letting_go_of_what_was_never_started_is_harmless(tmp_path: Path) -> None:
    local_engine.release(tmp_path / "model.gguf")


def test_an_engine_that_does_not_start_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"broken\.gguf: the engine did not start \(not a model\)"):
        local_engine.acquire(make_file(tmp_path, "broken.gguf"), n_slots=1, context_tokens=512)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"none\.gguf: no such file"):
        local_engine.acquire(tmp_path / "none.gguf", n_slots=1, context_tokens=512)


def test_all_parts_of_a_split_model_have_to_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *_ = [make_file(tmp_path, f"model-0000{n}-of-00003.gguf") for n in (1, 2, 3)]
    make_file(tmp_path, "model-00004-of-00004.gguf")
    memory = SimpleNamespace(available=12)
    monkeypatch.setattr(local_engine.psutil, "virtual_memory", lambda: memory)
    local_engine.acquire(first, n_slots=1, context_tokens=512)
    local_engine.release(first)
    memory.available = 11
    with pytest.raises(ModelUnavailableError, match=r"model-00001-of-00003\.gguf needs .* GiB of memory"):
        local_engine.acquire(first, n_slots=1, context_tokens=512)


def test_too_little_memory_is_said_before_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_engine.psutil, "virtual_memory", lambda: SimpleNamespace(available=3))
    with pytest.raises(ModelUnavailableError, match=r"model\.gguf needs .* GiB of memory"):
        local_engine.acquire(make_file(tmp_path), n_slots=1, context_tokens=512)
