import io
import json
import time
from itertools import pairwise
from pathlib import Path

from pada_agent.app.run_folder.events import RunEvent, append_event
from pada_agent.app.terminal.display import LiveDisplay, PlainDisplay, describe_progress, open_display
from pada_agent.core.progress import Progress
from pada_agent.core.records import Ref
from pada_agent.core.tally import Report, Tally


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


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def begin(stage: str) -> RunEvent:
    return RunEvent(mode="custom", data=Progress(stage=stage, done=0, total=1).model_dump())


def end(stage: str, *namespace: str) -> RunEvent:
    return RunEvent(mode="updates", namespace=namespace, data={stage: {}})


def tell(report: list[RunEvent]) -> Report:
    return lambda progress: report.append(RunEvent(mode="custom", data=progress.model_dump()))


def make_writing(clock: Clock) -> dict[int, list[RunEvent]]:
    """Events by second: an analysis of six minutes, then rows whose first call takes three minutes."""
    events: dict[int, list[RunEvent]] = {second: [] for second in range(1000)}
    events[0] = [begin("prepare")]
    events[40] = [end("prepare"), begin("error_analysis")]
    errors, rows = (
        Tally("error_analysis", 16, unit="errors", clock=clock),
        Tally("top_up", 60, unit="rows", clock=clock),
    )
    for second, n in {41: 0, 200: 4, 300: 4, 400: 8}.items():
        clock.now = second
        errors.add(n, tell(events[second])) if n else errors.begin(tell(events[second]))
    events[401] += [end("error_analysis", "branch:1"), begin("leak_guard")]
    events[480] += [end("leak_guard", "branch:1")]
    for second, n in {481: 0, 660: 20, 700: 20, 950: 20}.items():
        clock.now = second
        rows.add(n, tell(events[second])) if n else rows.begin(tell(events[second]))
    events[951] += [end("top_up")]
    return events


def test_a_log_is_never_silent_for_more_than_half_a_minute() -> None:
    stream, clock = io.StringIO(), Clock()
    events, lines = make_writing(clock), [(0, "")]
    clock.now = 0
    display = PlainDisplay(stream, clock=clock)
    for second in range(952):
        clock.now = second
        for event in events[second]:
            display(event)
        display.tick()
        new = stream.getvalue().splitlines()[len(lines) - 1 :]
        lines += [(second, line) for line in new]
    gaps = [after - before for (before, _), (after, _) in pairwise(lines)]
    assert max(gaps) <= 30
    by_second = dict(lines)
    assert by_second[20] == "[prepare] 0:20 so far"
    assert by_second[240] == "[error_analysis] 4/16 errors, 1.21 errors/min, 9:56 left, 3:20 so far", (
        "slower, as nothing comes"
    )
    assert by_second[420] == "[leak_guard] 0:19 so far"
    assert by_second[660] == "[top_up] 20/60 rows, 6.7 rows/min, 5:58 left"
    assert by_second[680] == "[top_up] 20/60 rows, 6.03 rows/min, 6:38 left, 3:19 so far"
    assert all("left" in line for second, line in lines if line.startswith("[top_up]") and 660 <= second < 950)


def test_on_a_terminal_the_line_moves_with_rows_rate_and_time_left() -> None:
    stream, clock = io.StringIO(), Clock()
    events = make_writing(clock)
    clock.now = 0
    display = LiveDisplay(stream, clock=clock)
    seen: list[str] = []
    for second in range(951):
        clock.now = second
        for event in events[second]:
            display(event)
        if second % 10 == 0:
            seen.append(display.render())
    display.close()
    silent = [n for n, (before, after) in enumerate(pairwise(seen)) if before == after]
    assert not silent
    assert "top_up" in seen[69] and "20/60 rows, 6.7 rows/min, 5:58 left" in seen[69] and "0:03:29" in seen[69]
    assert "leak_guard" in seen[45]


def test_until_the_first_event_a_run_is_starting() -> None:
    stream, clock = io.StringIO(), Clock()
    display = PlainDisplay(stream, clock=clock)
    for second in (19, 20, 41):
        clock.now = second
        display.tick()
    display(begin("prepare"))
    clock.now = 61
    display.tick()
    assert stream.getvalue().splitlines() == ["[start] 0:20 so far", "[start] 0:41 so far", "[prepare] 0:20 so far"]
    assert "start" in LiveDisplay(io.StringIO(), clock=clock).render()


def test_nothing_is_said_while_a_person_is_asked_or_when_nothing_is_under_way() -> None:
    stream, clock = io.StringIO(), Clock()
    display = PlainDisplay(stream, clock=clock)
    display(begin("review_strategies"))
    with display.paused():
        clock.now = 100
        display.tick()
    assert stream.getvalue() == ""
    display(end("review_strategies"))
    clock.now = 200
    display.tick()
    assert stream.getvalue() == "[review_strategies] done\n"


def test_a_display_watches_the_clock_by_itself_until_it_is_closed() -> None:
    stream = io.StringIO()
    display = PlainDisplay(stream, silent_seconds=0)
    display(begin("prepare"))  # of which nothing is said at once
    display.start(tick_seconds=0.01)
    deadline = time.monotonic() + 10
    while "[prepare] 0:00 so far" not in stream.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    display.close()
    assert stream.getvalue().startswith("[prepare] 0:00 so far\n")
