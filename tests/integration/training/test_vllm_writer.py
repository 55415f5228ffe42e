"""vLLM as the student's writer. A stand-in with vLLM's interface answers here, because `make test` installs no vLLM."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from pada_agent.app.adapters.compute.local_compute import LocalCompute
from pada_agent.core.errors import ConfigError, DatasetError, TrainingError
from pada_agent.core.jobs import PredictJob
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example, Prediction
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.generation.vllm_writer import VllmWriter
from pada_agent.training.predicting import merge_adapter
from pada_agent.training.students import Student
from tests.integration.training.small_student import CPU, OPEN_ROWS, ROWS, answer, make_job, read_predictions

# peft 0.21 reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

FAKE = Path(__file__).parents[2] / "fake_vllm"
VERSION = "0.32.0+cpu"


class World:
    """A writer that finds the stand-in, and a student that it knows."""

    def __init__(self, folder: Path, student: Student, encoder: ChatEncoder) -> None:
        self.folder, self.student, self._encoder = folder, student, encoder
        self._answers: dict[str, dict[str, list[int]]] = {}
        self.progress: list[Progress] = []
        self.writer = VllmWriter(CPU)

    def learn(self, adapter: Path | None = None, *, examples: Sequence[Example] = OPEN_ROWS) -> list[Prediction]:
        """Let the stand-in write the student's 12 most likely tokens, and return what our own engine answers."""
        model = (merge_adapter(self.student, adapter) if adapter else self.student).model
        known = self._answers.setdefault(str(adapter or "-"), {})
        for example in examples:
            tokens = self._encoder.prompt(example)
            for _ in range(12):
                tokens = [*tokens, int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax())]
            prompt = self._encoder.prompt(example)
            known[" ".join(map(str, prompt))] = tokens[len(prompt) :]
        (self.folder / "answers").write_text(json.dumps(self._answers))
        return answer(self.student, self.folder / "own", examples, adapter=adapter and str(adapter))

    def make_job(self, adapter: Path | None = None, **changes: Any) -> PredictJob:
        values = {
            "student": self.student.source,
            "rows": "rows",
            "rows_hash": "h",
            "max_new_tokens": 12,
            "engine": "vllm",
        }
        return PredictJob.model_validate({**values, "adapter": adapter and str(adapter), **changes})

    def write(self, adapter: Path | None = None, **changes: Any) -> list[Prediction]:
        return self.writer.write(self.make_job(adapter, **changes), OPEN_ROWS, on_progress=self.progress.append)

    def calls(self, name: str) -> list[dict[str, Any]]:
        """What vLLM was asked."""
        log = self.folder / "calls"
        calls = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [call for call in calls if call["call"] == name]


@pytest.fixture
def world(tmp_path: Path, student: Student, encoder: ChatEncoder, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    installed = tmp_path / f"vllm-{VERSION}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Name: vllm\nVersion: {VERSION}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(FAKE), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("FAKE_VLLM_LOG", str(tmp_path / "calls"))
    monkeypatch.setenv("FAKE_VLLM_ANSWERS", str(tmp_path / "answers"))
    world = World(tmp_path, student, encoder)
    yield world
    world.writer.close()


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_ended(pid: int) -> None:
    for _ in range(200):
        if not is_running(pid):
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} is still there")


def test_it_writes_what_our_own_engine_writes(world: World, encoder: ChatEncoder, adapter: Path) -> None:
    untouched, tuned = world.learn(), world.learn(adapter)
    assert any(prediction.truncated for prediction in untouched) and not all(p.truncated for p in tuned)
    assert (world.write(), world.write(adapter)) == (untouched, tuned)

    for call in world.calls("generate"):
        assert call["prompts"] == [encoder.prompt(row) for row in OPEN_ROWS]
        assert set(call["stop_token_ids"]) == encoder.stop_token_ids
        assert (call["temperature"], call["stop"], call["ignore_eos"]) == (0, None, True)
    (first, second) = world.calls("LLM")
    assert (first["lora"], second["lora"], second["rank"]) == (False, True, 8)
    assert (first["model"], first["dtype"]) == (world.student.source, "float32")
    assert (first["trust"], first["seed"], first["cache_bytes"]) == (False, 0, 2**31)
    assert first["limit"] == 512  # 2,048, but for the student's context
    assert [(p.stage, p.done) for p in world.progress] == [
        *[("load", 0), ("load", 1), *(("predict", n) for n in range(1, 10))] * 2
    ]


def test_an_engine_takes_all_ranks_up_to_its_own_and_each_adapter_has_an_id(
    world: World, adapter: Path, tmp_path: Path
) -> None:
    """Also one that took another's place in its folder."""
    tuned = world.learn(adapter)
    world.write(adapter, adapter_hash="a")
    world.write(adapter, adapter_hash="b")
    assert world.write(adapter, adapter_hash="a") == tuned
    world.learn()
    world.write()
    adapters = [call["adapter"] for call in world.calls("generate")]
    assert adapters == [[1, str(adapter)], [2, str(adapter)], [1, str(adapter)], None]
    assert len(world.calls("LLM")) == 1

    larger = tmp_path / "larger"
    larger.mkdir()
    (larger / "adapter_config.json").write_text(json.dumps({"r": 24}))
    with pytest.raises(TrainingError, match="KeyError"):  # the stand-in knows no answers of this adapter
        world.write(larger)
    assert [call["rank"] for call in world.calls("LLM")] == [8, 32]


def test_stop_strings_end_a_row_where_they_do_in_our_own_engine(
    world: World, student: Student, adapter: Path, tmp_path: Path
) -> None:
    """The stand-in does not stop there, so it writes more."""
    world.learn(adapter)
    expected = answer(student, tmp_path / "b", OPEN_ROWS, adapter=str(adapter), stop=("e",))
    assert world.write(adapter, stop=("e",)) == expected
    assert expected != world.write(adapter)
    assert world.calls("generate")[0]["stop"] == ["e"]


def test_in_the_worker_options_are_scored_by_us_and_vllm_ends_before_training(
    world: World, adapter: Path, folder: Path
) -> None:
    mixed = [*ROWS[:2], *OPEN_ROWS[2:5], *ROWS[5:]]
    expected = [
        *world.learn(adapter, examples=ROWS)[:2],
        *world.learn(adapter)[2:5],
        *world.learn(adapter, examples=ROWS)[5:],
    ]
    rows = world.folder / "mixed.jsonl"
    rows.write_text("".join(row.model_dump_json() + "\n" for row in mixed))
    job = world.make_job(adapter, rows=str(rows))
    train = make_job().model_copy(update={"student": job.student, "rows": str(folder / "rows.jsonl")})
    compute = LocalCompute(world.folder / "objects", world.folder / "worker.log", device="cpu", threads=1)
    running: list[bool] = []
    try:
        found = read_predictions(compute.wait(compute.submit(job), lambda _: None))
        assert [(p.example_id, p.response) for p in found] == [(p.example_id, p.response) for p in expected]
        assert [len(call["prompts"]) for call in world.calls("generate")] == [3]
        first = world.calls("LLM")[-1]["pid"]
        assert is_running(first)  # for the next evaluation

        compute.wait(compute.submit(train), lambda p: running.append(p.stage == "fine_tune" and is_running(first)))
        assert running and not any(running)

        compute.wait(compute.submit(job.model_copy(update={"rows_hash": "again"})), lambda _: None)
        second = world.calls("LLM")[-1]["pid"]
        assert second != first and is_running(second)
    finally:
        compute.close()
    wait_until_ended(second)  # its worker was killed, and could end nothing itself


def test_a_row_that_leaves_no_room_is_named(world: World) -> None:
    with pytest.raises(DatasetError, match=r"row 'r0' has \d+ tokens; with 500 new ones, .* context of 512"):
        world.write(max_new_tokens=500)
    assert not world.calls("LLM")


def test_vllms_own_failure_is_told_and_the_next_job_starts_it_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = world.learn()
    monkeypatch.setenv("FAKE_VLLM_FAILS", "Free memory on device is less than desired")
    with pytest.raises(TrainingError, match="vLLM failed: ValueError: Free memory on device is less than desired"):
        world.write()
    monkeypatch.delenv("FAKE_VLLM_FAILS")
    assert world.write() == expected


def test_a_death_of_vllm_is_told(world: World) -> None:
    world.learn()
    world.write()
    os.kill(world.calls("LLM")[-1]["pid"], 9)
    with pytest.raises(TrainingError, match="vLLM ended with exit status -9"):
        world.write()


@pytest.mark.parametrize(
    "change",
    [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"bias": "all"}, {"r": 513}, {"rank_pattern": {"q": 4}}],
)
def test_an_adapter_that_vllm_cannot_apply_is_refused_before_it_starts(
    world: World, change: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 8, "bias": "none", **change}))
    with pytest.raises(TrainingError, match=r"vLLM cannot apply this adapter .* Set student.engine to own"):
        world.write(tmp_path)
    assert not world.calls("LLM")


def test_a_build_for_another_device_is_refused(world: World) -> None:
    (world.folder / f"vllm-{VERSION}.dist-info" / "METADATA").write_text("Name: vllm\nVersion: 0.33.0\n")
    with pytest.raises(ConfigError, match=r"device is the CPU, but vLLM 0.33.0 is built for GPUs"):
        world.write()
