"""An experiment whose runs share one cluster: toy student, real HTTP, limits, cache, signals and workers on two nodes."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pada_agent.app import wiring
from pada_agent.core.config import RunConfig
from tests.command_line import count_calls
from tests.integration.test_side_by_side import MAX_IN_FLIGHT, Endpoint, Interrupting, read_table, run, save_grid, toys
from tests.openai_server import serving
from tests.toy_command import WORKER

ray = pytest.importorskip("ray")

from pada_agent.app.adapters.compute.ray_compute import RayCompute  # noqa: E402
from tests.ray_cluster import make_compute, wait_for  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
__all__ = ["toys"]
N_SAVED = 3
"""Calls that have to wait for the teacher's limit of requests per minute."""


class Notes:
    """Backends on the cluster, and the jobs that their workers began."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened: list[RayCompute] = []
        folder.mkdir()

    def open(self, _: RunConfig, folder: Path) -> RayCompute:
        settings = {"num_cpus": 1, "max_workers": 2}
        self.opened.append(make_compute(folder, command=(*WORKER, str(self.folder)), **settings))
        return self.opened[-1]

    def count(self) -> Counter[str]:
        return Counter((self.folder / "starts").read_text().split())

    def list_unfinished(self) -> list[str]:
        board = self.opened[-1]._found_board
        unfinished: list[str] = ray.get(board.describe.remote())["unfinished"]
        return unfinished


def test_a_grid_on_the_cluster_gives_the_table_of_the_sequence_on_this_machine(
    cluster: Any, tmp_path: Path, toys: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del cluster
    with serving(delay_seconds=0, answer=(endpoint := Endpoint())) as server:
        expected = run(save_grid(tmp_path / "sequence", server.url), 1)
        jobs, asked = len(toys), server.asked.copy()
        server.asked.clear()
        endpoint.times.clear()
        per_minute = sum(asked.values()) - N_SAVED
        limits = {
            f"models.{role}.{limit}": value
            for role in ("analyst", "generator", "judge")
            for limit, value in (("max_concurrency", MAX_IN_FLIGHT), ("requests_per_minute", per_minute))
        }
        grid = save_grid(tmp_path / "cluster", server.url, set={"lora.n_steps": 2, **limits})
        notes = Notes(tmp_path / "notes")
        monkeypatch.setattr(wiring, "open_compute", notes.open)
        began = time.monotonic()
        result = run(grid, 6)
        assert read_table(result) == read_table(expected)
        assert server.asked == asked, "nothing is paid for twice"
    assert len(notes.opened) == 1, "all runs share one backend"
    starts = notes.count()
    assert len(starts) == jobs and max(starts.values()) == 1, "each job once"
    allowed = [per_minute + per_minute * (at - began) / 60 for at in sorted(endpoint.times)]
    assert all(n < limit + 1 for n, limit in enumerate(allowed)), "six runs share one limit"


def test_ctrl_c_ends_all_jobs_and_the_same_command_finishes_the_grid(
    cluster: Any, tmp_path: Path, toys: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del cluster, toys
    notes = Notes(tmp_path / "notes")
    monkeypatch.setattr(wiring, "open_compute", notes.open)
    with serving(delay_seconds=0, answer=Interrupting(3)) as server:
        grid = save_grid(tmp_path, server.url, arms=["vanilla", "auggpt", "pada"])
        with pytest.raises(KeyboardInterrupt):
            run(grid, 6)
        wait_for(lambda: not notes.list_unfinished())
        assert not list((tmp_path / "runs" / "grid").glob("*pada*/summary.json"))
        finished = {job for job in notes.count() if any((tmp_path / "runs").glob(f"**/objects/{job}/*"))}
        before = notes.count()
        assert len(run(grid, 6).outcomes) == 3
        assert count_calls(tmp_path / "runs" / "grid" / "shared" / "llm_calls.sqlite") == sum(server.asked.values())
    assert finished and all(notes.count()[job] == before[job] for job in finished), "what was finished is kept"
