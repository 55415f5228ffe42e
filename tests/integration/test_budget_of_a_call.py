"""The budget in force is the one in the settings of the present call, whatever ran in the process or on the thread before."""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver

from pada_agent.app import wiring
from pada_agent.app.run_folder.checkpoints import make_serializer
from pada_agent.core.chat import ChatRequest, Message
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import BudgetExceededError, ConfigError, TrainingError
from pada_agent.core.jobs import Job
from pada_agent.core.ports import Compute
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.builder import build_graph
from tests.integration.graph_runs import THREAD
from tests.toy_student import save_hollow_model
from tests.toy_world import NearestRowCompute, ToyWorld, make_settings, teach

Graph = Any
Rows = Mapping[str, Sequence[Mapping[str, Any]]]
Invoke = Callable[[Graph, Any, Any], Any]


class ToyTeacher(BaseChatModel):
    """The toy teacher as a chat model."""

    n_asked: int = 0

    @property
    def _llm_type(self) -> str:
        return "toy"

    def _generate(
        self, messages: list[BaseMessage], *_: Any, run_manager: CallbackManagerForLLMRun, **__: Any
    ) -> ChatResult:
        self.n_asked += 1
        prompt = Message(role="user", content=messages[-1].text)
        request = ChatRequest(
            messages=(prompt,), tags={"prompt": run_manager.metadata["prompt"]}, draw=str(self.n_asked)
        )
        return ChatResult(generations=[ChatGeneration(message=AIMessage(teach(request)))])


class BusyCompute(NearestRowCompute):
    def submit(self, job: Job) -> str:
        raise TrainingError(f"the GPU is too busy for a {job.kind}")


class App:
    """An application with the standard wiring, a teacher of its own, and the toy student."""

    def __init__(self, folder: Path, rows: Rows | None = None, **changes: Any) -> None:
        self.teacher = ToyTeacher()
        self.kind: Callable[[Path], Compute] = NearestRowCompute
        self._toy = ToyWorld(folder / "toy", **({"memory": rows} if rows else {}))
        model = str(save_hollow_model(folder / "model"))
        own = {role: {"model": "own:toy"} for role in ("analyst", "generator", "judge")}
        self._settings = {
            "runs_folder": str(folder),
            "student": {"model": model},
            "models": {"embedder": model, **own},
            "loop": {"max_iterations": 1},
            **changes,
        }

    def settings(self, **changes: Any) -> RunConfig:
        return make_settings(**self._settings, **changes)

    def connect(self, config: RunConfig) -> Adapters:
        standard, toy = wiring.connect(config), self._toy.connect(config)
        roles = (standard.analyst, standard.generator, standard.judge)
        analyst, generator, judge = (wiring.bring_chat_model(role, self.teacher) for role in roles)
        own = {"compute": self.kind(self._toy.folder / "objects"), "datasets": toy.datasets, "embedder": toy.embedder}
        mine = {"analyst": analyst, "generator": generator, "judge": judge, "publish": toy.publish, "make_tokens": None}
        return replace(standard, student="toy", **own, **mine)

    def open(self) -> Graph:
        return build_graph(self.connect).compile(checkpointer=InMemorySaver(serde=make_serializer()))


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    found = App(tmp_path)
    yield found
    wiring.close(found.settings())


def invoke(graph: Graph, given: Any, context: Any) -> Any:
    return graph.invoke(given, THREAD, context=context)


def ainvoke(graph: Graph, given: Any, context: Any) -> Any:
    return asyncio.run(graph.ainvoke(given, THREAD, context=context))


def test_a_budget_holds_after_a_run_without_one_failed_in_the_same_process(app: App) -> None:
    app.kind = BusyCompute
    with pytest.raises(TrainingError, match="the GPU is too busy"):
        invoke(app.open(), {}, app.settings())
    app.kind = NearestRowCompute
    with pytest.raises(BudgetExceededError, match="6 of 6"):
        invoke(app.open(), {}, app.settings(budget={"max_calls": 6}))
    assert app.teacher.n_asked == 6


@pytest.mark.parametrize("call", [invoke, ainvoke])
def test_a_higher_budget_counts_on_a_new_thread_of_the_same_process(app: App, call: Invoke) -> None:
    with pytest.raises(BudgetExceededError, match="5 of 5"):
        call(app.open(), {}, app.settings(budget={"max_calls": 5}))
    assert call(app.open(), {}, app.settings(budget={"max_calls": 500}))["summary"].verdict
    assert app.teacher.n_asked > 5


@pytest.mark.parametrize("call", [invoke, ainvoke])
@pytest.mark.parametrize("given", [{}, None], ids=["started again", "continued"])
def test_the_advice_of_the_error_works_on_the_same_thread(app: App, call: Invoke, given: Any) -> None:
    graph = app.open()
    with pytest.raises(BudgetExceededError, match=r"run the same settings again with a higher budget\.max_calls"):
        call(graph, {}, app.settings(budget={"max_calls": 5}))
    assert call(graph, given, app.settings(budget={"max_calls": 500}))["summary"].verdict


def test_a_server_may_be_told_the_budget_alone_and_without_one_the_first_stays(app: App) -> None:
    graph = app.open()
    with pytest.raises(BudgetExceededError):
        invoke(graph, {}, app.settings(budget={"max_calls": 5}).model_dump())
    for context in (None, {}):
        with pytest.raises(BudgetExceededError, match="5 of 5"):
            invoke(graph, None, context)
    assert invoke(graph, None, {"budget": {"max_calls": None}})["summary"].verdict


@pytest.mark.parametrize("given", [{}, None], ids=["started again", "continued"])
def test_raising_one_limit_keeps_the_others(app: App, given: Any) -> None:
    graph = app.open()
    with pytest.raises(BudgetExceededError):
        invoke(graph, {}, app.settings(budget={"max_calls": 8, "max_tokens": 1000}))
    with pytest.raises(BudgetExceededError, match="8 of 8"):
        invoke(graph, given, {"budget": {"max_tokens": 10_000_000}})
    assert app.teacher.n_asked == 8


def test_a_refused_start_leaves_the_thread_able_to_go_on(app: App) -> None:
    graph = app.open()
    with pytest.raises(BudgetExceededError):
        invoke(graph, {}, app.settings(budget={"max_calls": 5}))
    with pytest.raises(ConfigError, match=r"other settings \(seed\)"):
        invoke(graph, {}, app.settings(seed=1))
    assert invoke(graph, None, {"budget": {"max_calls": None}})["summary"].verdict


def test_a_thread_still_refuses_settings_that_differ_in_more_than_the_budget(app: App) -> None:
    graph = app.open()
    with pytest.raises(BudgetExceededError):
        invoke(graph, {}, app.settings(budget={"max_calls": 5}))
    with pytest.raises(ConfigError, match="this thread has a run with other settings"):
        invoke(graph, {}, app.settings(budget={"max_calls": 500}, seed=1))


@pytest.mark.parametrize("call", [invoke, ainvoke])
def test_a_finished_run_leaves_no_file_open_in_a_process_that_goes_on(app: App, tmp_path: Path, call: Invoke) -> None:
    assert call(app.open(), {}, app.settings())["summary"].verdict
    end = time.monotonic() + 10
    while (left := list_open_files(tmp_path)) and time.monotonic() < end:  # an async call closes in a thread of its own
        time.sleep(0.02)
    assert not left


def list_open_files(folder: Path) -> list[str]:
    gc.collect()
    return [file.path for file in psutil.Process().open_files() if file.path.startswith(str(folder))]
