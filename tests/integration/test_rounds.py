"""Rounds of batches: small in the checkpoint whatever their number, and exact where a run is cut off among them."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Lock
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from pada_agent.app.run_folder.checkpoints import check_objects, make_serializer
from pada_agent.core.chat import ChatRequest
from pada_agent.core.config import ModelsConfig
from pada_agent.core.errors import ArtifactError, ModelUnavailableError
from pada_agent.core.records import BatchReport, JudgeProbe, Ref
from pada_agent.graph.batch_rounds import count_batches_at_once, judge_in, sum_up
from pada_agent.graph.builder import build_graph
from pada_agent.graph.summary import RunSummary
from tests.fakes import ScriptedModel
from tests.integration.graph_runs import THREAD
from tests.toy_world import LABELS, ToyWorld, make_rows, make_settings, teach

ONE_BY_ONE: dict[str, Any] = {
    "generation": {"share": 1.0, "rows_per_call": 1, "max_top_ups": 0},
    "loop": {"max_iterations": 1},
}
WRITES = ("pattern_guided_generation", "training_error_generation")


def make_world(folder: Path, n_rows: int, answer: Callable[[ChatRequest], str] = teach) -> ToyWorld:
    """Over so many training rows, a fifth of which say what the row before says, with another label."""
    labels = list(LABELS)
    texts = [(f"thing{n - (n % 5 == 4)} lies about", labels[n % 3]) for n in range(n_rows)]
    validation = [(f"something{n} stands there", labels[n % 3]) for n in range(12)]
    memory = {name: make_rows(name, rows) for name, rows in (("train", texts), ("validation", validation))}
    return ToyWorld(folder, teacher=ScriptedModel(answer), memory={**memory, "test": memory["validation"][:0]})


def settle(**changes: Any) -> Any:
    data = {"train": "memory:train", "validation": "memory:validation", "test": ""}
    return make_settings(**{**ONE_BY_ONE, "data": data, **changes})


def largest_checkpoint(folder: Path, n_rows: int) -> tuple[int, RunSummary]:
    """Bytes of all that one checkpoint of the run, or of a branch, holds, where it is most."""
    saver = InMemorySaver(serde=make_serializer())
    world = make_world(folder, n_rows)
    summary = build_graph(world.connect).compile(checkpointer=saver).invoke({}, THREAD, context=settle())["summary"]
    sizes = Counter[tuple[str, str]]()
    for stored in saver.list(THREAD):
        ns = stored.config["configurable"]["checkpoint_ns"]
        values = stored.checkpoint["channel_values"]
        sizes[ns, stored.checkpoint["id"]] = sum(len(saver.serde.dumps_typed(value)[1]) for value in values.values())
    assert isinstance(summary, RunSummary)
    return max(sizes.values()), summary


def test_a_checkpoint_grows_by_less_than_200_bytes_a_batch(tmp_path: Path) -> None:
    few, small = largest_checkpoint(tmp_path / "few", 20)
    many, large = largest_checkpoint(tmp_path / "many", 80)
    n_few, n_many = (sum(b.n_batches for b in s.batches) for s in (small, large))
    assert (n_few, n_many) == (20, 80)
    assert (many - few) / (n_many - n_few) < 200
    assert len(large.model_dump_json()) < len(small.model_dump_json()) + 200 * (n_many - n_few)


def report(n: int, **changes: Any) -> BatchReport:
    ref = Ref(key=f"accepted-{n:016x}", rows=5)
    values = {
        "branch": "training_error",
        "iteration": 1,
        "attempts": 1,
        "n_requested": 5,
        "n_written": 5,
        "n_accepted": 5,
    }
    return BatchReport(
        **{**values, "batch_id": f"i1-e-b{n}", "decision": "x", "accepted": ref, "rejected": ref, **changes}
    )


def test_what_the_state_holds_of_a_round_does_not_depend_on_its_number_of_batches() -> None:
    serde, stored = make_serializer(), Ref(key="batches-0123456789abcdef", rows=1)
    sizes = [len(serde.dumps_typed(sum_up([report(n) for n in range(size)], stored))[1]) for size in (10, 300, 10_000)]
    assert max(sizes) - min(sizes) < 100
    assert max(sizes) < 3_000


def test_a_round_tells_its_totals_its_strategies_and_its_latest_batches() -> None:
    probes = (JudgeProbe(kind="copy", passed=True, rated_well=True), JudgeProbe(kind="good", passed=True))
    reports = [
        report(1, branch="pattern", strategy_id="i1-s1", n_rejected={"label": 2}, n_accepted=3, probes=probes),
        report(2, branch="pattern", strategy_id="i1-s2", n_rejected={"label": 1, "quality": 1}, n_accepted=3),
        report(3, branch="pattern", strategy_id="i1-s1", probes=probes[:1]),
        report(4),
    ]
    told = sum_up(reports, Ref(key="k", rows=4))
    assert (told.n_batches, told.n_requested, told.n_accepted) == (4, 20, 16)
    assert told.n_rejected == {"label": 3, "quality": 1}
    assert {name: (c.n_batches, c.n_accepted) for name, c in told.by_strategy.items()} == {
        "i1-s1": (2, 8),
        "i1-s2": (1, 3),
        "training_error": (1, 5),
    }
    assert [b.batch_id for b in told.latest] == ["i1-e-b2", "i1-e-b3", "i1-e-b4"]
    assert told.path == "objects/k/rows.jsonl"
    assert told.judge == judge_in([told]) and judge_in([told, told]).missed == {"copy": 4}


class Together:
    """A teacher that writes only once so many rows are asked for at the same time."""

    def __init__(self, n: int) -> None:
        self._barrier, self._left = Barrier(n), n
        self._lock = Lock()

    def __call__(self, request: ChatRequest) -> str:
        if request.tags["prompt"] == WRITES[1]:
            with self._lock:
                self._left -= 1
                waits = self._left >= 0
            if waits:
                self._barrier.wait(timeout=20)
        return teach(request)


@pytest.mark.parametrize("limit", [{"max_concurrency": 40}, {"economy": "batch"}], ids=str)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_as_many_batches_are_made_at_once_as_the_models_take_calls(
    tmp_path: Path, limit: dict[str, Any], is_async: bool
) -> None:
    models = {role: {"model": "openai:x", **limit} for role in ("analyst", "generator", "judge")}
    settings = settle(models=models, generation={"share": 1, "rows_per_call": 1, "pattern_share": 0, "max_top_ups": 0})
    graph = build_graph(make_world(tmp_path, 120, Together(40)).connect).compile()
    found = asyncio.run(graph.ainvoke({}, context=settings)) if is_async else graph.invoke({}, context=settings)
    assert sum(r.n_batches for r in found["summary"].batches) >= 40


def test_how_many_batches_are_made_at_once() -> None:
    def count(**changes: Any) -> int:
        models = {"analyst": {"model": "openai:x"}, "generator": {"model": "openai:x", **changes}}
        return count_batches_at_once(ModelsConfig.model_validate({**models, "judge": {"model": "openai:y"}}))

    assert (count(), count(max_concurrency=2), count(max_concurrency=64), count(max_concurrency=1000)) == (
        16,
        16,
        64,
        256,
    )
    assert count(max_concurrency=2, economy="batch") == 256


@pytest.mark.parametrize(
    ("generator", "judge", "n"),
    [
        ("openai:x", "openai:x", 3),
        ("openai:x", "openai:z", 7),
        ("openai:z", "openai:x", 7),
        ("openai:z", "openai:z", 16),
    ],
)
def test_beside_the_analysis_a_place_is_left_to_the_analyst(generator: str, judge: str, n: int) -> None:
    names = {"analyst": "openai:x", "generator": generator, "judge": judge}
    models = ModelsConfig.model_validate({role: {"model": name, "max_concurrency": 4} for role, name in names.items()})
    assert count_batches_at_once(models, beside_analysis=True) == n
    single = ModelsConfig.model_validate({role: {"model": "openai:x", "max_concurrency": 1} for role in names})
    assert count_batches_at_once(single, beside_analysis=True) == 1


FROM_ROWS = {"share": 1, "rows_per_call": 1, "pattern_share": 0, "sources": "training_rows", "max_top_ups": 0}
"""A batch for each training row, those of one label after those of another."""


@pytest.mark.parametrize("prompt", [WRITES[1], "quality_control"])
def test_once_a_teacher_gives_no_usable_answer_the_batches_that_are_left_are_not_asked_for(
    tmp_path: Path, prompt: str
) -> None:
    asked = Counter[str]()

    def answer(request: ChatRequest) -> str:
        asked[str(request.tags["prompt"])] += 1
        return "I am a teapot." if request.tags["prompt"] == prompt else teach(request)

    graph = build_graph(make_world(tmp_path, 60, answer).connect).compile()
    settings = settle(generation=FROM_ROWS, quality={"max_regenerations": 0})
    summary = graph.invoke({}, one_at_a_time(), context=settings)["summary"]
    n_batches = 60 // len(LABELS) + 1
    assert asked[prompt] == 3 * n_batches, "all batches of the first label, and one of the next"
    assert asked[WRITES[1]] == (3 * n_batches if prompt == WRITES[1] else n_batches)
    assert any(f"gave no usable answer in any of {n_batches} calls" in warning for warning in summary.warnings)
    assert [r.n_asked for r in summary.batches] == [n_batches]


def test_batches_that_were_not_asked_for_are_asked_for_on_resume(tmp_path: Path) -> None:
    asked = Counter[bool]()

    def run(*, works: bool) -> list[int]:
        def answer(request: ChatRequest) -> str:
            is_row = request.tags["prompt"] == WRITES[1]
            asked[works] += is_row
            return teach(request) if works or not is_row else "I am a teapot."

        graph = build_graph(make_world(tmp_path, 60, answer).connect).compile()
        settings = settle(generation=FROM_ROWS, quality={"max_regenerations": 0})
        summary = graph.invoke({}, one_at_a_time(), context=settings)["summary"]
        return [r.n_asked for r in summary.batches]

    (n_asked,) = run(works=False)
    assert run(works=True) == [60] and asked[True] == 60 - n_asked > 0


def test_a_teacher_that_refuses_one_label_is_asked_for_the_others(tmp_path: Path) -> None:
    def answer(request: ChatRequest) -> str:
        is_refused = request.tags["prompt"] == WRITES[1] and "label: fruit" in request.messages[-1].content
        return "I cannot write that." if is_refused else teach(request)

    graph = build_graph(make_world(tmp_path, 60, answer).connect).compile()
    summary = graph.invoke({}, one_at_a_time(), context=settle(generation=FROM_ROWS))["summary"]
    assert [(r.n_batches, r.n_accepted) for r in summary.batches] == [(60, 40)]


class Outage:
    """A teacher that is down from its nth row of a kind on, and back once it is told so. It remembers nothing: each call is paid for."""

    def __init__(self, prompt: str, n: int) -> None:
        self._prompt, self._left = prompt, n
        self.asked = Counter[str]()

    def __call__(self, request: ChatRequest) -> str:
        prompt = str(request.tags["prompt"])
        if prompt == self._prompt:
            self._left -= 1
            if self._left < 0:
                raise ModelUnavailableError("the provider is down")
        if prompt in WRITES:
            self.asked[f"{prompt}/{request.draw}"] += 1
        return teach(request)

    def end(self) -> None:
        self._prompt = ""


def one_at_a_time() -> Any:
    return {**THREAD, "max_concurrency": 1}


@pytest.mark.parametrize("prompt", WRITES)
def test_a_run_cut_off_among_batches_makes_none_of_the_finished_ones_again(tmp_path: Path, prompt: str) -> None:
    outage = Outage(prompt, 5)
    world = make_world(tmp_path / "cut", 20, outage)
    graph = build_graph(world.connect).compile(checkpointer=InMemorySaver())
    with pytest.raises(ModelUnavailableError):
        graph.invoke({}, one_at_a_time(), context=settle())
    assert outage.asked.total() >= 5
    (task,) = [t for t in graph.get_state(THREAD, subgraphs=True).tasks if t.result is None]
    assert task.state and task.state.next == (("pattern" if prompt == WRITES[0] else "error") + "_synthesis",)
    outage.end()
    summary = graph.invoke(None, one_at_a_time())["summary"]
    straight_world = make_world(tmp_path / "straight", 20)
    straight = build_graph(straight_world.connect).compile().invoke({}, context=settle())["summary"]
    volatile = {"seconds_by_stage"}
    assert summary.model_dump(exclude=volatile) == straight.model_dump(exclude=volatile)
    assert set(outage.asked.values()) == {1} and outage.asked.total() == 20, "each row is written once"
    assert {"data_generation", "quality_control"} <= set(summary.seconds_by_stage)


@pytest.mark.parametrize("damage", ["gone", "cut short", "no word on it", "half a word on it"])
def test_a_finished_batch_whose_rows_are_not_all_there_is_made_again(tmp_path: Path, damage: str) -> None:
    outage = Outage(WRITES[1], 5)
    world = make_world(tmp_path / "cut", 20, outage)
    graph = build_graph(world.connect).compile(checkpointer=InMemorySaver())
    with pytest.raises(ModelUnavailableError):
        graph.invoke({}, one_at_a_time(), context=settle())
    outage.end()
    objects = tmp_path / "cut" / "objects"
    finished = ((p, json.loads(p.read_text())["report"]) for p in sorted(objects.glob("batch-*/value.json")))
    word, accepted = next((p, r["accepted"]) for p, r in finished if r["branch"] == "training_error")
    rows = objects / accepted["key"] / "rows.jsonl"
    whole = rows.read_bytes()
    if damage == "gone":
        rows.unlink()
    elif damage == "cut short":
        rows.write_bytes(whole[:-1])
    elif damage == "no word on it":
        word.unlink()
    else:
        word.write_bytes(word.read_bytes()[:100])
    asked_before = outage.asked.copy()
    summary = graph.invoke(None, one_at_a_time())["summary"]
    assert rows.read_bytes() == whole and json.loads(word.read_text())["report"]
    assert (outage.asked - asked_before).total() == 20 - asked_before.total() + 1
    assert summary.rows.accepted == 20


def test_rows_that_a_stored_report_names_are_looked_after(tmp_path: Path) -> None:
    world = make_world(tmp_path, 20)
    saver = InMemorySaver(serde=make_serializer())
    graph = build_graph(world.connect).compile(checkpointer=saver)
    summary = graph.invoke({}, THREAD, context=settle())["summary"]
    values, objects = graph.get_state(THREAD).values, tmp_path / "objects"
    check_objects(values, objects)
    shown = {b.batch_id for told in summary.batches for b in told.latest}
    batch = next(b for b in world.read_reports(summary) if b.n_accepted and b.batch_id not in shown)
    world.store.rows_path(batch.accepted.key).write_bytes(b"")
    with pytest.raises(ArtifactError, match=rf"{batch.accepted.key}/rows.jsonl: damaged \(0 rows in place of 1\)"):
        check_objects(values, objects)
