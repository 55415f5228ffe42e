"""A run that starts again on its thread with `{}` knows nothing of the first attempt, and pays for nothing twice."""

from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from pada_agent.app import wiring
from pada_agent.app.run_folder.checkpoints import make_serializer
from pada_agent.core.chat import ChatRequest
from pada_agent.core.errors import BudgetExceededError, ModelUnavailableError, TrainingError
from pada_agent.core.jobs import Job
from pada_agent.graph.builder import build_graph
from pada_agent.graph.summary import RunSummary
from tests.fakes import ScriptedModel
from tests.integration.graph_runs import THREAD
from tests.integration.test_budget_of_a_call import App
from tests.toy_world import TEST, TRAIN, VALIDATION, NearestRowCompute, ToyWorld, make_rows, make_settings, teach

WORDS, LABELS = ("amber", "birch", "coral", "dune", "ember", "frost", "grain"), ("fruit", "tool", "animal")
GROWING_ROWS = [
    *make_rows(
        "validation", [(f"{word} tell me about of a {LABELS[i % 3]}", LABELS[i % 3]) for i, word in enumerate(WORDS)]
    ),
    *VALIDATION[3:9],
]
"""Some are like those that the toy teacher writes, so that the first iteration improves the model."""
GROWING: dict[str, Any] = {
    "loop": {"max_iterations": 2, "patience": 2, "start_from": "best"},
    "guard": {"contamination_similarity": None, "leak_similarity": None},
}


def open_growing(folder: Path) -> tuple[App, Any]:
    folder.mkdir()
    rows = {"train": TRAIN, "validation": GROWING_ROWS, "test": TEST}
    app = App(folder, rows, **GROWING)
    compute = NearestRowCompute(folder / "toy" / "objects")
    app.kind = lambda _: compute
    return app, app.open()


def tell(summary: RunSummary) -> list[Any]:
    return [(m.name, m.n_train_rows, m.n_synthetic, m.validation, m.selection, m.test) for m in summary.models]


def test_a_run_that_starts_again_ends_like_one_that_never_stopped_and_asks_nothing_twice(tmp_path: Path) -> None:
    app, graph = open_growing(tmp_path / "straight")
    straight, n_asked = graph.invoke({}, THREAD, context=app.settings())["summary"], app.teacher.n_asked
    wiring.close(app.settings())
    assert [m.n_train_rows for m in straight.models] == [0, 9, 18, 27]
    app, graph = open_growing(tmp_path / "stopped")
    with pytest.raises(BudgetExceededError):
        graph.invoke({}, THREAD, context=app.settings(budget={"max_calls": n_asked - 6}))
    assert graph.get_state(THREAD).values["best_model"] == "iteration 1"
    again = graph.invoke({}, THREAD, context={"budget": {"max_calls": None}})["summary"]
    wiring.close(app.settings())
    assert app.teacher.n_asked == n_asked
    assert tell(again) == tell(straight)
    assert (again.best_model, again.warnings) == (straight.best_model, straight.warnings)
    assert [b.n_requested for b in again.batches] == [b.n_requested for b in straight.batches]


def test_a_run_that_starts_again_with_other_rows_measures_those_alone(tmp_path: Path) -> None:
    fails = [True]

    def answer(request: ChatRequest) -> str:
        if fails and "generation" in str(request.tags["prompt"]) and request.tags["iteration"] == 2:
            raise ModelUnavailableError("the teacher is down")
        return teach(request)

    graph = build_graph(ToyWorld(tmp_path, teacher=ScriptedModel(answer)).connect).compile(
        checkpointer=InMemorySaver(serde=make_serializer())
    )
    with pytest.raises(ModelUnavailableError, match="the teacher is down"):
        graph.invoke({"validation": GROWING_ROWS}, THREAD, context=make_settings(**GROWING))
    fails.clear()
    ways = ("north", "south", "east", "west", "up", "down", "left", "right", "in", "out")
    others = make_rows(
        "other", [(f"{way} {row['question']}", row["answer"]) for way, row in zip(ways, VALIDATION, strict=True)]
    )
    summary = graph.invoke({"validation": others}, THREAD, context=make_settings(**GROWING))["summary"]
    assert {model.validation.n for model in summary.models if model.validation} == {10}


def test_a_run_that_starts_again_asks_for_a_review_again(tmp_path: Path) -> None:
    class BusyCompute(NearestRowCompute):
        def submit(self, job: Job) -> str:
            if job.kind == "fine_tune" and any(ran.kind == "fine_tune" for ran in self.ran):
                raise TrainingError("the GPU is gone")
            return super().submit(job)

    world = ToyWorld(tmp_path)
    world.compute = BusyCompute(tmp_path / "objects")
    graph = build_graph(world.connect).compile(checkpointer=InMemorySaver(serde=make_serializer()))
    settings = make_settings(review={"strategies": True}, loop={"max_iterations": 1})
    graph.invoke({}, THREAD, context=settings)
    first = graph.get_state(THREAD).interrupts[0].value["strategies"]
    with pytest.raises(TrainingError, match="the GPU is gone"):
        graph.invoke(Command(resume={"strategies": [{**first[0], "strategy_name": "mine"}]}), THREAD)
    world.compute = NearestRowCompute(tmp_path / "objects")
    graph.invoke({}, THREAD, context=settings)
    (question,) = graph.get_state(THREAD).interrupts
    assert question.value["strategies"] == first
    assert graph.get_state(THREAD).values["reviews"] == {}
