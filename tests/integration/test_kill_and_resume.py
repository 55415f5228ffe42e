"""The command line, killed for good in every stage and resumed: the same result, nothing paid for twice."""

import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import finish, read_summary, start
from tests.openai_server import serving
from tests.tiny_world import MAX_IN_FLIGHT, save_world, write_config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

STAGES = [
    "evaluate_untouched",
    "fine_tune",
    "evaluate",
    "collect_errors",
    "error_analysis",
    "strategy_drafting",
    "data_generation",
    "quality_control",
    "augment",
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return save_world(tmp_path_factory.mktemp("world"))


def kill_when(process: subprocess.Popen[str], events: Path, stage: str) -> bool:
    """SIGKILL once the events show the stage; False if the run ended before."""
    while process.poll() is None:
        if events.exists() and f'"{stage}"' in events.read_text():
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            return True
        time.sleep(0.01)
    process.communicate()
    return False


def list_jobs(folder: Path) -> set[str]:
    """Addresses of the student's jobs: one more would be work done twice."""
    return {p.name for p in (folder / "r" / "objects").iterdir() if p.name.startswith(("fine_tune", "predict"))}


def test_killed_in_every_stage_the_run_ends_as_if_it_had_not_been(settings: dict[str, Any], tmp_path: Path) -> None:
    n_kills = 0
    with serving() as server:
        (tmp_path / "straight").mkdir()
        finish("run", str(write_config(settings, tmp_path / "straight", server.url)))
        asked_straight = set(server.asked)
        server.asked.clear()
        (tmp_path / "cut").mkdir()
        config = write_config(settings, tmp_path / "cut", server.url)
        for stage in STAGES:
            n_kills += kill_when(start("run", str(config)), tmp_path / "cut" / "r" / "events.jsonl", stage)
        finish("resume", str(tmp_path / "cut" / "r"))
    assert n_kills == len(STAGES)
    assert read_summary(tmp_path / "cut") == read_summary(tmp_path / "straight")
    assert set(server.asked) == asked_straight
    repeated = sum(server.asked.values()) - len(server.asked)
    assert repeated <= n_kills * MAX_IN_FLIGHT
    assert list_jobs(tmp_path / "cut") == list_jobs(tmp_path / "straight")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_after_a_signal_no_call_is_begun_and_those_under_way_are_kept(
    settings: dict[str, Any], tmp_path: Path, number: signal.Signals
) -> None:
    with serving(delay_seconds=1.5) as server:
        config = write_config(settings, tmp_path, server.url)
        process = start("run", str(config))
        while process.poll() is None and len(server.asked) < 3:
            time.sleep(0.02)
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode == 130
        asked = dict(server.asked)
        with closing(sqlite3.connect(tmp_path / "r" / "llm_calls.sqlite")) as calls:
            (n_stored,) = calls.execute("SELECT COUNT(*) FROM calls").fetchone()
        assert n_stored == sum(asked.values()), "every call that was begun is kept, and none was begun after the signal"
        finish("resume", str(tmp_path / "r"))
        assert max(server.asked.values()) == 1, "nothing is paid for twice"
