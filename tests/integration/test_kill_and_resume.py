"""The command line, killed for good in every stage and resumed: the same result, nothing paid for twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

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
VOLATILE = {"seconds_by_stage", "peak_memory_mb", "usage", "name", "config_hash", "student"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return save_world(tmp_path_factory.mktemp("world"))


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pada_agent.app.cli", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(*arguments: str) -> None:
    process = start(*arguments)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output


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


def read_summary(folder: Path) -> dict[str, Any]:
    summary = json.loads((folder / "r" / "summary.json").read_text())
    return {key: value for key, value in summary.items() if key not in VOLATILE}


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
