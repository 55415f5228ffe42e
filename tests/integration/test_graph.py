"""The real graph over a toy world: the outer loop, the regeneration loop, rollback, leaks, kill and resume."""

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables.schema import StreamEvent
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Durability

from pada_agent.core.chat import ChatRequest
from pada_agent.core.errors import (
    ConfigError,
    DatasetError,
    LeakageError,
    ModelUnavailableError,
    PromptError,
    SandboxError,
)
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example, Rating
from pada_agent.evaluation.tasks.multiple_choice import MultipleChoice
from pada_agent.graph.builder import build_graph
from tests.fakes import MemoryDatasets, ScriptedModel
from tests.integration.graph_runs import THREAD, fine_tunings, run, training_rows
from tests.toy_world import TEST, TRAIN, VALIDATION, ToyWorld, make_settings, say_fruit, teach


def test_the_loop_runs_to_the_end_and_publishes_a_summary(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    summary = run(world)
    assert [arm.name for arm in summary.models] == ["untouched", "fine-tuned", "iteration 1", "iteration 2"]
    assert world.published == [summary]
    assert summary.rows.requested == 18
    assert summary.rows.written == summary.rows.accepted + sum(summary.rows.rejected.values())
    assert summary.stop_reason == "iteration limit of 2 reached"


def test_ainvoke_gives_the_same_summary_as_invoke(tmp_path: Path) -> None:
    graph = build_graph(ToyWorld(tmp_path / "a").connect).compile()
    later = asyncio.run(graph.ainvoke({}, context=make_settings()))["summary"]
    now = run(ToyWorld(tmp_path / "b"))
    assert later.model_dump(exclude={"seconds_by_stage"}) == now.model_dump(exclude={"seconds_by_stage"})


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_any_durability_gives_the_same_summary(tmp_path: Path, durability: Durability) -> None:
    graph = build_graph(ToyWorld(tmp_path / "a").connect).compile(checkpointer=InMemorySaver())
    later = asyncio.run(graph.ainvoke({}, THREAD, context=make_settings(), durability=durability))["summary"]
    graph = build_graph(ToyWorld(tmp_path / "b").connect).compile(checkpointer=InMemorySaver())
    now = graph.invoke({}, THREAD, context=make_settings(), durability=durability)["summary"]
    assert later.model_dump(exclude={"seconds_by_stage"}) == now.model_dump(exclude={"seconds_by_stage"})


def test_streaming_events_gives_the_same_summary_as_invoke(tmp_path: Path) -> None:
    async def collect() -> list[StreamEvent]:
        graph = build_graph(ToyWorld(tmp_path / "a").connect).compile()
        return [
            event
            async for event in graph.astream_events({}, {"recursion_limit": 100}, context=make_settings(), version="v2")
        ]

    events = asyncio.run(collect())
    streamed = events[-1]["data"]["output"]["summary"]
    straight = run(ToyWorld(tmp_path / "b"))
    volatile = {"seconds_by_stage"}
    assert streamed.model_dump(exclude=volatile) == straight.model_dump(exclude=volatile)
    assert {event["metadata"].get("langgraph_node") for event in events} > {
        "quality_control",
        "finish",
    }


def test_zero_iterations_only_fine_tune_and_measure(tmp_path: Path) -> None:
    summary = run(ToyWorld(tmp_path), loop={"max_iterations": 0})
    assert [arm.name for arm in summary.models] == ["untouched", "fine-tuned"]
    assert summary.verdict == "No augmentation round was compared with plain fine-tuning."


def test_patience_ends_the_loop_without_improvement(tmp_path: Path) -> None:
    summary = run(ToyWorld(tmp_path), loop={"max_iterations": 3, "patience": 1})
    assert len(summary.models) == 3
    assert summary.stop_reason.startswith("no improvement on the selection part")


def test_a_regressing_iteration_is_not_built_upon(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    summary = run(world)
    assert summary.best_model == "fine-tuned"
    sizes = [len(training_rows(job)) for job in fine_tunings(world)]
    accepted = [sum(b.n_accepted for b in world.read_reports(summary) if b.iteration == i) for i in (1, 2)]
    assert sizes == [9, 9 + accepted[0], 9 + accepted[1]]


def test_a_weak_batch_goes_back_with_feedback_until_attempts_are_used_up(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, judge=ScriptedModel(lambda r: teach(r, score=3)))
    summary = run(world, loop={"max_iterations": 1}, quality={"max_regenerations": 2}, generation={"max_top_ups": 0})
    assert {b.attempts for b in world.read_reports(summary)} == {3}
    assert summary.rows.accepted == 0
    assert summary.rows.rejected["quality"] == summary.rows.written == 3 * summary.rows.requested
    assert "no synthetic row was accepted" in summary.alarms
    assert summary.stop_reason == "no synthetic row was accepted"
    assert isinstance(world.teacher, ScriptedModel)
    second = [
        r for r in world.teacher.requests if r.tags["prompt"] == "pattern_guided_generation" and r.draw.endswith("/2")
    ]
    assert second and all("be clearer" in r.messages[-1].content for r in second)


def test_a_batch_that_improves_is_accepted_at_the_second_attempt(tmp_path: Path) -> None:
    judge = ScriptedModel(lambda r: teach(r, score=8 if r.draw.endswith("/2") else 2))
    world = ToyWorld(tmp_path, judge=judge)
    summary = run(world, loop={"max_iterations": 1})
    assert {b.attempts for b in world.read_reports(summary)} == {2}
    assert summary.rows.accepted == summary.rows.requested


def test_without_quality_control_no_judge_is_asked(tmp_path: Path) -> None:
    summary = run(ToyWorld(tmp_path, judge=ScriptedModel([])), quality={"enabled": False}, loop={"max_iterations": 1})
    assert summary.rows.accepted == summary.rows.requested


def test_both_branches_write_and_every_row_has_its_provenance(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    summary = run(world, loop={"max_iterations": 1})
    rows = [row for b in world.read_reports(summary) for row in world.store.read_rows(b.accepted.key, Example)]
    origins = [row.provenance for row in rows if row.provenance]
    assert len(origins) == len(rows) > 0
    assert {o.branch for o in origins} == {"pattern", "training_error"}
    assert all(o.strategy_id for o in origins if o.branch == "pattern")
    assert all(o.source_id.startswith("train-") and o.call_key for o in origins)


def test_no_validation_or_test_row_is_ever_trained_on_even_if_the_teacher_writes_one(tmp_path: Path) -> None:
    canary = VALIDATION[0]["question"].upper() + "!"

    def copy_validation(request: ChatRequest) -> str:
        if "generation" not in str(request.tags["prompt"]):
            return teach(request)
        rows = json.loads(teach(request))
        rows[0]["question"] = canary
        return json.dumps(rows)

    world = ToyWorld(tmp_path, teacher=ScriptedModel(copy_validation), judge=ScriptedModel(teach))
    summary = run(world, loop={"max_iterations": 1})
    assert summary.rows.rejected["contamination"] > 0
    held_out = {row["question"].casefold() for row in VALIDATION}
    trained = [row for job in fine_tunings(world) for row in training_rows(job)]
    assert not [row.prompt for row in trained if row.prompt.casefold().strip("!") in held_out]


def test_a_canary_in_validation_never_reaches_a_generator_prompt(tmp_path: Path) -> None:
    canary = VALIDATION[6]["question"]

    def leak(request: ChatRequest) -> str:
        if request.tags["prompt"] != "strategy_drafting":
            return teach(request)
        items = json.loads(teach(request))
        items[0]["generation_approach"] += f" For example: {canary}."
        return json.dumps(items)

    world = ToyWorld(tmp_path, teacher=ScriptedModel(leak))
    summary = run(world, loop={"max_iterations": 1})
    assert canary in summary.redactions
    assert isinstance(world.teacher, ScriptedModel)
    generator_prompts = [
        r.messages[-1].content for r in world.teacher.requests if "generation" in str(r.tags["prompt"])
    ]
    assert generator_prompts and not [p for p in generator_prompts if canary in p]


def test_training_rows_that_stand_in_validation_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(LeakageError, match="all 10 rows are also in validation or test"):
        run(ToyWorld(tmp_path), data={"train": "memory:validation", "validation": "memory:validation"})


def test_rows_and_names_may_come_as_input(tmp_path: Path) -> None:
    graph = build_graph(ToyWorld(tmp_path / "a").connect).compile()
    context = make_settings(data={"train": "", "validation": "", "test": ""}, loop={"max_iterations": 1})
    given = {"train": TRAIN, "validation": VALIDATION, "test": TEST, "model": "toy-student"}
    summary = graph.invoke(given, context=context)["summary"]
    told = run(ToyWorld(tmp_path / "b"), loop={"max_iterations": 1})
    assert summary.student == "toy-student"
    assert [arm.validation for arm in summary.models] == [arm.validation for arm in told.models]


def test_a_bad_inline_row_is_named(tmp_path: Path) -> None:
    graph = build_graph(ToyWorld(tmp_path).connect).compile()
    with pytest.raises(DatasetError, match=r"input\.train:2"):
        graph.invoke({"train": [TRAIN[0], {"text": "no question"}], "validation": VALIDATION}, context=make_settings())


def test_a_thread_holds_one_run(tmp_path: Path) -> None:
    graph = build_graph(ToyWorld(tmp_path).connect).compile(checkpointer=InMemorySaver())
    settings = make_settings(loop={"max_iterations": 0})
    graph.invoke({}, THREAD, context=settings)
    with pytest.raises(ConfigError, match="new thread"):
        graph.invoke({}, THREAD, context=settings)


def test_a_prompt_that_does_not_parse_stops_the_run_before_any_work(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    with pytest.raises(PromptError, match="quality_control"):
        run(world, prompts={"quality_control": "{% for"})
    assert not world.compute.ran


async def test_a_cancelled_run_closes_its_adapters(tmp_path: Path) -> None:
    asked, closed = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def wait(request: ChatRequest) -> str:
        loop.call_soon_threadsafe(asked.set)
        closed.wait(30)
        return teach(request)

    world = ToyWorld(tmp_path, teacher=ScriptedModel(wait))
    graph = build_graph(lambda settings: replace(world.connect(settings), close=closed.set)).compile()
    task = asyncio.create_task(graph.ainvoke({}, context=make_settings()))
    await asyncio.wait_for(asked.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(closed.wait, 5)


async def test_a_run_that_is_cancelled_while_it_reads_its_rows_closes_its_adapters(tmp_path: Path) -> None:
    reads, closed = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    class SlowDatasets(MemoryDatasets):
        def read(self, *arguments: Any, **options: Any) -> list[RawRow]:
            loop.call_soon_threadsafe(reads.set)
            closed.wait(30)
            return super().read(*arguments, **options)

    world = ToyWorld(tmp_path)
    own: dict[str, Any] = {"datasets": SlowDatasets(world.memory), "close": closed.set}
    graph = build_graph(lambda settings: replace(world.connect(settings), **own)).compile()
    task = asyncio.create_task(graph.ainvoke({}, context=make_settings()))
    await asyncio.wait_for(reads.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(closed.wait, 5)


@pytest.mark.parametrize(
    "template",
    ["error_analysis", "pattern_categorization", "strategy_drafting", "pattern_guided_generation", "quality_control"],
)
def test_a_run_whose_llm_fails_resumes_to_the_same_result_without_repeating_student_jobs(
    tmp_path: Path, template: str
) -> None:
    down = {"now": True}

    def fail_once(request: ChatRequest) -> str:
        if down["now"] and request.tags["prompt"] == template:
            raise ModelUnavailableError("the provider is down")
        return teach(request)

    world = ToyWorld(tmp_path / "cut", teacher=ScriptedModel(fail_once))
    graph = build_graph(world.connect).compile(checkpointer=InMemorySaver())
    settings = make_settings(loop={"max_iterations": 1})
    with pytest.raises(ModelUnavailableError):
        graph.invoke({}, THREAD, context=settings)
    n_before = len(world.compute.ran)
    down["now"] = False
    resumed = graph.invoke(None, THREAD, context=settings)["summary"]
    straight = run(ToyWorld(tmp_path / "straight"), loop={"max_iterations": 1})
    volatile = {"seconds_by_stage"}
    assert resumed.model_dump(exclude=volatile) == straight.model_dump(exclude=volatile)
    keys = [job.model_dump_json() for job in world.compute.ran]
    assert len(keys) == len(set(keys)) > n_before


def test_an_unusable_teacher_costs_batches_not_the_run(tmp_path: Path) -> None:
    def babble(request: ChatRequest) -> str:
        return "I am sorry." if "generation" in str(request.tags["prompt"]) else teach(request)

    world = ToyWorld(tmp_path, teacher=ScriptedModel(babble))
    summary = run(world, loop={"max_iterations": 1})
    assert summary.rows.written == 0
    assert summary.stop_reason == "no synthetic row was accepted"
    (told,) = [w for w in summary.warnings if "usable" in w or "could not be used" in w]
    assert told.startswith("iteration 1: the generator gave no usable answer in any of ")
    assert "does this model answer in the form" in told and "Its last answer began: I am sorry." in told
    assert {b.top_up for b in world.read_reports(summary)} == {0}, "no further round is paid for"


def test_a_judge_that_answers_in_prose_is_told_once(tmp_path: Path) -> None:
    judge = ScriptedModel(lambda _: "All rows are fine with me.")
    summary = run(ToyWorld(tmp_path, judge=judge), loop={"max_iterations": 1})
    told = [w for w in summary.warnings if "no usable answer" in w]
    assert [w.split(" gave ")[0] for w in told] == [
        "iteration 1: the judge",
        "iteration 1: the judge, answering rows itself,",
    ]
    assert all("began: All rows are fine" in w for w in told)


def test_an_analyst_that_answers_in_prose_is_told_once(tmp_path: Path) -> None:
    def babble(request: ChatRequest) -> str:
        return "Dear all." if request.tags["prompt"] == "error_analysis" else teach(request)

    summary = run(
        ToyWorld(tmp_path, teacher=ScriptedModel(babble)),
        loop={"max_iterations": 1},
        analysis={"errors_per_call": 1},
    )
    (told,) = [w for w in summary.warnings if "not analyzed" in w]
    assert "failure not analyzed: " in told and "began: Dear all." in told


def test_what_a_task_finds_out_about_the_machine_is_said_or_ends_the_run_before_any_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MultipleChoice, "check_machine", lambda _: ("this machine is odd",))
    assert "this machine is odd" in run(ToyWorld(tmp_path / "a")).warnings

    def refuse(_: MultipleChoice) -> tuple[str, ...]:
        raise SandboxError("nothing can be graded here")

    monkeypatch.setattr(MultipleChoice, "check_machine", refuse)
    world = ToyWorld(tmp_path / "b")
    with pytest.raises(SandboxError):
        run(world)
    assert not world.compute.ran


def test_the_checkpoint_of_a_run_stays_small(tmp_path: Path) -> None:
    saver = InMemorySaver()
    graph = build_graph(ToyWorld(tmp_path).connect).compile(checkpointer=saver)
    graph.invoke({}, THREAD, context=make_settings())
    state = graph.get_state(THREAD).values
    state.pop("summary")
    assert len(json.dumps(state, default=lambda value: value.model_dump(mode="json"))) < 40_000


def test_what_the_judge_says_of_a_row_is_kept_and_changes_no_training_row(tmp_path: Path) -> None:
    jobs = []
    for score, word in ((8, "clear enough"), (10, "quite splendid")):
        judge = ScriptedModel(lambda r, s=score, w=word: teach(r, score=s).replace("clear enough", w))
        world = ToyWorld(tmp_path / word, judge=judge)
        summary = run(world, quality={"probe_share": 0.0})
        for batch in world.read_reports(summary):
            rows = world.store.read_rows(batch.accepted.key, Example)
            ratings = world.store.read_rows(batch.ratings.key, Rating) if batch.ratings else []
            assert [r.example_id for r in ratings] == [row.id for row in rows]
            assert {(r.mean, r.reason) for r in ratings} == {(float(score), word)}
        assert summary.rows.accepted and {s.reason for s in summary.accepted_samples} == {f"rated {score}.0: {word}"}
        jobs.append([job.rows_hash for job in fine_tunings(world)])
        assert all(word not in Path(job.rows).read_text() for job in fine_tunings(world))
    assert jobs[0] == jobs[1]


def test_without_quality_control_no_rating_is_made_up(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    summary = run(world, quality={"enabled": False})
    assert summary.rows.accepted and all(batch.ratings is None for batch in world.read_reports(summary))
    assert {s.reason for s in summary.accepted_samples} == {"quality control is off"}


def test_rows_that_solving_refused_leave_no_rating_behind(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, judge=ScriptedModel(lambda r: teach(r, solve=say_fruit)))
    summary = run(world, loop={"max_iterations": 1})
    assert summary.rows.rejected["verification"]
    for batch in world.read_reports(summary):
        ratings = world.store.read_rows(batch.ratings.key, Rating) if batch.ratings else []
        accepted = world.store.read_rows(batch.accepted.key, Example)
        assert [r.example_id for r in ratings] == [row.id for row in accepted]
