"""How long a run took, from the times of its events."""

import json
from pathlib import Path

import pytest

from pada_agent.app.report.document import write_report
from pada_agent.app.report.reading import read_files
from tests.unit.app.summaries import make_summary

START, WORK, HALF = "start", "fine_tune", None
"""Stages of events. None is a line that a kill has cut in half."""

CASES: dict[str, tuple[list[tuple[str, str | None]], float | None, float | None]] = {
    "in one go": ([("28T10:00", START), ("28T10:30", WORK), ("28T13:20", WORK)], 12_000, 12_000),
    "resumed two days later": (
        [("28T10:00", START), ("28T11:00", WORK), ("28T11:30", HALF), ("30T09:00", START), ("30T09:20", WORK)],
        4_800,
        170_400,
    ),
    "asked again and again while it waits": (
        [("28T10:00", START), ("28T10:10", WORK), ("28T12:00", START), ("28T14:00", START), ("28T14:10", WORK)],
        1_200,
        15_000,
    ),
    "a clock that is set back": (
        [("28T10:00", START), ("28T11:00", WORK), ("28T09:00", WORK), ("28T09:30", WORK)],
        5_400,
        5_400,
    ),
    "of an earlier version": ([("28T10:00", WORK), ("28T11:00", WORK)], 3_600, 3_600),
    "a clock that only goes back": ([("28T10:00", START), ("28T09:00", WORK)], None, None),
    "one event": ([("28T10:00", START)], None, None),
}


def write_events(folder: Path, events: list[tuple[str, str | None]]) -> None:
    lines = [
        json.dumps({"time": f"2026-11-{time}:00.000+00:00", "mode": "custom", "data": {"stage": stage}})
        for time, stage in events
    ]
    halved = [line[: len(line) // 2] if stage is HALF else line for line, (_, stage) in zip(lines, events, strict=True)]
    (folder / "events.jsonl").write_text("\n".join(halved) + "\n")


@pytest.mark.parametrize("name", CASES)
def test_pauses_are_not_running_time(tmp_path: Path, name: str) -> None:
    events, running, whole = CASES[name]
    write_events(tmp_path, events)
    files = read_files(make_summary(), tmp_path)
    assert (files.elapsed_seconds, files.whole_seconds) == (running, whole)


def test_the_report_names_long_pauses_and_only_those(tmp_path: Path) -> None:
    write_events(tmp_path, CASES["resumed two days later"][0])
    page = write_report(make_summary(), tmp_path).read_text("utf-8")
    assert "and took 1 h 20 min (over 47 h 20 min, with pauses)." in page
    write_events(tmp_path, CASES["in one go"][0])
    page = write_report(make_summary(), tmp_path).read_text("utf-8")
    assert "and took 3 h 20 min." in page and "pauses" not in page
