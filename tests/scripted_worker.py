"""A small program that speaks the worker's protocol and does what the row path says, and jobs for it."""

import sys
from pathlib import Path

from pada_agent.core.jobs import PredictJob
from pada_agent.core.ports import Compute

SCRIPT = """
import json, os, pathlib, sys, time
parent = os.getppid()
for line in sys.stdin:
    request = json.loads(line)
    what, folder = pathlib.Path(request["job"]["rows"]).name, pathlib.Path(request["folder"])
    def emit(**event): print(json.dumps(event), flush=True)
    emit(event="progress", stage=what, done=1, total=2)
    with open(folder.parent.parent / "starts", "a") as starts: starts.write(what + "\\n")
    if what.startswith("hang"): time.sleep(60)
    while what.startswith("gated") and not (folder.parent.parent / "go").exists(): time.sleep(0.05)
    if os.getppid() != parent: sys.exit()  # the real worker notices that its stdin is closed
    if what.startswith("slow"):
        for i in range(20): time.sleep(0.02); emit(event="progress", stage=what, done=i, total=20)
    if what == "crash": print("out of luck", file=sys.stderr); sys.exit(3)
    if what == "torn": print('{"event": "prog', end="", flush=True)
    if what in ("die", "torn"): os.kill(os.getpid(), 9)
    if what == "orphan": os.kill(os.getppid(), 9)
    if what == "NonFiniteLossError":
        (folder / "last_good").mkdir(parents=True)
        (folder / "last_good" / "adapter").write_text("weights")
    if what.endswith("Error"):
        emit(event="error", type=what, message="step 3: loss nan", usable=what != "StrangeError")
        continue
    folder.mkdir()
    (folder / "pid").write_text(str(os.getpid()))
    (folder / "environment").write_text(os.environ["PADA_DEVICE"] + os.environ["PADA_THREADS"])
    (folder / "waiting").write_text(os.environ.get("OMP_WAIT_POLICY", "") + os.environ.get("GOMP_SPINCOUNT", ""))
    emit(event="done", folder=str(folder))
"""
COMMAND = (sys.executable, "-c", SCRIPT)


def make_job(rows: str, **changes: object) -> PredictJob:
    return PredictJob.model_validate({"student": "some/student", "rows": rows, "rows_hash": rows, **changes})


def run(compute: Compute, job: PredictJob) -> Path:
    return compute.wait(compute.submit(job), lambda _: None)


def count_starts(folder: Path, name: str) -> int:
    """How often a worker began a job of that name, with objects in `folder/objects`."""
    starts = folder / "starts"
    return starts.read_text().split().count(name) if starts.exists() else 0
