"""Jobs of all kinds, and a small program in the worker's place whose outputs depend on the bytes of its inputs alone."""

import sys
from pathlib import Path
from typing import Any

from pada_agent.core.jobs import ExportJob, FineTuneJob, Job, LoraSpec, PredictJob, TokenizerJob
from pada_agent.core.ports import Compute

SCRIPT = """
import hashlib, json, os, pathlib, sys
for line in sys.stdin:
    request = json.loads(line)
    job, folder = request["job"], pathlib.Path(request["folder"])
    with open(sys.argv[1], "a") as starts: starts.write(job["kind"] + "\\n")
    paths = [pathlib.Path(job[name]) for name in ("rows", "adapter", "start_from") if job.get(name)]
    digest = hashlib.sha256(json.dumps({k: v for k, v in job.items() if k not in ("rows", "adapter", "start_from")}).encode())
    for path in paths:
        assert path.is_relative_to(folder.parent), f"{path} is not among this machine's objects"
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        for file in files: digest.update(file.name.encode() + file.read_bytes())
    if job["kind"] == "fine_tune" and b"nan" in paths[0].read_bytes():
        (folder / "last_good").mkdir(parents=True)
        (folder / "last_good" / "adapter").write_text("weights")
        print(json.dumps({"event": "error", "type": "NonFiniteLossError", "message": "step 3: loss nan"}), flush=True)
        continue
    if job["kind"] == "fine_tune" and b"checkpoint" in paths[0].read_bytes():
        checkpoint = pathlib.Path(request["checkpoint"])
        for step in range(2 if checkpoint.exists() else 1, 4):
            if step == 1: checkpoint.write_text("at step 1")
            print(json.dumps({"event": "progress", "stage": "train", "done": step, "total": 3}), flush=True)
    (folder / "deep").mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(digest.digest() * 1000)
    (folder / "deep" / "facts.json").write_text(digest.hexdigest())
    print(json.dumps({"event": "done", "folder": str(folder)}), flush=True)
"""


def command_that_notes(starts: Path) -> tuple[str, ...]:
    """The command of a worker that appends the kind of each job to this file."""
    return (sys.executable, "-c", SCRIPT, str(starts))


def write_rows(folder: Path, key: str, text: str = '{"id": "1"}\n') -> str:
    path = folder / "objects" / key / "rows.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return str(path)


KINDS = ["tokenizer", "fine_tune", "fine_tune", "predict", "predict", "predict", "export"]
"""What `run_all` starts, in this order."""


def run(compute: Compute, job: Job) -> Path:
    return compute.wait(compute.submit(job), lambda _: None)


def fine_tune(rows: str, **changes: Any) -> FineTuneJob:
    return FineTuneJob(student="some/student", rows=rows, rows_hash="rows-1", lora=LoraSpec(), **changes)


def run_all(trains: Compute, answers: Compute, folder: Path) -> dict[str, bytes]:
    """Jobs of all kinds, which build on each other, with objects in `folder/objects`. Returns all files there, by name.

    Args:
        trains: runs the first fine-tuning and the export; `answers` runs the others.
    """
    rows = write_rows(folder, "rows-1")
    inputs: dict[str, str] = {"student": "some/student", "rows": rows, "rows_hash": "rows-1"}
    run(answers, TokenizerJob(student="some/student"))
    first = run(trains, fine_tune(rows))
    second = run(answers, fine_tune(rows, start_from=str(first)))
    for adapter in (None, first, second):
        named = {"adapter": str(adapter), "adapter_hash": adapter.name} if adapter else {}
        run(answers, PredictJob.model_validate(inputs | named))
    run(trains, ExportJob.model_validate({**inputs, "adapter": str(second), "format": "safetensors"}))
    objects = folder / "objects"
    return {str(path.relative_to(objects)): path.read_bytes() for path in objects.rglob("*") if path.is_file()}
