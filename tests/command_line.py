"""The command line as a child process, on the toy world with a tiny student and a teacher behind HTTP."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.tiny_models import save_embedder, save_student
from tests.toy_world import LABELS, TEST, TRAIN, VALIDATION

MAX_IN_FLIGHT = 8
VOLATILE = {"seconds_by_stage", "peak_memory_mb", "usage", "name", "config_hash", "student"}


def make_settings(folder: Path) -> dict[str, Any]:
    """Write the world's files into `folder`; all settings but the teacher's."""
    data = {}
    for split, rows in (("train", TRAIN), ("validation", VALIDATION), ("test", TEST)):
        path = folder / f"{split}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        data[split] = str(path)
    return {
        "task": {"name": "multiple_choice", "labels": LABELS},
        "data": data,
        "student": {"model": str(save_student(folder / "student"))},
        "lora": {"rank": 2, "alpha": 2, "epochs": 1},
        "analysis": {"errors_per_call": 2, "max_clusters": 3},
        "generation": {"share": 1.0, "rows_per_call": 2},
        "loop": {"max_iterations": 1},
        "models": {"embedder": str(save_embedder(folder / "embedder"))},
        "compute": {"device": "cpu", "threads": 1},
    }


def write_config(settings: dict[str, Any], folder: Path, url: str) -> Path:
    """A config file whose run folder is `folder`/r; all three roles ask the teacher at `url`."""
    teacher = {"model": "openai:toy", "base_url": url, "max_concurrency": MAX_IN_FLIGHT}
    models = {**settings["models"], "analyst": teacher, "generator": teacher, "judge": teacher}
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({**settings, "name": "r", "runs_folder": str(folder), "models": models}))
    return path


def start(*arguments: str) -> subprocess.Popen[str]:
    """`pada ARGUMENTS`, in a session of its own."""
    command = [sys.executable, "-m", "pada_agent.app.cli", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(*arguments: str, code: int = 0) -> str:
    """What `pada ARGUMENTS` printed; it must end with `code`."""
    process = start(*arguments)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == code, output
    return output


def read_summary(folder: Path) -> dict[str, Any]:
    """The finished run's summary, without what differs between two equal runs."""
    summary = json.loads((folder / "r" / "summary.json").read_text())
    return {key: value for key, value in summary.items() if key not in VOLATILE}
