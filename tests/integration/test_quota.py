"""The share of synthetic rows is what joins the training data: refused rows are made up for, on the toy world."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pada_agent.core.chat import ChatRequest
from pada_agent.core.records import Example
from pada_agent.graph.builder import build_graph
from pada_agent.graph.summary import RunSummary
from tests.fakes import ScriptedModel
from tests.toy_world import TRAIN, ToyWorld, make_settings, numbers_in, teach

N_WANTED = 9


def run(world: ToyWorld, *, regenerations: int = 0, **generation: Any) -> RunSummary:
    settings = make_settings(
        loop={"max_iterations": 1, "patience": 1},
        quality={"max_regenerations": regenerations, "accept": "rows", "probe_share": 0},
        generation={"rows_per_call": 3, **generation},
    )
    summary = build_graph(world.connect).compile().invoke({}, context=settings)["summary"]
    assert isinstance(summary, RunSummary)
    return summary


def refuse(n_first: int) -> ScriptedModel:
    """A judge whose first `n_first` ratings are bad."""
    seen = Counter[str]()

    def rate(request: ChatRequest) -> str:
        if request.tags["prompt"] != "quality_control":
            return teach(request)
        seen["ratings"] += 1
        return teach(request, score=3 if seen["ratings"] <= n_first else 9)

    return ScriptedModel(rate)


def joined(summary: RunSummary, world: ToyWorld) -> list[Example]:
    return [row for b in world.read_reports(summary) for row in world.store.read_rows(b.accepted.key, Example)]


def test_refused_rows_are_made_up_for_until_the_share_is_reached(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, judge=refuse(2))
    summary = run(world)
    assert summary.rows.requested == summary.rows.accepted == N_WANTED and summary.rows.fill_rate == 1
    assert summary.rows.asked == summary.rows.written > N_WANTED
    assert {b.top_up for b in world.read_reports(summary)} > {0}
    trained = next(model for model in summary.models if model.iteration == 1)
    assert trained.n_synthetic == N_WANTED
    assert not [w for w in summary.warnings if "join the training data" in w]


def test_where_nothing_passes_the_rounds_end_and_the_shortfall_is_told(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, judge=refuse(10_000))
    summary = run(world, max_asked_per_row=30)
    assert summary.rows.accepted == 0 and summary.rows.fill_rate == 0
    assert summary.rows.asked == 2 * N_WANTED, "written once, and once more"
    assert {b.top_up for b in world.read_reports(summary)} == {0, 1}
    (told,) = [w for w in summary.warnings if "join the training data" in w]
    assert told.startswith(f"iteration 1: 0 of {N_WANTED} synthetic rows join the training data")
    assert told.endswith(f"; rejected most often: low quality ({2 * N_WANTED})")


def test_without_top_ups_what_is_refused_is_lost(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, judge=refuse(2))
    summary = run(world, max_top_ups=0)
    assert summary.rows.asked == N_WANTED > summary.rows.accepted > 0
    assert {b.top_up for b in world.read_reports(summary)} == {0}


def repeat_first_rows(request: ChatRequest) -> str:
    """A writer whose first row in each reply is a training question."""
    reply = json.loads(teach(request))
    if str(request.tags["prompt"]).endswith("generation") and request.tags["agent"] == "data_generation":
        reply[0]["question"] = TRAIN[0]["question"]
    return json.dumps(reply)


def test_spare_rows_take_the_place_of_repeated_ones_in_the_same_call(tmp_path: Path) -> None:
    plain, spared = (ToyWorld(tmp_path / name, teacher=ScriptedModel(repeat_first_rows)) for name in ("a", "b"))
    without, summary = run(plain, rows_per_call=2), run(spared, rows_per_call=2, spare_rows=1)
    assert without.rows.accepted < summary.rows.accepted == N_WANTED
    assert summary.rows.asked < without.rows.asked
    one_row = [b for b in spared.read_reports(summary) if b.n_requested == 1]
    assert one_row and all(b.n_accepted == 1 and b.n_written == 2 for b in one_row)


def test_of_spare_rows_that_pass_no_more_join_than_are_wanted(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, judge=(judge := refuse(0)))
    summary = run(world, spare_rows=2)
    assert summary.rows.accepted == summary.rows.asked == N_WANTED < summary.rows.written
    assert len(joined(summary, world)) == N_WANTED
    assert not [w for w in summary.warnings if "join the training data" in w]
    rated = [r for r in judge.requests if r.tags["prompt"] == "quality_control"]
    assert sum(len(numbers_in(r.messages[-1].content, "sample")) for r in rated) == N_WANTED


@pytest.mark.parametrize(("limit", "n_from_errors"), [(1, 1), (3, 3)])
def test_an_error_feeds_a_few_rows_and_the_patterns_write_the_rest(
    tmp_path: Path, limit: int, n_from_errors: int
) -> None:
    """The toy student answers one training row wrongly."""
    world = ToyWorld(tmp_path)
    summary = run(world, error_source="train", max_rows_per_error=limit)
    branches = Counter(row.provenance.branch for row in joined(summary, world) if row.provenance)
    assert branches == {"training_error": n_from_errors, "pattern": N_WANTED - n_from_errors}
    assert any(f"1 training row is a source for {n_from_errors} of" in w for w in summary.warnings)


def test_a_branch_that_has_too_few_errors_takes_the_rows_of_smallest_margin(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    summary = run(world, max_rows_per_error=1)
    branches = Counter(row.provenance.branch for row in joined(summary, world) if row.provenance)
    assert branches == {"training_error": 5, "pattern": 4} or branches == {"training_error": 4, "pattern": 5}
    assert any("smallest margin" in w for w in summary.warnings)


def test_out_of_fold_errors_come_from_students_that_were_not_trained_on_them(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    run(world, error_source="out_of_fold", error_folds=3)
    folds = [job for job in world.compute.ran if "fold-rest" in str(getattr(job, "rows", ""))]
    assert len(folds) == 3
    for job in folds:
        rest = Path(job.rows).read_text(encoding="utf-8").count("\n")
        assert rest == 6, "two thirds of nine rows"
