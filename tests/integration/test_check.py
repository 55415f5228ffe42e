"""`pada check`, and the same findings where a run begins: real files, a tiny student, a teacher behind HTTP."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pada_agent.app import wiring
from pada_agent.app.adapters.compute.backends import name_store
from pada_agent.app.adapters.compute.local_compute import LocalCompute
from pada_agent.app.adapters.compute.object_store import ObjectStore
from pada_agent.app.cli import app
from pada_agent.core.config import RunConfig
from tests.openai_server import refuse, serving
from tests.tiny_world import save_world, write_config
from tests.toy_command import WORKER
from tests.toy_world import TRAIN

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

LONG = {"id": "long", "question": "why " * 30, "answer": "tool"}
ODD = {"id": "odd", "question": "what is this?", "answer": "vegetable"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return save_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def quick_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker without torch, whose tokenizer has a token a byte. The models are real, and looked for, as in a run."""

    def open_quickly(_: RunConfig, folder: Path) -> LocalCompute:
        return LocalCompute(folder / "objects", folder / "worker.log", command=WORKER)

    monkeypatch.setattr(wiring, "open_compute", open_quickly)


def pada(command: str, config: Path, *options: str) -> Result:
    return CliRunner().invoke(app, [command, str(config), *options], catch_exceptions=False)


def give_rows(settings: dict[str, Any], folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    path = folder / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {**settings, "data": {**settings["data"], "train": str(path)}}


def test_rows_are_shown_and_the_teacher_is_asked_and_nothing_is_left(settings: dict[str, Any], tmp_path: Path) -> None:
    with serving(delay_seconds=0) as server:
        result = pada("check", write_config(settings, tmp_path, server.url))
    assert result.exit_code == 0, result.output
    assert "question ← question, answer ← answer" in result.output
    assert "train.jsonl:1\n" in result.output and "  > " in result.output
    assert result.output.count("answered after") == 3
    assert result.output.rstrip().endswith("No problems: a run would start.")
    asked = {json.loads(body)["temperature"] for body in server.asked}
    assert set(server.prompts) == {"probe"} and len(asked) == 2 and max(server.asked.values()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"], "no run's folder is made"


@pytest.mark.usefixtures("quick_worker")
def test_all_problems_are_told_at_once_and_a_run_is_refused_for_the_same(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    values = give_rows(settings, tmp_path, [*TRAIN, ODD, LONG])
    values = {**values, "lora": {**values["lora"], "max_length": 100}}
    with serving(delay_seconds=0, answer=refuse(401)) as server:
        config = write_config(values, tmp_path, server.url)
        checked = pada("check", config)
        n_probed = len(server.prompts)
        ran = pada("run", config)
    assert (checked.exit_code, ran.exit_code) == (2, 2)
    problems = [line.strip(" ✗") for line in checked.output.split("\n") if line.startswith("  ✗ ")]
    assert len(problems) == 3, checked.output
    odd, long, teacher = problems
    assert f"own.jsonl:{len(TRAIN) + 1}: field 'answer' is 'vegetable'" in odd
    assert f"own.jsonl:{len(TRAIN) + 2}: too long to be trained on" in long
    assert teacher.startswith("models.analyst, models.generator, models.judge: ") and "401" in teacher
    assert odd in ran.output and long in ran.output
    assert n_probed == len(server.prompts) == 1, "a run that is refused for its rows asks nobody"
    assert not (tmp_path / "r").exists()


@pytest.mark.usefixtures("quick_worker")
def test_a_teacher_that_cannot_be_used_is_known_before_anything_is_computed(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    with serving(delay_seconds=0, answer=refuse(401)) as server:
        config = write_config(settings, tmp_path, server.url)
        unasked = pada("check", config, "--no-probe")
        assert (unasked.exit_code, server.prompts) == (0, []), unasked.output
        refused = pada("run", config)
    assert refused.exit_code == 2 and "models.analyst, models.generator, models.judge: " in refused.output
    assert "resume" not in refused.output
    assert not (tmp_path / "r").exists()
    assert server.prompts == ["probe"]


def test_what_is_missing_is_told_with_what_is_wrong_with_the_rows(settings: dict[str, Any], tmp_path: Path) -> None:
    values = give_rows(settings, tmp_path, [*TRAIN, ODD])
    values = {**values, "student": {"model": "smollm2-135m-instruct"}}
    config = write_config(values, tmp_path, "http://127.0.0.1:9/v1", judge={"model": "openai:big"})
    checked, ran = pada("check", config), pada("run", config)
    for result in (checked, ran):
        assert result.exit_code == 2
        assert "student.model: model smollm2-135m-instruct is not on this machine" in result.output
        assert "models.judge: no API key" in result.output
        assert f"own.jsonl:{len(TRAIN) + 1}: field 'answer' is 'vegetable'" in result.output
    assert "3 problems: a run would be refused" in checked.output
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("store", [None, "file://{}/bucket"])
def test_jobs_of_a_cluster_find_the_checks_folder_and_every_check_has_its_own(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str | None
) -> None:
    """Other nodes have no part in this machine's `/tmp`. What one check has found says nothing about the next."""
    pytest.importorskip("ray")
    pytest.importorskip("obstore")
    seen: list[Path] = []

    def open_quickly(config: RunConfig, folder: Path) -> LocalCompute:
        seen.append(folder)
        if address := name_store(config, folder):
            node = tmp_path / "output"
            node.mkdir(exist_ok=True)
            (node / "tokenizer.json").write_text("{}")
            ObjectStore(address).publish("tokenizer-1", node)
        return LocalCompute(folder / "objects", folder / "worker.log", command=WORKER)

    monkeypatch.setattr(wiring, "open_compute", open_quickly)
    cluster = {"store": store and store.format(tmp_path)}
    config = write_config({**settings, "compute": {"backend": "ray", "cluster": cluster}}, tmp_path, "http://x/v1")
    for _ in range(2):
        assert pada("check", config, "--no-probe").exit_code == 0
    assert len({folder.name for folder in seen}) == 2
    assert all(tmp_path in folder.parents for folder in seen) == (store is None)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "output"]
    assert left == [config] and not list(tmp_path.rglob(".pada-check-*"))
