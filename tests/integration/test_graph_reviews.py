"""Where the graph waits for a person: strategies, rows, and the cost of a fine-tuning."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from pada_agent.core.config import RunConfig
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.builder import build_graph
from pada_agent.graph.users import Users
from tests.fakes import ScriptedModel
from tests.integration.graph_runs import THREAD, ask, fine_tunings, training_rows
from tests.toy_world import ToyWorld, make_settings, teach


def test_strategy_review_waits_and_goes_on_with_the_edited_strategies(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    graph = build_graph(world.connect).compile(checkpointer=InMemorySaver())
    settings = make_settings(review={"strategies": True}, loop={"max_iterations": 1})
    graph.invoke({}, THREAD, context=settings)
    (question,) = graph.get_state(THREAD).interrupts
    kept = question.value["strategies"][:1]
    kept[0]["strategy_name"] = "mine"
    summary = graph.invoke(Command(resume={"strategies": kept}), THREAD, context=settings)["summary"]
    assert [p.strategy.strategy_name for p in summary.patterns[0].patterns if p.strategy] == ["mine"]


def test_a_run_that_waits_long_for_a_person_lets_go_of_worker_and_models_and_goes_on(tmp_path: Path) -> None:
    world, closed = ToyWorld(tmp_path), Event()
    made = {}

    def connect(settings: RunConfig) -> Adapters:
        if "now" not in made:
            made["now"] = replace(
                world.connect(settings), users=Users(idle_seconds=0.2), close=closed.set, retire=lambda: made.pop("now")
            )
        return made["now"]

    graph = build_graph(connect).compile(checkpointer=InMemorySaver())
    settings = make_settings(review={"data": True}, loop={"max_iterations": 1})
    graph.invoke({}, THREAD, context=settings)
    assert not closed.is_set() and made
    assert closed.wait(10) and not made
    assert graph.invoke(Command(resume="approve"), THREAD, context=settings)["summary"].stop_reason


def test_data_review_drops_the_rows_a_person_refuses(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    graph = build_graph(world.connect).compile(checkpointer=InMemorySaver())
    settings = make_settings(review={"data": True}, loop={"max_iterations": 1})
    graph.invoke({}, THREAD, context=settings)
    (question,) = graph.get_state(THREAD).interrupts
    refused = question.value["rows"][0]["id"]
    graph.invoke(Command(resume={"drop": [refused]}), THREAD, context=settings)
    trained = training_rows(fine_tunings(world)[-1])
    assert refused not in [row.id for row in trained]
    assert len(trained) == 9 + question.value["n_rows"] - 1


def test_a_run_whose_new_rows_a_person_drops_says_so(tmp_path: Path) -> None:
    graph, question = ask(ToyWorld(tmp_path), review={"data": True}, loop={"max_iterations": 1})
    dropped = [row["id"] for row in question["rows"]]
    summary = graph.invoke(Command(resume={"drop": dropped}), THREAD)["summary"]
    assert summary.stop_reason == "a person dropped all new rows"
    assert summary.accepted_samples == (), "nobody sees them as accepted"


@pytest.mark.parametrize("added_id", ["mine", "i9-s9", "a-r2", "i1-e"])
def test_a_person_may_weigh_and_add_strategies_whatever_they_are_called(tmp_path: Path, added_id: str) -> None:
    world = ToyWorld(tmp_path)
    graph, question = ask(world, review={"strategies": True}, loop={"max_iterations": 1}, generation={"share": 2.0})
    first = question["strategies"][0]
    added = {**first, "id": added_id, "pattern_id": "", "strategy_name": "mine", "weight": 2.0}
    result = graph.invoke(Command(resume={"strategies": [first, added]}), THREAD)
    summary = result["summary"]
    requested = {"i1-s1": 0, added_id: 0}
    for written in result["batches"].values():
        for strategy_id, counts in written.by_strategy.items():
            if strategy_id != "training_error":
                requested[strategy_id] += counts.n_requested
    assert requested == {"i1-s1": 3, added_id: 6}
    trained = [row.provenance for row in training_rows(fine_tunings(world)[-1]) if row.provenance]
    assert Counter(origin.strategy_id for origin in trained if origin.strategy_id) == requested
    assert summary.rows.accepted == summary.rows.requested and not summary.rows.rejected
    assert [s.strategy_name for s in summary.patterns[0].added] == ["mine"]


def test_a_strategy_with_an_id_of_an_earlier_iteration_overwrites_nothing(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    graph, question = ask(world, review={"strategies": True}, loop={"max_iterations": 2, "patience": 2})
    graph.invoke(Command(resume="approve"), THREAD)
    (again,) = graph.get_state(THREAD).interrupts
    reused = [{**s, "id": question["strategies"][0]["id"]} for s in again.value["strategies"][:1]]
    summary = graph.invoke(Command(resume={"strategies": reused}), THREAD)["summary"]
    assert {b.iteration for b in world.read_reports(summary)} == {1, 2}
    assert [sum(b.n_requested for b in world.read_reports(summary) if b.iteration == i) for i in (1, 2)] == [9, 9]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [("yes", "An answer is"), ({"drop": ["nobody"]}, "No such rows: nobody"), ({"acept": []}, "Extra inputs")],
)
def test_an_answer_that_cannot_be_used_is_asked_for_again(tmp_path: Path, answer: object, problem: str) -> None:
    graph, _ = ask(ToyWorld(tmp_path), review={"data": True}, loop={"max_iterations": 1})
    graph.invoke(Command(resume=answer), THREAD)
    (question,) = graph.get_state(THREAD).interrupts
    assert problem in question.value["problem"]
    assert "summary" in graph.invoke(Command(resume="approve"), THREAD)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ([{}, {}], "Each strategy needs its own id; these appear twice: i1-s1."),
        ([{"source_ids": ["train-0", "nobody"]}], "No such training rows in source_ids: nobody."),
    ],
)
def test_strategies_that_cannot_be_carried_out_are_asked_for_again(tmp_path: Path, changes: Any, problem: str) -> None:
    graph, question = ask(ToyWorld(tmp_path), review={"strategies": True}, loop={"max_iterations": 1})
    answer = [{**question["strategies"][0], **change} for change in changes]
    graph.invoke(Command(resume={"strategies": answer}), THREAD)
    (again,) = graph.get_state(THREAD).interrupts
    assert again.value["problem"] == problem


def test_a_person_overrules_the_judge_and_the_counts_say_so(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, judge=ScriptedModel(lambda r: teach(r, score=3)))
    settings = {"loop": {"max_iterations": 1}, "quality": {"max_regenerations": 0}, "generation": {"max_top_ups": 0}}
    graph, question = ask(world, review={"data": True}, **settings)
    assert question["rows"] == [] and question["n_rejected"] == 9
    wanted = [row["id"] for row in question["rejected"][:2]]
    summary = graph.invoke(Command(resume={"accept": wanted, "comment": "fine rows"}), THREAD)["summary"]
    assert summary.rows.accepted == 2
    assert summary.rows.written == summary.rows.accepted + sum(summary.rows.rejected.values())
    assert [row.id for row in training_rows(fine_tunings(world)[-1])][-2:] == wanted
    assert summary.reviews[0].answer == {"accept": wanted, "comment": "fine rows"}


def note_training_time(world: ToyWorld, seconds: float) -> None:
    """What the real worker leaves beside an adapter."""
    for folder in world.store.folder("x").parent.glob("fine_tune-*"):
        metrics = {"seconds": seconds, "tokens_per_second": 10.0}
        (folder / "train_metrics.json").write_text(json.dumps(metrics))


@pytest.mark.parametrize(("answer", "n_fine_tunings"), [("approve", 2), ({"stop": True, "comment": "too long"}, 1)])
def test_an_expensive_fine_tuning_waits_for_a_person(tmp_path: Path, answer: object, n_fine_tunings: int) -> None:
    world = ToyWorld(tmp_path)
    graph = build_graph(world.connect).compile(checkpointer=InMemorySaver(), interrupt_before=["collect_errors"])
    settings = make_settings(review={"cost_above_hours": 1.0}, loop={"max_iterations": 1})
    graph.invoke({}, THREAD, context=settings)
    note_training_time(world, seconds=3600)
    graph.invoke(None, THREAD)
    (question,) = graph.get_state(THREAD).interrupts
    assert question.value["hours"] == pytest.approx(18 / 9, abs=0.01), "twice the rows, twice the hour"
    summary = graph.invoke(Command(resume=answer), THREAD)["summary"]
    assert len(fine_tunings(world)) == n_fine_tunings
    if n_fine_tunings == 1:
        assert summary.stop_reason == "a person stopped before the fine-tuning"
        assert summary.best_model == "fine-tuned"


def test_before_anything_was_fine_tuned_there_is_nothing_to_stop_with(tmp_path: Path) -> None:
    graph, question = ask(ToyWorld(tmp_path), review={"cost_above_hours": 0.0}, loop={"max_iterations": 0})
    assert question["basis"].startswith("a rough guess")
    graph.invoke(Command(resume={"stop": True}), THREAD)
    (again,) = graph.get_state(THREAD).interrupts
    assert "Nothing has been fine-tuned yet" in again.value["problem"]


def test_with_reviews_off_nothing_waits(tmp_path: Path) -> None:
    graph = build_graph(ToyWorld(tmp_path).connect).compile(checkpointer=InMemorySaver())
    summary = graph.invoke({}, THREAD, context=make_settings())["summary"]
    assert summary.reviews == () and not graph.get_state(THREAD).interrupts
