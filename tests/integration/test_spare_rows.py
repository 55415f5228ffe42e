"""Rows that a call wrote beyond what was wanted of it fill the gaps that other calls left, on the toy world."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command

from pada_agent.app.report.data import describe_run
from pada_agent.app.report.reading import read_files
from pada_agent.app.results.publish import publish_run
from pada_agent.core.chat import ChatRequest
from pada_agent.graph.builder import build_graph
from pada_agent.graph.summary import RunSummary
from tests.fakes import ScriptedModel
from tests.integration.graph_runs import THREAD, ask, fine_tunings, training_rows
from tests.toy_world import TRAIN, ToyWorld, make_settings, teach

N_WANTED = 9
ROOM = {"rows_per_call": 6, "spare_rows": 5}


def spoil(first: str) -> ScriptedModel:
    """A writer that only repeats a training question in the first call for the branch."""
    spoiled = Counter[str]()

    def write(request: ChatRequest) -> str:
        reply = teach(request)
        if request.tags["agent"] != "data_generation" or f"-{first}" not in str(request.tags["batch"]):
            return reply
        spoiled["calls"] += 1
        if spoiled["calls"] > 1:
            return reply
        return json.dumps([{**row, "question": TRAIN[0]["question"]} for row in json.loads(reply)])

    return ScriptedModel(write)


def run(world: ToyWorld, **generation: Any) -> RunSummary:
    settings = make_settings(
        loop={"max_iterations": 1, "patience": 1},
        quality={"enabled": False, "max_regenerations": 0},
        generation={**ROOM, **generation},
    )
    summary = build_graph(world.connect).compile().invoke({}, context=settings)["summary"]
    assert isinstance(summary, RunSummary)
    return summary


def test_spare_rows_fill_the_gap_of_a_call_that_failed(tmp_path: Path) -> None:
    without, world = (ToyWorld(tmp_path / name, teacher=spoil("e-b1")) for name in ("a", "b"))
    few, summary = run(without, spare_rows=0, max_top_ups=0), run(world, max_top_ups=0)
    assert few.rows.accepted < N_WANTED == summary.rows.accepted
    assert summary.rows.asked == N_WANTED, "no call was made again"
    new = [row for row in training_rows(fine_tunings(world)[-1]) if row.provenance]
    assert len({row.prompt for row in new}) == len(new) == N_WANTED


def test_with_rounds_left_they_join_only_where_a_label_is_behind(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, teacher=spoil("e-b1"))
    summary = run(world)
    assert summary.rows.accepted == N_WANTED and summary.rows.fill_rate == 1
    labels = Counter(row.answer for row in training_rows(fine_tunings(world)[-1]) if row.provenance)
    assert max(labels.values()) <= 5, labels


def test_spare_rows_that_no_judge_has_seen_are_counted_and_shown_as_well(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, teacher=spoil("e-b1"))
    settings = make_settings(loop={"max_iterations": 1, "patience": 1}, generation=ROOM)
    summary = build_graph(world.connect).compile().invoke({}, context=settings)["summary"]
    rejected = summary.rows.rejected
    assert summary.rows.accepted == N_WANTED and rejected["not needed"] > 0 and rejected["duplicate"] > 0
    assert summary.rows.written == N_WANTED + sum(rejected.values())
    publish_run(summary, tmp_path, world.store)
    lines = (tmp_path / "iterations" / "1" / "rejected.jsonl").read_text().splitlines()
    assert len(lines) == sum(rejected.values())
    told = [line for line in lines if "the judge has not seen it" in line]
    assert len(told) == rejected["not needed"]


def test_rows_that_are_not_needed_are_counted_and_shown_as_such(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    summary = run(world)
    rejected = summary.rows.rejected
    assert summary.rows.accepted == N_WANTED and rejected["not needed"] > 0
    assert summary.rows.written == N_WANTED + sum(rejected.values())
    shown = describe_run(read_files(summary, tmp_path)).rows
    assert Counter(row.status for row in shown)["accepted"] == N_WANTED
    told = [row.reason for row in shown if "enough rows without it" in row.reason]
    assert len(told) == rejected["not needed"]
    publish_run(summary, tmp_path, world.store)
    folder = tmp_path / "iterations" / "1"
    n_lines = [len((folder / f"{name}.jsonl").read_text().splitlines()) for name in ("synthetic", "rejected")]
    assert n_lines == [N_WANTED, summary.rows.written - N_WANTED], "every row is in one of the files"


@pytest.mark.parametrize(
    "paid", [{"quality": {"enabled": True, "max_regenerations": 0}}, {"verification": {"votes": 1}}]
)
def test_a_check_that_takes_calls_sees_no_more_rows_than_are_wanted(tmp_path: Path, paid: dict[str, Any]) -> None:
    world = ToyWorld(tmp_path)
    settings = make_settings(
        loop={"max_iterations": 1, "patience": 1},
        generation=ROOM,
        **{"quality": {"enabled": False, "max_regenerations": 0}, **paid},
    )
    summary = build_graph(world.connect).compile().invoke({}, context=settings)["summary"]
    assert summary.rows.accepted == N_WANTED and summary.rows.solved in (0, N_WANTED)
    assert all(b.n_accepted <= b.n_requested for b in world.read_reports(summary))


def test_what_is_written_for_a_pattern_counts_where_it_joined(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    summary = run(world, pattern_share=1)
    outcomes = [o for found in summary.patterns for o in found.outcomes]
    assert sum(o.n_accepted for o in outcomes) == summary.rows.accepted == N_WANTED


def repeat_all(request: ChatRequest) -> str:
    """A writer that writes the same row again and again."""
    reply = teach(request)
    if request.tags["agent"] != "data_generation":
        return reply
    first = json.loads(reply)[0]["question"]
    return json.dumps([{**row, "question": f"{first} {'again ' * n}"} for n, row in enumerate(json.loads(reply))])


def test_spare_rows_that_repeat_others_are_said_to(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, teacher=ScriptedModel(repeat_all))
    summary = run(world, max_top_ups=0)
    assert summary.rows.accepted < N_WANTED and "not needed" not in summary.rows.rejected
    (told,) = [w for w in summary.warnings if "join the training data" in w]
    assert "duplicates" in told


def test_a_person_may_take_a_row_that_was_not_needed_in_place_of_another(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    changes = {"loop": {"max_iterations": 1}, "quality": {"enabled": False, "max_regenerations": 0}}
    graph, question = ask(world, review={"data": True}, generation=ROOM, **changes)
    spare = [row["id"] for row in question["rejected"] if "enough rows without it" in row["reason"]]
    n_before = len(spare)
    answer = {"drop": [question["rows"][0]["id"]], "accept": spare[:1]}
    summary = graph.invoke(Command(resume=answer), THREAD)["summary"]
    assert summary.rows.accepted == N_WANTED
    assert summary.rows.rejected["not needed"] == n_before - 1 and summary.rows.rejected["person"] == 1
    new = [row.id for row in training_rows(fine_tunings(world)[-1]) if row.provenance]
    assert spare[0] in new and question["rows"][0]["id"] not in new


def test_rows_that_a_person_drops_are_listed_even_if_none_is_left(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    graph, question = ask(world, review={"data": True}, loop={"max_iterations": 1})
    dropped = [row["id"] for row in question["rows"]]
    summary = graph.invoke(Command(resume={"drop": dropped}), THREAD)["summary"]
    assert summary.rows.accepted == 0 and summary.rows.rejected["person"] == len(dropped)
    told = {row.id: row for row in describe_run(read_files(summary, tmp_path)).rows}
    assert all(told[i].status == "left out" and "dropped in review" in told[i].reason for i in dropped)
    publish_run(summary, tmp_path, world.store)
    lines = (tmp_path / "iterations" / "1" / "rejected.jsonl").read_text().splitlines()
    assert sum(json.loads(line)["stage"] == "person" for line in lines) == len(dropped)


def test_rows_that_are_not_needed_are_no_reason_for_missing_ones(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, teacher=spoil("s1-b1"))
    summary = run(world, max_top_ups=0)
    assert summary.rows.rejected["not needed"]
    (told,) = [w for w in summary.warnings if "join the training data" in w]
    assert "not needed" not in told and "rejected most often: duplicates" in told
