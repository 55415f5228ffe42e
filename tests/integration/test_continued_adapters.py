"""A model that continues an adapter has been trained on the rows, and for the steps, of all fine-tunings that led to it."""

import json
from pathlib import Path
from typing import Literal

import pytest

from pada_agent.core.jobs import TRAIN_METRICS, FineTuneJob, Job
from pada_agent.core.records import Example
from pada_agent.graph.builder import build_graph
from tests.integration.test_starting_again import GROWING, GROWING_ROWS
from tests.toy_world import TEST, TRAIN, NearestRowCompute, ToyWorld, make_settings

N_STEPS = 100


class CountingCompute(NearestRowCompute):
    """Every fine-tuning takes 100 steps."""

    def _run(self, job: Job, folder: Path) -> None:
        super()._run(job, folder)
        if isinstance(job, FineTuneJob):
            (folder / TRAIN_METRICS).write_text(json.dumps({"n_steps": N_STEPS}))


@pytest.mark.parametrize(
    ("start_from", "accumulate", "n_synthetic", "n_steps"),
    [
        ("base", True, [0, 0, 9, 18], [None, 100, 100, 100]),
        ("base", False, [0, 0, 9, 9], [None, 100, 100, 100]),
        ("best", True, [0, 0, 9, 18], [None, 100, 200, 300]),
        ("best", False, [0, 0, 9, 18], [None, 100, 200, 300]),
    ],
)
def test_rows_and_steps_are_those_of_all_adapters_that_a_model_continues(
    start_from: Literal["base", "best"],
    accumulate: bool,
    n_synthetic: list[int],
    n_steps: list[int | None],
    tmp_path: Path,
) -> None:
    world = ToyWorld(tmp_path, memory={"train": TRAIN, "validation": GROWING_ROWS, "test": TEST})
    world.compute = CountingCompute(tmp_path / "objects")
    loop = {**GROWING["loop"], "start_from": start_from}
    settings = make_settings(
        **{**GROWING, "loop": loop}, generation={"accumulate": accumulate}, lora={"n_steps": N_STEPS}
    )
    summary = build_graph(world.connect).compile().invoke({}, context=settings)["summary"]
    assert summary.best_model != "fine-tuned", "otherwise no later iteration continues an earlier one"
    assert [m.n_steps for m in summary.models] == n_steps
    assert [m.n_synthetic for m in summary.models] == n_synthetic
    assert [m.n_train_rows for m in summary.models] == [0, *(9 + n for n in n_synthetic[1:])]
    for model in summary.models:
        rows = [row for ref in model.synthetic for row in world.store.read_rows(ref.key, Example)]
        assert len({row.id for row in rows}) == model.n_synthetic
