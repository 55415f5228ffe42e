"""The toy student behind the real worker's protocol: a child process without torch, which can be slow, and can be killed by its job.

Argument: a folder. Each job notes its id in `starts`; and if there is a file `lose_node`, the first job whose rows contain its text
deletes it, and kills the node of the Ray worker that runs it.

Environment: TOY_SECONDS that each job takes; TOY_DEATH, a file that is deleted by the first job that finds it, which then dies as
the system's out-of-memory killer ends a process.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil
from pydantic import TypeAdapter

from pada_agent.core.errors import PadaError
from pada_agent.core.jobs import TRAIN_METRICS, FineTuneJob, Job, PredictJob
from tests.toy_student import run_toy_job

STEPS = 5


def main() -> None:
    """Serve stdin until it closes."""
    for line in sys.stdin:
        request = json.loads(line)
        job: Job = TypeAdapter(Job).validate_python(request["job"])
        try:
            if len(sys.argv) > 1:
                note(job, Path(request["folder"]).name.split(".")[1], Path(sys.argv[1]))
            run(job, Path(request["folder"]))
        except (PadaError, OSError) as exc:
            tell("error", type=type(exc).__name__, message=str(exc))
        else:
            tell("done", folder=request["folder"])


def run(job: Job, folder: Path) -> None:
    for step in range(STEPS):
        tell("progress", stage=job.kind, done=step, total=STEPS)
        time.sleep(float(os.environ.get("TOY_SECONDS", "0")) / STEPS)
    if death := os.environ.get("TOY_DEATH"):
        try:
            Path(death).unlink()
        except FileNotFoundError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    run_toy_job(job, folder)
    if isinstance(job, FineTuneJob):
        metrics = {"n_steps": 3, "losses": [3.0, 2.0, 1.0], "seconds": 1.5, "tokens_per_second": 100.0}
        (folder / TRAIN_METRICS).write_text(json.dumps(metrics))


def note(job: Job, job_id: str, notes: Path) -> None:
    with (notes / "starts").open("a") as starts:
        starts.write(f"{job_id}\n")
    loss = notes / "lose_node"
    if isinstance(job, PredictJob) and loss.exists() and loss.read_text() in Path(job.rows).read_text():
        loss.unlink()
        worker = psutil.Process(os.getppid())
        worker.parent().kill()
        worker.wait()
        sys.exit()


def tell(event: str, **values: object) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


if __name__ == "__main__":
    main()
