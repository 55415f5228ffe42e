"""More rows are written than are needed, and the best of them are trained on, on the toy world."""

from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command

from pada_agent.app.report.data import describe_run
from pada_agent.app.report.document import render_report
from pada_agent.app.report.reading import read_files
from pada_agent.app.results.publish import publish_run
from pada_agent.app.run_folder import layout
from pada_agent.core.jobs import InfluenceJob
from pada_agent.core.records import Example, Ref, ScoredRow
from pada_agent.core.selection import RowInfluence, Selected, SelectedRow
from pada_agent.graph.builder import build_graph
from pada_agent.graph.nodes.selecting import select_rows, tell_unmeasured
from pada_agent.graph.state import RunState
from tests.integration.graph_runs import THREAD, ask
from tests.integration.test_quota import refuse
from tests.toy_world import ToyWorld, make_settings

N_WANTED = 9


def run(world: ToyWorld, **generation: Any) -> dict[str, Any]:
    settings = make_settings(
        loop={"max_iterations": 1, "patience": 1},
        quality={"max_regenerations": 0},
        generation={"rows_per_call": 3, "oversampling": 2, **generation},
    )
    state: dict[str, Any] = build_graph(world.connect).compile().invoke({}, context=settings)
    return state


def find_jobs(world: ToyWorld) -> list[InfluenceJob]:
    return [job for job in world.compute.ran if isinstance(job, InfluenceJob)]


@pytest.mark.parametrize("selection", ["random", "loss", "influence"])
def test_twice_as_many_rows_are_written_and_half_of_them_trained_on(tmp_path: Path, selection: str) -> None:
    world = ToyWorld(tmp_path)
    summary = run(world, selection=selection)["summary"]
    assert summary.rows.requested == summary.rows.accepted == N_WANTED and summary.rows.fill_rate == 1
    assert (
        summary.rows.rejected["selection"]
        == summary.rows.written - summary.rows.rejected.get("duplicate", 0) - N_WANTED
    )
    assert summary.rows.written >= 2 * N_WANTED
    trained = next(model for model in summary.models if model.iteration == 1)
    assert trained.n_synthetic == N_WANTED
    selected = world.store.read_rows(summary.selections["1"].key, Selected)
    chosen = {row.example_id for row in selected if row.is_chosen}
    assert chosen == {row.id for row in world.store.read_rows(trained.synthetic[-1].key, Example)}
    assert len(find_jobs(world)) == (selection in ("loss", "influence"))
    publish_run(summary, tmp_path, world.store)
    lines = layout.read_lines(tmp_path / "iterations" / "1" / "selection.jsonl", SelectedRow)
    assert {line.example_id for line in lines if line.is_chosen} == chosen
    assert len(lines) == len(selected) and all(line.prompt and line.answer for line in lines)


def test_without_a_selection_no_more_is_written_than_needed(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    summary = run(world)["summary"]
    assert summary.rows.accepted == N_WANTED and summary.rows.written < 2 * N_WANTED
    assert not summary.selections and not find_jobs(world)


def test_rows_are_compared_with_diagnosed_failures_alone(tmp_path: Path) -> None:
    """Neither the part of validation that selects models nor a test row decides what is trained on."""
    world = ToyWorld(tmp_path)
    state = run(world, selection="influence")
    (job,) = find_jobs(world)
    summary = state["summary"]
    diagnosed = next(model for model in summary.models if model.iteration == 0)
    n_diagnosis = diagnosed.validation.n - diagnosed.selection.n
    measured = world.store.read_rows(diagnosed.measured.key, ScoredRow)
    wrong = [row.example.id for row in measured[:n_diagnosis] if row.verdict.value == "wrong"]
    compared = [Example.model_validate_json(line).id for line in Path(job.targets).read_text().split("\n") if line]
    assert compared == wrong and wrong
    assert diagnosed.adapter == f"objects/{job.adapter_hash}"


def test_the_report_names_the_failures_a_row_was_chosen_for(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    summary = run(world, selection="influence")["summary"]
    data = describe_run(read_files(summary, tmp_path))
    (told,) = data.choices
    assert told.startswith("Iteration 1: 9 of ") and "of which the new model answers" in told
    chosen = [row for row in data.rows if "chosen for '" in row.reason]
    assert chosen and all(row.status == "accepted" for row in chosen)
    assert all("repaired)" in row.reason for row in chosen)
    passed_over = [row for row in data.rows if "other rows were chosen" in row.reason]
    assert passed_over and all(row.status == "left out" for row in passed_over)
    assert told in render_report(data)


def test_too_few_rows_to_choose_from_are_told(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, judge=refuse(2))
    summary = run(world, selection="random", max_top_ups=0)["summary"]
    assert any("passed the checks, to choose 9 from" in warning for warning in summary.warnings)


def test_rows_that_a_person_dropped_are_told_apart_from_rows_that_were_not_chosen(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    one = {"max_iterations": 1, "patience": 1}
    graph, question = ask(world, review={"data": True}, loop=one, generation={"selection": "influence"})
    dropped = question["rows"][0]["id"]
    summary = graph.invoke(Command(resume={"drop": [dropped]}), THREAD)["summary"]
    (told,) = [row for row in describe_run(read_files(summary, tmp_path)).rows if row.id == dropped]
    assert told.status == "left out"
    assert "dropped in review" in told.reason and "chosen for" not in told.reason


def test_if_fewer_rows_pass_than_are_needed_all_are_said_to_join(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, judge=refuse(5))
    summary = run(world, selection="random", max_top_ups=0)["summary"]
    assert 0 < summary.rows.accepted < N_WANTED and not summary.selections
    (told,) = [warning for warning in summary.warnings if f"{summary.rows.accepted} of 18 synthetic rows" in warning]
    assert "join the training data" in told


def test_rows_and_failures_that_could_not_be_measured_are_told() -> None:
    found = [
        RowInfluence(example_id="a", loss=None, cosines=(0, 0)),
        RowInfluence(example_id="b", loss=1, cosines=(0, 1)),
    ]
    lost, blank = tell_unmeasured(found, 2)
    assert lost.startswith("1 of 2 rows") and "for 1 of 2 failures" in blank
    assert not tell_unmeasured(found[1:], 0)


def test_a_run_from_before_rows_were_counted_goes_on(tmp_path: Path) -> None:
    """Its state has no `n_wanted`."""
    state = RunState(iteration=1, settings=make_settings(), new_rows=Ref(key="synthetic-1", rows=3))
    assert select_rows(state, ToyWorld(tmp_path).connect(make_settings())) == {}
