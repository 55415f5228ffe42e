import io
import json
from pathlib import Path

from pada_agent.app.run_folder.events import RunEvent, append_event
from pada_agent.app.terminal.display import LiveDisplay, PlainDisplay, describe_progress, open_display
from pada_agent.core.progress import Progress
from pada_agent.core.records import Ref


def step(done: int, total: int = 100, stage: str = "fine_tune") -> RunEvent:
    return RunEvent(mode="custom", data=Progress(stage=stage, done=done, total=total, unit="steps").model_dump())


def test_plain_lines_come_at_the_start_at_most_every_ten_seconds_and_at_the_end() -> None:
    stream, now = io.StringIO(), [0.0]
    display = PlainDisplay(stream, clock=lambda: now[0])
    for second in range(0, 26):
        now[0] = float(second)
        display(step(second))
    display(step(100))
    display(step(1, stage="other"))
    assert stream.getvalue().splitlines() == [
        "[fine_tune] 0/100 steps",
        "[fine_tune] 10/100 steps",
        "[fine_tune] 20/100 steps",
        "[fine_tune] 100/100 steps",
        "[other] 1/100 steps",
    ]


def test_finished_nodes_of_the_outer_graph_are_lines_and_those_of_subgraphs_are_not() -> None:
    stream = io.StringIO()
    display = PlainDisplay(stream)
    display(RunEvent(mode="updates", data={"prepare": None}))
    display(RunEvent(mode="updates", namespace=("branch:1",), data={"error_analysis": {}}))
    assert stream.getvalue() == "[prepare] done\n"


def test_where_several_runs_are_shown_a_line_names_its_run() -> None:
    stream, now = io.StringIO(), [0.0]
    display = PlainDisplay(stream, clock=lambda: now[0])
    for run in ("a", "b", "a"):
        display(step(1).model_copy(update={"run": run}))
    display(RunEvent(mode="updates", data={"prepare": None}, run="a"))
    assert stream.getvalue().splitlines() == [
        "[a fine_tune] 1/100 steps",
        "[b fine_tune] 1/100 steps",
        "[a prepare] done",
    ]


def test_progress_in_words() -> None:
    progress = Progress(stage="s", done=120, total=450, rate=3.2, unit="steps", detail="loss 0.71")
    assert describe_progress(progress) == "120/450 steps, 3.2 steps/s, 1:43 left, loss 0.71"
    assert describe_progress(Progress(stage="s", done=1, total=1, detail="it helped")) == "it helped"


def test_the_live_display_ends_clean_and_leaves_a_line_per_stage() -> None:
    stream = io.StringIO()
    display = LiveDisplay(stream)
    display(step(10))
    with display.paused():
        stream.write("question\n")
    display(step(100))
    display(RunEvent(mode="custom", data=Progress(stage="[red]x", done=1, total=1).model_dump()))
    display.close()
    assert "fine_tune: 100/100 steps" in stream.getvalue()
    assert "[red]x: done" in stream.getvalue()


def test_without_a_terminal_the_display_is_plain() -> None:
    assert isinstance(open_display(io.StringIO()), PlainDisplay)


def test_events_are_json_lines_whatever_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append_event(
        path, RunEvent(mode="updates", data={"node": {"ref": Ref(key="k"), "odd": object(), "half": "\ud800"}})
    )
    append_event(path, step(1))
    first, second = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    assert first["data"]["node"]["ref"] == {"key": "k", "rows": 0}
    assert second["mode"] == "custom"
    assert second["time"]
