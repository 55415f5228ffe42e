"""The guards in the real graph: a canary, rows of known quality, solving, a person's word, patterns over iterations."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from pada_agent.agents.guards.leak_guard import LeakGuard
from pada_agent.core.chat import ChatRequest
from pada_agent.core.records import Example, GuardedStrategy, Rejection
from pada_agent.graph.builder import build_graph
from tests.fakes import ScriptedModel
from tests.integration.graph_runs import ask, fine_tunings, run, training_rows
from tests.toy_world import TRAIN, VALIDATION, ToyWorld, make_settings, say_fruit, teach, texts_of

CANARY = VALIDATION[6]["question"]
PARAPHRASE = "for eating raw a quince is not"
ONE = {"max_iterations": 1}


def leak(canary: str) -> ScriptedModel:
    """A teacher whose first strategy repeats the canary."""

    def answer(request: ChatRequest) -> str:
        if request.tags["prompt"] != "strategy_drafting":
            return teach(request)
        items = json.loads(teach(request))
        items[0]["generation_approach"] += f" For example: {canary}."
        return json.dumps(items)

    return ScriptedModel(answer)


def say_only(canary: str, *, n_strategies: int) -> ScriptedModel:
    """A teacher whose first strategies are nothing but the canary."""

    def answer(request: ChatRequest) -> str:
        if request.tags["prompt"] != "strategy_drafting":
            return teach(request)
        items = json.loads(teach(request))
        for item in items[:n_strategies]:
            item |= {"generation_approach": canary, "key_elements": [canary]}
        return json.dumps(items)

    return ScriptedModel(answer)


def copy_out(canary: str) -> ScriptedModel:
    """A teacher that writes the canary as a row."""

    def answer(request: ChatRequest) -> str:
        if "generation" not in str(request.tags["prompt"]):
            return teach(request)
        rows = json.loads(teach(request))
        rows[0]["question"] = canary
        return json.dumps(rows)

    return ScriptedModel(answer)


def reaches_the_generator(folder: Path, canary: str, **settings: Any) -> bool:
    teacher = leak(canary)
    run(ToyWorld(folder, teacher=teacher, judge=ScriptedModel(teach)), loop=ONE, **settings)
    prompts = [r.messages[-1].content for r in teacher.requests if "generation" in str(r.tags["prompt"])]
    assert prompts
    return any(canary in prompt for prompt in prompts)


def is_trained_on(folder: Path, canary: str, **settings: Any) -> bool:
    world = ToyWorld(folder, teacher=copy_out(canary), judge=ScriptedModel(teach))
    run(world, loop=ONE, verification={"votes": 0}, **settings)
    assert fine_tunings(world)
    return any(canary in row.prompt for job in fine_tunings(world) for row in training_rows(job))


@pytest.mark.parametrize("canary", [CANARY, PARAPHRASE], ids=["verbatim", "paraphrased"])
def test_a_canary_never_reaches_a_generator_prompt_nor_a_training_file(tmp_path: Path, canary: str) -> None:
    assert not reaches_the_generator(tmp_path / "a", canary)
    assert not is_trained_on(tmp_path / "b", canary)


def test_strategies_that_no_writer_reads_are_compared_by_words_alone(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"generation": {"strategy_text": "none"}, "loop": ONE}
    for canary, is_cut in ((CANARY, True), (PARAPHRASE, False)):
        teacher = leak(canary)
        summary = run(ToyWorld(tmp_path / canary, teacher=teacher, judge=ScriptedModel(teach)), **settings)
        assert bool(summary.redactions) is is_cut
        prompts = [r.messages[-1].content for r in teacher.requests if "generation" in str(r.tags["prompt"])]
        assert prompts and not any(canary in prompt for prompt in prompts)


def test_a_strategy_that_is_cut_whole_is_not_written_by_and_the_others_take_its_rows(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, teacher=say_only(CANARY, n_strategies=1))
    summary = run(
        world,
        loop=ONE,
        data={"selection_fraction": 0.2},
        analysis={"min_clusters": 2, "max_clusters": 2},
    )
    (told,) = [w for w in summary.warnings if "nothing is left to write from" in w]
    assert "'approach 1'" in told and told.endswith("its rows go to the other strategies")
    assert summary.rows.fill_rate == 1
    strategies = {b.strategy_id for b in world.read_reports(summary) if b.branch == "pattern"}
    assert len(strategies) == 1 and "i1-s1" not in strategies
    assert summary.redactions, "what was cut stays as evidence"


def test_where_all_strategies_are_cut_whole_the_training_errors_take_the_rows(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, teacher=say_only(CANARY, n_strategies=9))
    summary = run(
        world,
        loop=ONE,
        analysis={"max_clusters": 1, "min_clusters": 1},
    )
    (told,) = [w for w in summary.warnings if "nothing is left to write from" in w]
    assert told.endswith("its rows go to the training errors")
    assert {b.branch for b in world.read_reports(summary)} == {"training_error"}
    assert summary.rows.fill_rate == 1


@pytest.mark.parametrize("canary", [CANARY, PARAPHRASE], ids=["verbatim", "paraphrased"])
def test_with_the_guards_off_the_canary_gets_through(
    tmp_path: Path, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LeakGuard, "clear", lambda _, strategy: GuardedStrategy(strategy=strategy))
    monkeypatch.setattr("pada_agent.agents.guards.row_guards.find_overlap", lambda *_: [])
    monkeypatch.setattr("pada_agent.graph.nodes.augmenting.find_overlap", lambda *_: [])
    assert reaches_the_generator(tmp_path / "a", canary)
    assert is_trained_on(tmp_path / "b", canary, guard={"contamination_similarity": None})


def test_words_alone_do_not_stop_the_paraphrase(tmp_path: Path) -> None:
    assert reaches_the_generator(tmp_path / "a", PARAPHRASE, guard={"leak_similarity": None})
    assert is_trained_on(tmp_path / "b", PARAPHRASE, guard={"contamination_similarity": None})


def test_where_real_rows_are_alike_what_is_as_near_as_they_are_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pada_agent.agents.guards.real_nearness.MIN_ROWS", len(TRAIN))
    guard = {"contamination_similarity": 0.05}
    fixed = run(ToyWorld(tmp_path / "a"), loop=ONE, guard={**guard, "contamination_share": None})
    fitted = run(ToyWorld(tmp_path / "b"), loop=ONE, guard=guard)
    assert fixed.rows.accepted < fitted.rows.accepted
    assert not [w for w in fixed.warnings if "real rows are similar" in w]
    assert [w for w in fitted.warnings if "real rows are similar" in w and "rejected only if it reaches" in w]


def test_a_row_refused_for_its_meaning_keeps_the_evidence_and_a_person_may_overrule(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, teacher=copy_out(PARAPHRASE), judge=ScriptedModel(teach))
    graph, question = ask(world, review={"data": True}, loop=ONE, quality={"max_regenerations": 0})
    refused = [row for row in question["rejected"] if PARAPHRASE in row["text"]]
    assert "validation-6" in refused[0]["reason"] and "similarity" in refused[0]["reason"]
    result = graph.invoke(Command(resume={"accept": [refused[0]["id"]]}), {"configurable": {"thread_id": "t"}})
    summary = result["summary"]
    assert PARAPHRASE in [row.prompt for row in training_rows(fine_tunings(world)[-1])]
    assert summary.rows.written == summary.rows.accepted + sum(summary.rows.rejected.values())
    kept = [r for b in world.read_reports(summary) for r in world.store.read_rows(b.rejected.key, Rejection)]
    overlap = next(r.overlap for r in kept if r.stage == "contamination")
    assert overlap and (overlap.protected_id, overlap.kind) == ("validation-6", "embedding")
    assert overlap.similarity == pytest.approx(1.0)


def test_what_words_prove_cannot_be_overruled(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, teacher=copy_out(CANARY), judge=ScriptedModel(teach))
    _, question = ask(world, review={"data": True}, loop=ONE, quality={"max_regenerations": 0})
    assert question["rows"] and not [row for row in question["rejected"] if CANARY in row["text"]]


def test_rows_that_the_judge_answers_otherwise_are_refused_before_they_are_rated(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, judge=ScriptedModel(lambda r: teach(r, solve=say_fruit)))
    summary = run(world, loop=ONE, quality={"max_regenerations": 0})
    accepted = [e for b in world.read_reports(summary) for e in world.store.read_rows(b.accepted.key, Example)]
    assert {e.answer for e in accepted} == {"fruit"}
    assert summary.rows.rejected["verification"] > 0
    assert summary.rows.solved == len(accepted) + summary.rows.rejected["verification"]
    assert summary.rows.written == summary.rows.accepted + sum(summary.rows.rejected.values())
    assert isinstance(world.judge, ScriptedModel)
    rated = [r.messages[-1].content for r in world.judge.requests if r.tags["prompt"] == "quality_control"]
    assert rated and not [text for text in rated if "of a tool" in text or "of a animal" in text]


def test_refused_rows_go_back_to_the_generator_with_the_reason(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path, judge=ScriptedModel(lambda r: teach(r, solve=say_fruit)))
    run(world, loop=ONE, quality={"max_regenerations": 1})
    assert isinstance(world.teacher, ScriptedModel)
    again = [r for r in world.teacher.requests if "generation" in str(r.tags["prompt"]) and r.draw.endswith("/2")]
    assert again
    for request in again:
        for _, text in texts_of(request.messages[-1].content, "row"):
            assert "your earlier version, which was sent back: question: tell me about" in text
            assert re.search(r"it comes out as 'fruit', not '(tool|animal)': make the detail that decides plain", text)


def test_a_judge_that_passes_everything_is_found_out_and_its_probes_are_not_trained_on(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    summary = run(world, loop=ONE, quality={"probe_share": 1.0}, verification={"votes": 0})
    assert summary.judge.n_bad > 0 == summary.judge.n_caught
    assert any("the judge passed all" in w for w in summary.alarms)
    accepted = {e.id for b in world.read_reports(summary) for e in world.store.read_rows(b.accepted.key, Example)}
    trained = {row.id for row in training_rows(fine_tunings(world)[-1])}
    assert trained - accepted == {f"train-{n}" for n in range(9)}
    assert summary.rows.written == summary.rows.accepted + sum(summary.rows.rejected.values())


def test_a_judge_that_passes_everything_still_catches_wrong_keys_by_answering(tmp_path: Path) -> None:
    summary = run(ToyWorld(tmp_path), loop=ONE, quality={"probe_share": 1.0}, seed=1)
    judge = summary.judge
    assert judge.n_caught_by_rating == 0 < judge.n_caught_by_answer == judge.n_caught
    assert "swapped key" not in judge.missed and judge.n_false_alarms == 0 < judge.n_good


def test_a_strict_judge_catches_all_and_refuses_the_good(tmp_path: Path) -> None:
    judge = ScriptedModel(lambda r: teach(r, score=2))
    world = ToyWorld(tmp_path, judge=judge)
    summary = run(world, loop=ONE, quality={"probe_share": 1.0, "max_regenerations": 0})
    assert summary.judge.n_caught == summary.judge.n_bad > 0
    assert summary.judge.n_false_alarms == summary.judge.n_good
    assert not any("the judge passed all" in w for w in summary.alarms)


def test_patterns_are_followed_over_iterations(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    summary = run(world)
    first, second = summary.patterns
    assert all(pair.pattern.continues is None for pair in first.patterns)
    assert {pair.pattern.continues for pair in second.patterns} <= {pair.pattern.id for pair in first.patterns}
    for found in (first, second):
        assert [o.pattern_id for o in found.outcomes] == [pair.pattern.id for pair in found.patterns]
        assert [o.n_rows for o in found.outcomes] == [len(pair.pattern.example_ids) for pair in found.patterns]
        own = [b for b in world.read_reports(summary) if b.batch_id.startswith(f"i{found.iteration}-s")]
        written = sum(b.n_accepted for b in own)
        assert sum(o.n_accepted for o in found.outcomes) == written > 0
    # The first iteration was rolled back, so the same errors are diagnosed again: the patterns are the same.
    assert summary.best_model == "fine-tuned"
    assert all(pair.pattern.continues for pair in second.patterns)


def test_the_gap_between_diagnosis_and_selection_is_told_for_every_model(tmp_path: Path) -> None:
    for arm in run(ToyWorld(tmp_path)).models:
        assert arm.diagnosis is not None
        assert arm.overfitting_gap == pytest.approx(arm.diagnosis.accuracy - arm.selection.accuracy)
        assert arm.diagnosis.n + arm.selection.n == arm.validation.n


def test_rows_may_follow_what_repaired(tmp_path: Path) -> None:
    saver = InMemorySaver()
    graph = build_graph(ToyWorld(tmp_path).connect).compile(checkpointer=saver)
    settings = make_settings(generation={"allocation": "by_repair"})
    thread: Any = {"configurable": {"thread_id": "t"}}
    result = graph.invoke({}, thread, context=settings)
    plans = [s.values["plan"] for s in graph.get_state_history(thread) if s.values.get("plan")]
    by_iteration = {bool(plan.repaired): plan.repaired for plan in plans}
    assert by_iteration[True].keys() == {p.id for p in result["patterns"]["1"]}
    assert all(0 < share < 1 for share in by_iteration[True].values())
