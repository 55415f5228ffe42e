"""What the driver does for an attempt at a batch hardly depends on how many rows there are."""

import cProfile
from pathlib import Path

import pytest

from benchmarks.scale import World

FEW, MANY = (200, 100), (1_600, 800)
"""Training rows and held-out rows."""
N_BATCHES = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scale")


def count_calls(world: World) -> float:
    """Function calls of an attempt at a batch, once there is an index: unlike time, the same on a busy machine."""
    world.write(0)
    profile = cProfile.Profile()
    profile.enable()
    reports = [world.write(n)[1] for n in range(1, N_BATCHES + 1)]
    profile.disable()
    assert sum(report.n_accepted for report in reports) > 2 * N_BATCHES
    return sum(entry.callcount for entry in profile.getstats()) / sum(report.attempts for report in reports)


def test_eight_times_the_rows_are_less_than_twice_the_work_of_an_attempt(folder: Path) -> None:
    few, many = World(folder / "few", *FEW), World(folder / "many", *MANY)
    n_few, n_many = count_calls(few), count_calls(many)
    assert n_many < 1.5 * n_few
    assert many.count_held_out_embeddings() == MANY[1]


def test_a_resumed_run_embeds_no_held_out_text_again(folder: Path) -> None:
    first = World(folder / "resumed", *FEW)
    _, report = first.write(1)
    resumed = World(folder / "resumed", *FEW)
    assert resumed.write(1)[1] == report
    assert (first.count_held_out_embeddings(), resumed.count_held_out_embeddings()) == (FEW[1], 0)
