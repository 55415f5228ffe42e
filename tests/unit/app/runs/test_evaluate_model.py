import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest

from pada_agent.app.adapters.storage.artifacts import FileArtifactStore
from pada_agent.app.run_folder.events import RunEvent
from pada_agent.app.runs import evaluate_model
from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import parse_config
from pada_agent.core.errors import ArtifactError, ConfigError, DatasetError
from pada_agent.core.jobs import PredictJob
from pada_agent.core.progress import Progress
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example, Metrics, Prediction, Verdict
from pada_agent.evaluation.tasks.exact_match import ExactMatch
from tests.fakes import MemoryDatasets, WordCounter
from tests.toy_student import make_weights
from tests.toy_world import ToyWorld

CONFIG = parse_config({"data": {"validation": "memory:v", "validation_limit": 2}}, origin="test")


LONG = [{"q": "1", "a": "yes it is so and not otherwise at all"}]
WORDY = [{"q": "could you " * 7, "a": "yes"}]
TWICE = [{"q": "1", "a": "yes"}, {"q": "2", "a": "no"}, {"q": "1", "a": "yes"}]
EMPTY = [{"q": "1", "a": "yes"}, {"q": "", "a": "no"}, {"q": "", "a": "yes"}]


class OneJob:
    """`Compute` that answers "yes" to every row of one job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.jobs: list[PredictJob] = []
        self.closed: list[int] = []
        """Number of jobs whenever the adapters were closed."""

    def submit(self, job: PredictJob) -> str:
        self.jobs.append(job)
        rows = [Example.model_validate_json(line) for line in Path(job.rows).read_text().splitlines()]
        lines = [Prediction(example_id=row.id, response="yes").model_dump_json() + "\n" for row in rows]
        (self._folder / "predictions.jsonl").write_text("".join(lines))
        return "job"

    def wait(self, job_id: str, on_progress: Callable[[Progress], None]) -> Path:
        on_progress(Progress(stage=job_id, done=1, total=1))
        return self._folder


class YesTask(ExactMatch):
    max_new_tokens = 7
    stop = ("\n",)

    def read(self, row: RawRow) -> Example:
        if not row.fields["q"]:
            raise DatasetError(f"{row.where}: no question")
        return Example(id=row.where, prompt=row.fields["q"], answer=row.fields["a"])

    def verify(self, example: Example, prediction: Prediction) -> Verdict:
        return Verdict(example_id=example.id, value="correct" if prediction.response == example.answer else "wrong")


@pytest.fixture
def compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OneJob:
    made = OneJob(tmp_path)
    rows = [{"q": "1", "a": "yes"}, {"q": "2", "a": "no"}, {"q": "3", "a": "no"}]
    adapters = replace(
        ToyWorld(tmp_path).connect(CONFIG),
        datasets=MemoryDatasets({"v": rows, "long": LONG, "wordy": WORDY, "twice": TWICE, "empty": EMPTY}),
        store=FileArtifactStore(tmp_path / "objects"),
        compute=made,
        task=YesTask(CONFIG.task),
        student="folder",
        make_tokens=lambda _: WordCounter(20),
        close=lambda: made.closed.append(len(made.jobs)),
    )
    monkeypatch.setattr(evaluate_model, "wiring", SimpleNamespace(connect=lambda _: adapters))
    return made


def test_a_model_is_measured_on_the_rows_of_a_split(compute: OneJob) -> None:
    events: list[RunEvent] = []
    metrics = evaluate_model.evaluate_model(CONFIG, adapter=None, split="validation", on_event=events.append)
    assert (metrics.n, metrics.n_correct) == (2, 1)
    assert (compute.jobs[0].max_new_tokens, compute.jobs[0].stop, compute.jobs[0].adapter) == (7, ("\n",), None)
    assert [e.data["stage"] for e in events] == ["job"]


def test_answers_get_as_much_room_as_in_a_run_with_these_settings(compute: OneJob) -> None:
    """The training rows count too, and so do other files that the settings name."""
    config = parse_config({"data": {"validation": "memory:v", "train": "memory:long"}}, origin="test")
    evaluate_model.evaluate_model(config, adapter=None, split="validation", on_event=lambda _: None)
    assert compute.jobs[0].max_new_tokens == 16
    with pytest.raises(DatasetError, match=r"memory:wordy:1: up to 21 tokens with 7 for the answer"):
        evaluate_model.evaluate_model(
            parse_config({"data": {"validation": "memory:wordy"}}, origin="test"),
            adapter=None,
            split="validation",
            on_event=lambda _: None,
        )


def measure_rows(name: str, **data: str) -> Metrics:
    config = parse_config({"data": {"validation": f"memory:{name}", **data}}, origin="test")
    return evaluate_model.evaluate_model(config, adapter=None, split="validation", on_event=lambda _: None)


@pytest.mark.usefixtures("compute")
def test_a_row_that_appears_twice_is_measured_once_as_in_a_run() -> None:
    assert measure_rows("twice").n == 2


@pytest.mark.usefixtures("compute")
def test_settings_that_would_read_the_answers_in_another_way_are_refused_as_in_a_run() -> None:
    config = parse_config(
        {"data": {"validation": "memory:v"}, "task": {"label_values": {"yes": "granted"}}}, origin="test"
    )
    with pytest.raises(ConfigError, match=r"task.label_values does nothing, because task.labels is empty"):
        evaluate_model.evaluate_model(config, adapter=None, split="validation", on_event=lambda _: None)


@pytest.mark.usefixtures("compute")
def test_rows_that_cannot_be_read_are_told_at_once_and_those_of_other_files_do_not_matter() -> None:
    with pytest.raises(DatasetError, match=r"memory:empty:2: no question \(2 rows like this: 2, 3\)"):
        measure_rows("empty")
    assert measure_rows("v", train="memory:empty").n == 3


def test_calls_at_the_same_time_share_what_the_last_to_end_closes(
    compute: OneJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, wait = Barrier(2, timeout=30), compute.wait

    def wait_for_both(job_id: str, on_progress: Callable[[Progress], None]) -> Path:
        both.wait()
        return wait(job_id, on_progress)

    monkeypatch.setattr(compute, "wait", wait_for_both)
    with ThreadPoolExecutor(2) as pool:
        assert [metrics.n for metrics in pool.map(measure_rows, ["v", "v"])] == [3, 3]
    assert compute.closed == [2], "once, when both were over"


def test_a_call_that_fails_closes_what_it_worked_with(compute: OneJob) -> None:
    with pytest.raises(DatasetError):
        measure_rows("empty")
    assert compute.closed == [0]


def test_an_adapter_is_told_apart_by_its_content(compute: OneJob, tmp_path: Path) -> None:
    def measure(name: str, weights: str) -> PredictJob:
        adapter = tmp_path / name
        adapter.mkdir()
        (adapter / "adapter_config.json").write_text("{}")
        (adapter / "adapter_model.safetensors").write_text(weights)
        evaluate_model.evaluate_model(CONFIG, adapter=adapter, split="validation", on_event=lambda _: None)
        return compute.jobs[-1]

    assert measure("x", "a").adapter_hash == measure("y", "a").adapter_hash != measure("z", "b").adapter_hash


@pytest.mark.usefixtures("compute")
def test_a_split_without_rows_and_a_folder_without_adapter_are_explained(tmp_path: Path) -> None:
    def measure(config: RunConfig, **options: Any) -> Metrics:
        return evaluate_model.evaluate_model(config, **{"adapter": None, "on_event": lambda _: None, **options})

    with pytest.raises(ConfigError, match=r"data\.test: the settings name no rows"):
        measure(CONFIG, split="test")
    with pytest.raises(ArtifactError, match="contains no adapter"):
        measure(CONFIG, split="validation", adapter=tmp_path)


A, B = "a" * 40, "b" * 40


@pytest.mark.usefixtures("compute")
@pytest.mark.parametrize(
    ("model", "revision", "used"),
    [("owner/small", None, A), ("owner/small", "v1", "v1"), ("owner/other", None, None)],
)
def test_the_student_is_taken_at_the_commit_that_the_adapter_was_trained_on(
    model: str, revision: str | None, used: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[RunConfig] = []
    connect = evaluate_model.wiring.connect

    def note(config: RunConfig) -> Any:
        connected.append(config)
        return connect(config)

    monkeypatch.setattr(evaluate_model.wiring, "connect", note)
    student = CONFIG.student.model_copy(update={"model": model, "revision": revision})
    measure_adapter(tmp_path, CONFIG.model_copy(update={"student": student}), base="owner/small", revision=A)
    assert [config.student.revision for config in connected] == [used]


@pytest.mark.parametrize(
    ("student", "base", "revision", "is_refused"),
    [
        (f"owner/small@{B}", "owner/small", A, True),
        (f"owner/small@{A}", "owner/small", A, False),
        (f"owner/small@{B}", "owner/small", "main", False),
        (f"owner/small@{B}", "owner/small", None, False),
        (f"owner/mirror@{B}", "owner/small", A, False),
        ("folder", "/home/other/folder", None, False),
    ],
)
def test_an_adapter_of_another_commit_is_refused(
    student: str,
    base: str,
    revision: str | None,
    is_refused: bool,
    compute: OneJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapters = replace(evaluate_model.wiring.connect(CONFIG), student=student)
    monkeypatch.setattr(evaluate_model.wiring, "connect", lambda _: adapters)
    if is_refused:
        with pytest.raises(
            ConfigError, match=f"student.revision: is {B}, but the adapter was trained on {A} of owner/small"
        ):
            measure_adapter(tmp_path, CONFIG, base=base, revision=revision)
        assert not compute.jobs
    else:
        assert measure_adapter(tmp_path, CONFIG, base=base, revision=revision).n == 2


def measure_adapter(folder: Path, config: RunConfig, *, base: str, revision: str | None) -> Metrics:
    adapter = folder / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "revision": revision}))
    return evaluate_model.evaluate_model(config, adapter=adapter, split="validation", on_event=lambda _: None)


def test_only_a_judge_task_needs_an_llm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("PADA_MODELS", str(tmp_path / "no-encoder"))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(make_weights())
    roles = {key: {"model": "openai:big"} for key in ("analyst", "generator", "judge")}
    student = {"student": {"model": str(tmp_path)}, "models": roles, "runs_folder": str(tmp_path / "runs")}

    def measure(task: str) -> Metrics:
        config = parse_config({**student, "task": {"name": task}}, origin="test")
        return evaluate_model.evaluate_model(config, adapter=None, split="test", on_event=lambda _: None)

    with pytest.raises(ConfigError, match=r"^data\.test: the settings name no rows"):
        measure("exact_match")
    with pytest.raises(ConfigError, match=r"^models.judge: no API key"):
        measure("judge")


def test_in_words() -> None:
    metrics = Metrics(n=200, n_correct=100, n_unscored=2, accuracy=0.5, low=0.43, high=0.57, f1=0.61)
    assert (
        evaluate_model.describe_metrics(metrics, split="test")
        == "test: 50.0% of 200 (95% interval 43.0 – 57.0, F1 0.610, 2 could not be scored)"
    )
