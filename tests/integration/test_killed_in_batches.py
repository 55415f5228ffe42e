"""The command line with its LLM calls in batches, killed for good while it waits for them, and resumed."""

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.batch_server import BatchServer, serving_batches
from tests.command_line import finish, read_summary, start
from tests.tiny_world import save_world, write_config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
N_KILLS = 4


def kill_after_next_batch(server: BatchServer, config: Path) -> None:
    n_before = len(server.batches)
    process = start("run", str(config))
    while process.poll() is None and len(server.batches) == n_before:
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it had sent a batch"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def write_settings(settings: dict[str, Any], folder: Path, server: BatchServer, **more: Any) -> Path:
    folder.mkdir()
    teacher = {"model": "openai:toy", "base_url": f"{server.address}/v1", **more}
    return write_config(settings, folder, "", analyst=teacher, generator=teacher, judge=teacher)


def test_a_killed_run_finds_its_batches_again_and_pays_nothing_twice(tmp_path: Path) -> None:
    settings = save_world(tmp_path / "world")
    in_batches = {"economy": "batch", "batch_window_seconds": 0.5, "batch_poll_seconds": 0.2}
    with serving_batches() as server:
        finish("run", str(write_settings(settings, tmp_path / "straight", server)))
        n_calls = len(server.ordinary)
        server.ordinary.clear()
        config = write_settings(settings, tmp_path / "cut", server, **in_batches)
        for _ in range(N_KILLS):
            kill_after_next_batch(server, config)
        told = finish("resume", str(tmp_path / "cut" / "r"))
    keys = Counter(key for batch in server.batches.values() for key in batch.calls)
    assert max(keys.values()) == 1, "no call was sent twice"
    assert len(keys) == n_calls
    assert not server.ordinary
    assert read_summary(tmp_path / "cut") == read_summary(tmp_path / "straight")
    assert "[llm_batch]" in told
