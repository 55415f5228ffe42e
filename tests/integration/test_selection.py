"""More rows are written than are needed, and the best of them are trained on, on the toy world."""

from pathlib import Path
from typing import Any

import pytest

from pada_agent.app.report.data import describe_run
from pada_agent.app.report.document import render_report
from pada_agent.app.report.reading import read_files
from pada_agent.app.results.publish import publish_run
from pada_agent.app.run_folder import layout
from pada_agent.core.jobs import InfluenceJob
from pada_agent.core.records import Example, ScoredRow
from pada_agent.core.selection import Selected, SelectedRow
from pada_agent.graph.builder import build_graph
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
    assert len(find_jobs(world)) == (selection != "random")
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
