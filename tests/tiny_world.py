"""Settings of a whole run that is real but tiny: rows in files, a student and an embedder made on the spot, a teacher at a URL."""

import json
from pathlib import Path
from typing import Any

import yaml

from tests.toy_world import LABELS, TEST, TRAIN, VALIDATION, make_rows

MAX_IN_FLIGHT = 8
HELD_BACK = make_rows("held", [(f"figs and sloes, box {n} of the {n}th lot", "fruit") for n in range(9)])


def save_world(folder: Path) -> dict[str, Any]:
    """Write rows and models; the settings that name them, without the LLM roles."""
    from tests.tiny_models import save_embedder, save_student

    return save_rows(folder, student=save_student(folder / "student"), embedder=save_embedder(folder / "embedder"))


def save_rows(folder: Path, *, student: Path, embedder: Path) -> dict[str, Any]:
    """As `save_world`, with models that lie somewhere."""
    data = {}
    for split, rows in (("train", TRAIN), ("validation", VALIDATION), ("test", TEST)):
        path = folder / f"{split}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        data[split] = str(path)
    return {
        "task": {"name": "multiple_choice", "labels": LABELS},
        "data": data,
        "student": {"model": str(student)},
        "lora": {"rank": 2, "alpha": 2, "epochs": 1},
        "analysis": {"errors_per_call": 2, "max_clusters": 3},
        "generation": {"share": 1.0, "rows_per_call": 2},
        "loop": {"max_iterations": 1},
        "guard": {"leak_similarity": None, "contamination_similarity": None},  # the embedder was never trained
        "models": {"embedder": str(embedder)},
        "compute": {"device": "cpu", "threads": 1},
    }


def write_config(settings: dict[str, Any], folder: Path, url: str, **roles: dict[str, Any]) -> Path:
    """The settings as a file, their run in `folder/r`; the teacher at `url` plays every role not given."""
    teacher = {"model": "openai:toy", "base_url": url, "max_concurrency": MAX_IN_FLIGHT}
    models = {**settings["models"], "analyst": teacher, "generator": teacher, "judge": teacher, **roles}
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({**settings, "name": "r", "runs_folder": str(folder), "models": models}))
    return path


def write_grid(settings: dict[str, Any], folder: Path, url: str, **changes: Any) -> Path:
    """A grid over the settings with two seeds, its runs in `folder/runs/grid`."""
    (folder / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in HELD_BACK))
    config = write_config(settings, folder, url)
    values = {
        "name": "grid",
        "runs_folder": str(folder / "runs"),
        "tasks": {"toy": {"config": str(config), "set": {"data.held_back": str(folder / "held.jsonl")}}},
        "seeds": [0, 1],
        "set": {"lora.n_steps": 2},
    }
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}))
    return path
