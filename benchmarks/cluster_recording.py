"""Records how long experiments take on one and two workers, to compare the cost model with.

    python -m benchmarks.cluster_recording > benchmarks/recordings/cluster.json

Experiment, graph, checkpoints, Ray's board and workers, rate limits and the teacher's HTTP are real. The student only sleeps, and the
teacher answers after a second, so that other work on the machine matters little. Rates are measured in a run of its own, with
another seed.
"""

import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from pada_agent.app import wiring
from pada_agent.app.adapters.compute.local_compute import LocalCompute
from pada_agent.app.adapters.compute.ray_jobs import NAMESPACE
from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.app.estimates.calls import Counts, count_rows
from pada_agent.app.estimates.hours import Hours, Plan, estimate_hours
from pada_agent.app.estimates.rates import Rates, assume_rates
from pada_agent.app.estimates.recorded import measure_rates
from pada_agent.app.experiment.grid import Grid, Part, plan_cells
from pada_agent.app.experiment.running import run_experiment
from pada_agent.app.runs.driver import start_run
from pada_agent.core.config import RunConfig
from pada_agent.core.ports import Compute
from pada_agent.core.records import Record
from tests.openai_server import serving
from tests.tiny_world import write_config
from tests.toy_command import save_toy_world, use_toys

WORKER = (sys.executable, "-m", "benchmarks.sleeping_worker")
LOAD_SECONDS, TRAIN_SECONDS, ANSWER_SECONDS, CALL_SECONDS = 5.0, 0.2, 0.4, 1.0
GRID = {
    "name": "grid",
    "arms": ["vanilla_equal_steps", "auggpt", "pada"],
    "seeds": [0, 1],
    "set": {"lora.n_steps": 10, "loop.max_iterations": 1},
}
COURSES = (("ray", 1, 4), ("ray", 2, 4))
"""Backend, number of workers, and number of runs at the same time."""
SEED_OF_RATES = 9


class RecordedCourse(Record):
    """One experiment as it went."""

    backend: str
    n_workers: int
    n_at_once: int
    seconds: float


class Recording(Record):
    """An experiment, what was measured before it, and how long it took."""

    settings: dict[str, Any]
    """Settings of the task in the grid."""
    grid: dict[str, Any]
    counts: Counts
    rates: Rates
    """Measured in a run that is not part of the experiment."""
    n_runs: int
    courses: tuple[RecordedCourse, ...]


def main() -> None:
    """Record, and print the recording."""
    use_sleepers()
    os.environ["PADA_SLEEP"] = f"{LOAD_SECONDS},{TRAIN_SECONDS},{ANSWER_SECONDS}"
    with TemporaryDirectory() as folder, serving(delay_seconds=CALL_SECONDS) as server:
        print(record(Path(folder), server.url).model_dump_json(indent=1))


def use_sleepers(wiring: Any = wiring) -> None:
    """Make this process use sleeping workers from now on."""
    use_toys()
    wiring.open_compute = open_sleeping


def record(folder: Path, url: str) -> Recording:
    """Run the experiment once for each course, each time from the beginning."""
    config = write_config(save_toy_world(folder), folder, url)
    settings = yaml.safe_load(config.read_text())
    alone = plan(settings, folder, seeds=[SEED_OF_RATES], arms=["pada"], runs_folder=str(folder / "alone"))
    start_run(alone[0])
    counts = count_rows(alone[0], FileDatasets())
    assumed = assume_rates(row_tokens=1, is_choice=True, max_new_tokens=None, tokens_per_second=None, call_seconds=None)
    rates = measure_rates(folder / "alone" / "grid", assumed)
    return Recording(
        settings=settings,
        grid=GRID,
        counts=counts,
        rates=rates.model_copy(update={"source": "measured in a run with another seed"}),
        n_runs=len(plan(settings, folder)),
        courses=tuple(time_course(folder, config, *course) for course in COURSES),
    )


def time_course(folder: Path, config: Path, backend: str, n_workers: int, n_at_once: int) -> RecordedCourse:
    """Run the whole experiment."""
    changes = {"compute.backend": backend, "compute.cluster.max_workers": n_workers}
    if backend == "ray":
        start_ray()
    runs_folder = folder / f"{backend}-{n_workers}-{n_at_once}"
    grid = make_grid(config, runs_folder=str(runs_folder), set={**GRID["set"], **changes})  # type: ignore[dict-item]
    started = time.monotonic()
    run_experiment(
        grid,
        Part(),
        command="",
        headroom_only=False,
        on_event=lambda _: None,
        say=lambda text: print(f"{time.monotonic() - started:6.1f} s  {text}", file=sys.stderr),
        n_at_once=n_at_once,
    )
    seconds = round(time.monotonic() - started, 1)
    return RecordedCourse(backend=backend, n_workers=n_workers, n_at_once=n_at_once, seconds=seconds)


def start_ray() -> None:
    """Start a cluster on this machine, in time that does not count. On a busy machine, Ray gives up too soon."""
    import ray

    while not ray.is_initialized():
        try:
            ray.init(address="local", namespace=NAMESPACE, num_cpus=2, include_dashboard=False, log_to_driver=False)
        except Exception as exc:  # noqa: BLE001  (Ray raises this one itself)
            print(f"Ray does not start ({exc}); once more", file=sys.stderr)


def open_sleeping(config: RunConfig, folder: Path) -> Compute:
    """The backend that the settings name, with workers that sleep."""
    if config.compute.backend == "local":
        return LocalCompute(folder / "objects", folder / "worker.log", command=WORKER)
    from pada_agent.app.adapters.compute.ray_compute import RayCompute

    return RayCompute(folder / "objects", config.compute.cluster, command=WORKER)


def plan(settings: dict[str, Any], folder: Path, **changes: Any) -> list[RunConfig]:
    """The runs of the grid with these settings, in their order."""
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    cells = plan_cells(make_grid(path, **changes), FileDatasets())
    return list({cell.config.name: cell.config for cell in cells}.values())


def make_grid(config: Path, **changes: Any) -> Grid:
    return Grid.model_validate({**GRID, "tasks": {"toy": {"config": str(config)}}, **changes})


def predict(recording: Recording, course: RecordedCourse, folder: Path) -> Hours:
    """What the cost model says about a course, from the rates that were measured before it."""
    configs = plan(recording.settings, folder)
    return estimate_hours(
        [Plan(config=config, counts=recording.counts, rates=recording.rates) for config in configs],
        numbers=[course.n_workers],
        n_at_once=course.n_at_once,
        most_at_once=course.n_at_once,
    )


if __name__ == "__main__":
    main()
