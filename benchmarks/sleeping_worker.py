"""The toy student behind the real worker's protocol, which sleeps as long as a student would work.

Environment: PADA_SLEEP, seconds to load the student, to train on a row and to answer one, separated by commas.
"""

import json
import os
import sys
import time
from pathlib import Path

from pydantic import TypeAdapter

from pada_agent.core.jobs import TRAIN_METRICS, FineTuneJob, Job, PredictJob
from tests.toy_student import run_toy_job


def main() -> None:
    """Serve stdin until it closes."""
    to_load, to_train, to_answer = map(float, os.environ["PADA_SLEEP"].split(","))
    loaded = ""
    for line in sys.stdin:
        request = json.loads(line)
        job: Job = TypeAdapter(Job).validate_python(request["job"])
        if isinstance(job, FineTuneJob | PredictJob) and job.student != loaded:
            tell("progress", stage="load", done=0, total=1, detail=job.student)
            time.sleep(to_load)
            tell("progress", stage="load", done=1, total=1, detail=f"{job.student}, loaded in {to_load:.1f} s")
            loaded = job.student
        run(job, Path(request["folder"]), to_train=to_train, to_answer=to_answer)
        tell("done", folder=request["folder"])


def run(job: Job, folder: Path, *, to_train: float, to_answer: float) -> None:
    run_toy_job(job, folder)
    if isinstance(job, FineTuneJob):
        n_steps = job.lora.n_steps or 1
        time.sleep(seconds := n_steps * job.lora.batch_size * to_train)
        metrics = {"n_steps": n_steps, "losses": [1.0] * n_steps, "seconds": seconds, "tokens_per_second": 1.0}
        (folder / TRAIN_METRICS).write_text(json.dumps(metrics))
    elif isinstance(job, PredictJob):
        n_rows = Path(job.rows).read_text().count("\n")
        time.sleep(n_rows * to_answer)
        tell("progress", stage="predict", done=n_rows, total=n_rows, rate=1 / to_answer, unit="rows")


def tell(event: str, **values: object) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


if __name__ == "__main__":
    main()
