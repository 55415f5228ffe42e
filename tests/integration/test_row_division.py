"""Both branches get the same division of an iteration's rows, and analysis does not wait for it, on the toy world."""

from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from pada_agent.core.chat import ChatRequest
from pada_agent.core.jobs import Job, PredictJob
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example, ScoredRow
from pada_agent.graph.builder import build_graph
from pada_agent.graph.storing import put_rows
from tests.fakes import ScriptedModel
from tests.toy_world import NearestRowCompute, ToyWorld, make_settings, teach

PATIENCE = 30


class LateAnswers(NearestRowCompute):
    """The fine-tuned student's answers to the training rows come only after an event."""

    def __init__(self, folder: Path, event: Event) -> None:
        super().__init__(folder)
        self._event = event
        self._late: set[str] = set()
        self.n_asked = 0
        """Number of times that answers to training rows were asked for."""

    def submit(self, job: Job) -> str:
        job_id = super().submit(job)
        if isinstance(job, PredictJob) and job.adapter:
            rows = [Example.model_validate_json(line) for line in Path(job.rows).read_text().split("\n") if line]
            if all(row.id.startswith("train") for row in rows):
                self.n_asked += 1
                self._late.add(job_id)
        return job_id

    def wait(self, job_id: str, on_progress: Callable[[Progress], None]) -> Path:
        if job_id in self._late and not self._event.wait(PATIENCE):
            pytest.fail("the analysis waits for the answers to the training rows")
        return super().wait(job_id, on_progress)


def test_errors_are_analyzed_while_the_student_answers_its_training_rows(tmp_path: Path) -> None:
    drafted = Event()

    def analyze(request: ChatRequest) -> str:
        if request.tags["prompt"] == "strategy_drafting":
            drafted.set()
        return teach(request)

    world = ToyWorld(tmp_path, teacher=ScriptedModel(analyze))
    compute = world.compute = LateAnswers(tmp_path / "objects", drafted)
    settings = make_settings(loop={"max_iterations": 1, "patience": 1})
    state = build_graph(world.connect).compile().invoke({}, context=settings)
    assert state["summary"].rows.fill_rate == 1
    assert compute.n_asked == 1, "each branch asks for the division, and one of them has it computed"


def test_few_training_errors_are_told_once_and_the_patterns_write_more(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    settings = make_settings(
        loop={"max_iterations": 1, "patience": 1},
        generation={"share": 3.0, "max_rows_per_error": 1, "error_source": "train"},
    )
    summary = build_graph(world.connect).compile().invoke({}, context=settings)["summary"]
    told = [warning for warning in summary.warnings if "the patterns write the rest" in warning]
    assert len(told) == 1
    by_branch = {b.branch: 0 for b in world.read_reports(summary)}
    for report in world.read_reports(summary):
        by_branch[report.branch] += report.n_accepted
    assert by_branch["pattern"] > by_branch["training_error"]
    assert sum(by_branch.values()) >= summary.rows.accepted == summary.rows.requested


def test_a_run_forked_with_other_training_rows_divides_its_rows_again(tmp_path: Path) -> None:
    world = ToyWorld(tmp_path)
    graph = build_graph(world.connect).compile(checkpointer=InMemorySaver())
    settings = make_settings(loop={"max_iterations": 1, "patience": 1}, generation={"error_source": "train"})
    thread: RunnableConfig = {"configurable": {"thread_id": "1"}}
    graph.invoke({}, thread, context=settings)
    first = graph.get_state(thread).values
    opened = next(s for s in graph.get_state_history(thread) if "training_error_branch" in s.next)
    wrong = [row.example for row in world.store.read_rows(first["plan"].training_failures.key, ScoredRow)]
    assert wrong
    rows = world.store.read_rows(first["data"].train.key, Example)
    others = put_rows(world.store, "train", [row for row in rows if row.id != wrong[0].id])
    data = first["data"].model_copy(update={"train": others})
    graph.invoke(None, graph.update_state(opened.config, {"data": data}))
    forked = graph.get_state(thread).values["plan"]
    left = [row.example for row in world.store.read_rows(forked.training_failures.key, ScoredRow)]
    assert left == wrong[1:]
