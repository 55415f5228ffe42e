import errno
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypedDict

import pytest
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from pada_agent.app.run_folder.events import RunEvent
from pada_agent.app.run_folder.layout import load_run_config
from pada_agent.app.runs import driver
from pada_agent.core.config import BudgetConfig, RunConfig
from pada_agent.core.errors import ArtifactError, ConfigError, DatasetError, PadaError, TrainingError
from pada_agent.core.progress import Progress
from pada_agent.core.records import Ref
from pada_agent.graph.run_context import find_settings
from pada_agent.graph.summary import RunSummary
from tests.unit.app.claims import claim
from tests.unit.app.summaries import make_summary


class State(TypedDict, total=False):
    settings: RunConfig
    ref: Ref
    reply: Any
    summary: RunSummary


class World:
    """A graph of three nodes: prepare, work (which may fail, or ask), finish (which publishes a summary)."""

    def __init__(self) -> None:
        self.visited: list[str] = []
        self.connected: list[RunConfig] = []
        self.closed: list[RunConfig] = []
        self.work: Callable[[], Any] = lambda: None

    def build_graph(self, _: object) -> StateGraph[Any, Any, Any, Any]:
        builder = StateGraph(State, context_schema=RunConfig)
        builder.add_node("prepare", self._prepare)
        builder.add_node("work", self._work)
        builder.add_node("finish", self._finish)
        builder.add_edge(START, "prepare")
        builder.add_edge("prepare", "work")
        builder.add_edge("work", "finish")
        builder.add_edge("finish", END)
        return builder

    def _prepare(self, state: State, runtime: Runtime[RunConfig]) -> State:
        assert not state
        self.visited.append("prepare")
        return {"settings": runtime.context, "ref": Ref(key="rows", rows=2)}

    def _work(self, state: State) -> State:
        self.visited.append("work")
        assert isinstance(state["ref"], Ref)
        get_stream_writer()(Progress(stage="work", done=1, total=2).model_dump())
        return {"reply": self.work()}

    def _finish(self, state: State) -> State:
        self.visited.append("finish")
        self.publish(state["settings"], make_summary())
        return {"summary": make_summary()}

    def publish(self, settings: RunConfig, summary: RunSummary) -> None:
        Path(settings.runs_folder, settings.name, "summary.json").write_text(summary.model_dump_json())

    def connect(self, settings: RunConfig) -> SimpleNamespace:
        self.connected.append(settings)
        return SimpleNamespace(publish=lambda summary, _: self.publish(settings, summary), store=None)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(driver, "build_graph", made.build_graph)
    monkeypatch.setattr(
        driver,
        "wiring",
        SimpleNamespace(
            connect=made.connect,
            close=made.closed.append,
            stop=made.closed.append,
            allow=lambda _: None,
            is_stopped=lambda _: False,
            count_calls_under_way=lambda _: 3,
        ),
    )
    return made


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return RunConfig(name="demo", runs_folder=str(tmp_path))


def ignore(_: RunEvent) -> None: ...


def fail() -> None:
    raise TrainingError("the loss became NaN")


def test_a_run_goes_to_its_end_and_leaves_its_records(world: World, config: RunConfig, tmp_path: Path) -> None:
    events: list[RunEvent] = []
    outcome = driver.start_run(config, on_event=events.append)
    assert outcome.summary == make_summary()
    assert outcome.folder == tmp_path / "demo"
    assert world.visited == ["prepare", "work", "finish"]
    assert [next(iter(e.data)) for e in events if e.mode == "updates"] == world.visited
    assert [e.data["stage"] for e in events if e.mode == "custom"] == ["work"]
    start, *others = (tmp_path / "demo" / "events.jsonl").read_text().splitlines()
    assert '"stage": "start"' in start and len(others) == len(events)
    assert world.closed == [config]


@pytest.mark.parametrize(("mode", "n_closed"), [("custom", 1), ("updates", 2)])
def test_progress_that_cannot_be_written_costs_nothing_and_a_finished_node_ends_the_run(
    world: World, config: RunConfig, monkeypatch: pytest.MonkeyPatch, mode: str, n_closed: int
) -> None:
    def append(_: Path, event: RunEvent) -> None:
        if event.mode == mode and "prepare" not in event.data:
            raise ArtifactError("events.jsonl: the disk is full")

    monkeypatch.setattr(driver, "append_event", append)
    shown: list[RunEvent] = []
    if mode == "custom":
        assert driver.start_run(config, on_event=shown.append).summary == make_summary()
        assert [event.mode for event in shown] == ["updates", "custom", "updates", "updates"]
    else:
        with pytest.raises(ArtifactError, match="the disk is full"):
            driver.start_run(config, on_event=shown.append)
    assert world.closed == n_closed * [config], "what is in flight is not waited for"


def test_runs_in_threads_make_their_graphs_one_after_the_other(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_now, seen = [0], []

    def build(connect: object) -> StateGraph[Any, Any, Any, Any]:
        open_now[0] += 1
        seen.append(open_now[0])
        time.sleep(0.05)
        open_now[0] -= 1
        return world.build_graph(connect)

    monkeypatch.setattr(driver, "build_graph", build)
    configs = [RunConfig(name=f"r{n}", runs_folder=str(tmp_path)) for n in range(3)]
    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(driver.start_run, configs))
    assert all(outcome.summary for outcome in outcomes)
    assert seen == [1, 1, 1]


def test_a_failed_run_goes_on_at_the_node_that_failed(world: World, config: RunConfig, tmp_path: Path) -> None:
    world.work = fail
    with pytest.raises(TrainingError, match="NaN"):
        driver.start_run(config, on_event=ignore)
    assert world.closed == [config]
    world.work = lambda: "done"
    assert driver.resume_run(tmp_path / "demo", on_event=ignore).summary
    assert world.visited == ["prepare", "work", "work", "finish"]


def test_starting_again_with_the_same_settings_goes_on(world: World, config: RunConfig) -> None:
    world.work = fail
    with pytest.raises(TrainingError):
        driver.start_run(config, on_event=ignore)
    world.work = lambda: "done"
    driver.start_run(config, on_event=ignore)
    assert driver.start_run(config, on_event=ignore).summary
    assert world.visited == ["prepare", "work", "work", "finish"]


def test_a_spent_budget_is_raised_in_place(world: World, config: RunConfig, tmp_path: Path) -> None:
    world.work = fail
    with pytest.raises(TrainingError):
        driver.start_run(config, on_event=ignore)
    world.work = lambda: "done"
    richer = config.model_copy(update={"budget": BudgetConfig(max_calls=9)})
    assert driver.start_run(richer, on_event=ignore).summary
    assert world.visited == ["prepare", "work", "work", "finish"]
    assert world.connected[-1].budget == richer.budget
    assert load_run_config(tmp_path / "demo").budget == richer.budget


def test_what_an_error_says_to_change_can_be_changed_and_the_command_given_again(
    world: World, config: RunConfig, tmp_path: Path
) -> None:
    world.work = fail
    with pytest.raises(TrainingError):
        driver.start_run(config, on_event=ignore)
    world.work = lambda: "done"
    assert driver.start_run(config.model_copy(update={"seed": 1}), on_event=ignore).summary
    assert world.visited == ["prepare", "work", "prepare", "work", "finish"]
    assert load_run_config(tmp_path / "demo").seed == 1
    assert not (tmp_path / "demo" / "error.txt").exists()


def test_a_waiting_run_goes_on_with_other_settings_on_a_person_s_word(
    world: World, config: RunConfig, tmp_path: Path
) -> None:
    world.work = lambda: interrupt({"review": "strategies", "strategies": []})
    driver.start_run(config, on_event=ignore)
    (tmp_path / "demo" / "objects" / "predict-1").mkdir(parents=True)
    (tmp_path / "demo" / "objects" / "predict-1" / "predictions.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match="seed differ"):
        driver.start_run(config.model_copy(update={"seed": 1}), on_event=ignore)
    world.work = lambda: "done"
    assert driver.resume_run(tmp_path / "demo", changed=lambda c: c.model_copy(update={"seed": 1})).summary
    assert world.visited == ["prepare", "work", "prepare", "work", "finish"]
    assert load_run_config(tmp_path / "demo").seed == 1
    with pytest.raises(ConfigError, match="finished"):
        driver.resume_run(tmp_path / "demo", changed=lambda c: c.model_copy(update={"seed": 2}))


def test_a_limit_that_was_taken_away_is_gone_from_the_run_that_resumes(
    world: World, config: RunConfig, tmp_path: Path
) -> None:
    limited = config.model_copy(update={"budget": BudgetConfig(max_calls=1)})
    world.work = fail
    with pytest.raises(TrainingError):
        driver.start_run(limited, on_event=ignore)
    found: list[RunConfig] = []
    world.work = lambda: found.append(find_settings({"settings": limited}))
    driver.resume_run(tmp_path / "demo", changed=lambda c: c.model_copy(update={"budget": BudgetConfig()}))
    assert [settings.budget for settings in found] == [BudgetConfig()]


def test_another_budget_on_resume_loses_no_step(world: World, config: RunConfig, tmp_path: Path) -> None:
    world.work = fail
    with pytest.raises(TrainingError):
        driver.start_run(config, on_event=ignore)
    world.work = lambda: "done"
    richer = BudgetConfig(max_calls=9)
    assert driver.resume_run(tmp_path / "demo", changed=lambda c: c.model_copy(update={"budget": richer})).summary
    assert world.visited == ["prepare", "work", "work", "finish"]
    assert load_run_config(tmp_path / "demo").budget == richer


def test_settings_that_were_edited_in_the_run_s_folder_are_not_passed_over(
    world: World, config: RunConfig, tmp_path: Path
) -> None:
    """The checkpoint's would be obeyed, and the report would show the others."""
    world.work = fail
    with pytest.raises(TrainingError):
        driver.start_run(config, on_event=ignore)
    written = tmp_path / "demo" / "config.yaml"
    as_begun = written.read_text()
    written.write_text(as_begun.replace("max_iterations: 3", "max_iterations: 9"))
    with pytest.raises(ConfigError, match=r"config.yaml: was changed .* \(loop.max_iterations\)(.|\n)*--set"):
        driver.resume_run(tmp_path / "demo", on_event=ignore)
    written.write_text(as_begun)
    world.work = lambda: "done"
    assert driver.resume_run(tmp_path / "demo", on_event=ignore).summary


def test_a_run_that_resumes_says_that_it_does_not_read_changed_rows_again(world: World, tmp_path: Path) -> None:
    train = tmp_path / "train.jsonl"
    train.write_text('{"question": "a"}\n')
    values = {"name": "demo", "runs_folder": str(tmp_path), "data": {"train": str(train)}}
    world.work = fail
    with pytest.raises(TrainingError):
        driver.start_run(RunConfig.model_validate(values), on_event=ignore)
    train.write_text('{"question": "b"}\n')
    world.work = lambda: "done"
    told: list[RunEvent] = []
    assert driver.resume_run(tmp_path / "demo", on_event=told.append).summary
    assert f"the rows in {train} have changed. The run continues with the rows that it read" in told[0].data["detail"]


@pytest.mark.usefixtures("world")
def test_rows_that_changed_before_they_were_read_are_those_in_the_manifest(tmp_path: Path) -> None:
    train = tmp_path / "train.jsonl"
    train.write_text('{"question": "a"}\n')
    config = RunConfig.model_validate({"name": "demo", "runs_folder": str(tmp_path), "data": {"train": str(train)}})
    claim(config)
    train.write_text('{"question": "b"}\n')
    told: list[RunEvent] = []
    assert driver.resume_run(tmp_path / "demo", on_event=told.append).summary
    assert not any("have changed" in str(event.data) for event in told)
    assert driver.start_run(config, on_event=ignore).summary, "it is the run with these rows"


@pytest.mark.parametrize("error", [ConfigError("no key"), DatasetError("no such column"), ArtifactError("not pulled")])
@pytest.mark.usefixtures("world")
def test_nothing_is_left_of_a_run_that_ended_before_there_was_anything_to_keep(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: PadaError
) -> None:
    def refuse(_: RunConfig) -> None:
        raise error

    monkeypatch.setattr(driver.wiring, "connect", refuse)
    with pytest.raises(type(error)):
        driver.start_run(config, on_event=ignore)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("world")
def test_nothing_is_left_where_files_cannot_be_locked(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(ArtifactError, match="cannot lock files"):
        driver.start_run(config, on_event=ignore)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("world")
def test_other_settings_in_the_same_folder_are_refused(config: RunConfig) -> None:
    driver.start_run(config, on_event=ignore)
    with pytest.raises(ConfigError, match="seed differ"):
        driver.start_run(config.model_copy(update={"seed": 1}), on_event=ignore)


def test_a_finished_run_is_shown_again_wherever_it_lies(world: World, config: RunConfig, tmp_path: Path) -> None:
    driver.start_run(config, on_event=ignore)
    moved = (tmp_path / "demo").rename(tmp_path / "moved")
    assert driver.resume_run(moved, on_event=ignore).summary == make_summary()
    assert world.visited == ["prepare", "work", "finish"]


def test_a_summary_that_was_deleted_is_written_again(world: World, config: RunConfig, tmp_path: Path) -> None:
    """As the error of a damaged one says."""
    driver.start_run(config, on_event=ignore)
    (tmp_path / "demo" / "summary.json").write_text("{")
    with pytest.raises(ArtifactError, match="Delete it, then: pada resume"):
        driver.resume_run(tmp_path / "demo", on_event=ignore)
    (tmp_path / "demo" / "summary.json").unlink()
    assert driver.resume_run(tmp_path / "demo", on_event=ignore).summary == make_summary()
    assert world.visited == ["prepare", "work", "finish"]


def test_nobody_approves_by_default(world: World, config: RunConfig) -> None:
    world.work = lambda: interrupt({"review": "strategies", "strategies": []})
    outcome = driver.start_run(config, on_event=ignore)
    assert outcome.summary is None
    assert [q.payload["review"] for q in outcome.questions] == ["strategies"]
    assert world.visited == ["prepare", "work"]


def test_a_waiting_run_asks_again_without_work_and_takes_the_answer(
    world: World, config: RunConfig, tmp_path: Path
) -> None:
    replies: list[Any] = []
    world.work = lambda: replies.append(interrupt({"review": "strategies", "strategies": []}))
    driver.start_run(config, on_event=ignore)
    assert driver.resume_run(tmp_path / "demo", on_event=ignore).questions
    assert world.visited == ["prepare", "work"]
    assert driver.resume_run(tmp_path / "demo", on_event=ignore, answer=lambda _: {"strategies": []}).summary
    assert replies == [{"strategies": []}]


def test_two_questions_in_a_row_are_both_asked(world: World, config: RunConfig) -> None:
    world.work = lambda: [interrupt({"review": "strategies"}), interrupt({"review": "data"})]
    asked: list[str] = []

    def answer(question: driver.Question) -> str:
        asked.append(question.payload["review"])
        return "approve"

    assert driver.start_run(config, on_event=ignore, answer=answer).summary
    assert asked == ["strategies", "data"]


def test_damaged_checkpoints_are_named_with_the_way_out(world: World, config: RunConfig, tmp_path: Path) -> None:
    world.work = fail
    with pytest.raises(TrainingError):
        driver.start_run(config, on_event=ignore)
    for path in (tmp_path / "demo").glob("checkpoints.sqlite*"):
        path.write_bytes(b"not a database, and long enough to be read as one" * 100)
    with pytest.raises(ArtifactError, match=r"checkpoints\.sqlite: .*delete it, then"):
        driver.resume_run(tmp_path / "demo", on_event=ignore)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_the_adapters_first_and_says_how_to_go_on(
    world: World, config: RunConfig, tmp_path: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        os.kill(os.getpid(), number)
        while not world.closed:
            time.sleep(0.01)

    world.work = work
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match=f"resume with: pada resume {tmp_path / 'demo'}"):
        driver.start_run(config, on_event=ignore)
    assert world.closed
    assert signal.getsignal(number) is before
    assert "3 in flight may finish, for at most 300 s" in capsys.readouterr().err
    world.work = lambda: None
    assert driver.resume_run(tmp_path / "demo", on_event=ignore).summary
