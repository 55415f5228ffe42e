"""Evaluations of many rows as several jobs that run side by side on a cluster."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pada_agent.core.compute_config import ClusterConfig, ComputeConfig, count_shard_rows
from pada_agent.core.jobs import Job, PredictJob
from pada_agent.core.json_lines import read_json_lines
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example, Ref
from pada_agent.graph.nodes.evaluating import split_rows
from tests.integration.graph_runs import run
from tests.toy_world import VALIDATION, ToyWorld


def predicted_rows(world: ToyWorld) -> list[int]:
    """Rows of each prediction job that ran."""
    jobs = [job for job in world.compute.ran if isinstance(job, PredictJob)]
    return [len(read_json_lines(Path(job.rows), Example)) for job in jobs]


def test_parts_give_the_same_result_as_the_whole(tmp_path: Path) -> None:
    whole, parts = ToyWorld(tmp_path / "whole"), ToyWorld(tmp_path / "parts")
    one, other = run(whole), run(parts, compute={"backend": "ray", "cluster": {"shard_rows": 4}})
    assert max(predicted_rows(whole)) == len(VALIDATION) == 10
    assert max(predicted_rows(parts)) == 4
    assert sum(predicted_rows(parts)) == sum(predicted_rows(whole))
    leave_out = {"measured", "validation_failures"}
    assert [m.model_dump(exclude=leave_out) for m in one.models] == [
        m.model_dump(exclude=leave_out) for m in other.models
    ]


@pytest.mark.parametrize(
    ("n", "size", "expected"), [(10, None, [10]), (10, 10, [10]), (11, 10, [5, 6]), (10, 3, [2, 3, 2, 3])]
)
def test_parts_are_even_and_in_order(tmp_path: Path, n: int, size: int | None, expected: list[int]) -> None:
    store = ToyWorld(tmp_path).store
    examples = [Example(id=str(i), prompt=f"question {i}", answer="a") for i in range(n)]
    parts = split_rows(Ref(key="rows", rows=n), examples, size, store)
    assert [part.rows for part in parts] == expected
    if len(parts) > 1:
        assert [row for part in parts for row in store.read_rows(part.key, Example)] == examples
    else:
        assert parts == [Ref(key="rows", rows=n)]


def test_one_worker_is_asked_for_the_whole() -> None:
    assert count_shard_rows(ComputeConfig(cluster=ClusterConfig(shard_rows=4))) is None
    assert count_shard_rows(ComputeConfig(backend="ray")) == 2000


def test_models_are_measured_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = ToyWorld(tmp_path)
    order: list[str] = []
    submit, wait = world.compute.submit, world.compute.wait

    def submit_and_note(job: Job) -> str:
        if isinstance(job, PredictJob):
            order.append("submit")
        return submit(job)

    def wait_and_note(job_id: str, on_progress: Callable[[Progress], None]) -> Path:
        if job_id.startswith("predict"):
            order.append("wait")
        return wait(job_id, on_progress)

    monkeypatch.setattr(world.compute, "submit", submit_and_note)
    monkeypatch.setattr(world.compute, "wait", wait_and_note)
    run(world, loop={"max_iterations": 1})
    assert order[-6:] == ["submit"] * 3 + ["wait"] * 3  # untouched, fine-tuned and augmented, on test
