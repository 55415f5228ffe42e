"""A tiny but real student on a cluster: its adapters are those of this machine, byte for byte, whatever is lost on the way."""

from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from pada_agent.app.adapters.compute.local_compute import WORKER, LocalCompute
from pada_agent.core.jobs import FineTuneJob, LoraSpec
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example
from tests.command_line import finish
from tests.openai_server import serving
from tests.tiny_models import save_student
from tests.tiny_world import save_world, write_config

pytest.importorskip("ray")

from tests.ray_cluster import add_node, freeze, leave_one_node, make_compute, wake

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]
N_STEPS = 150
ADAPTER = "adapter_model.safetensors"


@pytest.mark.parametrize(("minutes", "lost_steps"), [(0, True), (1e-6, False)])
def test_a_fine_tuning_whose_node_is_lost_gives_the_same_adapter(
    cluster: Any, tmp_path: Path, minutes: float, lost_steps: bool
) -> None:
    rows = tmp_path / "rows.jsonl"
    examples = [Example(id=str(i), prompt=f"How many? {i}", answer=f"There are {i}.") for i in range(8)]
    rows.write_text("".join(example.model_dump_json() + "\n" for example in examples))
    lora = LoraSpec(rank=2, alpha=2, dropout=0.1, n_steps=N_STEPS, batch_size=2)
    student = str(save_student(tmp_path / "student"))
    job = FineTuneJob(student=student, rows=str(rows), rows_hash="rows", lora=lora)

    local = LocalCompute(tmp_path / "local" / "objects", tmp_path / "worker.log", device="cpu", threads=2)
    expected = (local.wait(local.submit(job), lambda _: None) / ADAPTER).read_bytes()
    local.close()

    compute = make_compute(tmp_path / "ray", command=WORKER, checkpoint_minutes=minutes, max_workers=1)
    node = leave_one_node(cluster)
    steps: list[list[int]] = [[]]
    frozen: list[psutil.Process] = []

    def lose_node(progress: Progress) -> None:
        if progress.stage == "retry":
            steps.append([])
        elif progress.stage == "fine_tune":
            steps[-1].append(progress.done)
            if len(steps) == 1 and len(steps[0]) == 20:
                frozen.extend(freeze(node))
                add_node(cluster)
                cluster.remove_node(node, allow_graceful=False)

    try:
        folder = compute.wait(compute.submit(job), lose_node)
    finally:
        left = wake(frozen)
    assert not left, "a node that was given up ends all its processes"
    assert (folder / ADAPTER).read_bytes() == expected
    assert len(steps) == 2 and steps[1][-1] == N_STEPS
    assert (steps[1][0] == 1) is lost_steps, "with a checkpoint, the second attempt does only what is missing"
    assert not list((tmp_path / "ray" / "objects").glob(".*")), "neither a checkpoint nor the first attempt is left"


def test_a_grid_on_two_nodes_gives_the_adapters_of_one_on_this_machine(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    node = add_node(cluster)
    settings = save_world(tmp_path)
    adapters = {}
    with serving() as server:
        for backend in ("local", "ray"):
            (folder := tmp_path / backend).mkdir()
            grid = {
                "name": "grid",
                "runs_folder": str(folder),
                "tasks": {"toy": {"config": str(write_config(settings, folder, server.url))}},
                "arms": ["vanilla", "pada"],
                "seeds": [0, 1],
                "set": {"compute.backend": backend, "compute.threads": 1, "lora.n_steps": 2},
            }
            (path := folder / "grid.yaml").write_text(yaml.safe_dump(grid))
            finish("experiment", str(path), "--parallel", "4")
            adapters[backend] = {
                file.parent.name: file.read_bytes() for file in folder.glob(f"grid/shared/objects/*/{ADAPTER}")
            }
    assert len(adapters["local"]) == 4, "two arms with two seeds"
    assert adapters["local"] == adapters["ray"]
    cluster.remove_node(node)
