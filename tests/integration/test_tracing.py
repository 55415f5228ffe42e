"""What LangChain callbacks and tracers see of a run, and what nobody may see of it."""

import asyncio
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run
from langgraph.checkpoint.sqlite import SqliteSaver

from pada_agent.app.adapters.llm.chat_models import ChatModelAdapter, make_language_model
from pada_agent.app.adapters.llm.limits import Budget, CallGate
from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.app.report.document import write_report
from pada_agent.core.chat import Role
from pada_agent.core.config import BudgetConfig, ModelConfig, RunConfig
from pada_agent.core.errors import ModelUnavailableError
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.builder import build_graph
from pada_agent.prompts.prompted_model import PromptedModel
from tests.openai_server import answer_in_form, refuse, serving
from tests.toy_world import ToyWorld, make_settings

THREAD: Any = {"configurable": {"thread_id": "t"}}
AGENTS = {
    "error_analysis": "analyst",
    "pattern_categorization": "analyst",
    "strategy_drafting": "analyst",
    "data_generation": "generator",
    "answer_verification": "judge",
    "quality_control": "judge",
}


class Collector(BaseTracer):
    """A local tracer: keeps every root run with its children."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.roots.append(run)

    def walk(self) -> Iterator[tuple[Run, tuple[str, ...]]]:
        """Every run with the names of those above it."""
        for root in self.roots:
            yield from _walk(root, ())


def _walk(run: Run, above: tuple[str, ...]) -> Iterator[tuple[Run, tuple[str, ...]]]:
    yield run, above
    for child in run.child_runs:
        yield from _walk(child, (*above, run.name))


def agent_calls(collector: Collector) -> list[tuple[Run, tuple[str, ...]]]:
    return [
        (run, above) for run, above in collector.walk() if "prompt" in (run.metadata or {}) and run.run_type == "chain"
    ]


def open_roles(
    folder: Path, url: str, key_variable: str | None = None
) -> tuple[ToyWorld, Callable[[RunConfig], Adapters]]:
    """The toy world with roles that really go over LangChain and HTTP."""
    world, cache = ToyWorld(folder), ResponseCache(folder / "llm_calls.sqlite")
    config = ModelConfig(model="openai:toy", base_url=url, api_key_env=key_variable)

    def open_role(role: Role) -> PromptedModel:
        budget, gate = Budget(BudgetConfig(), cache.totals), CallGate(config)
        model: ChatModelAdapter = make_language_model(config, role=role, cache=cache, budget=budget, gate=gate)
        return PromptedModel(model)

    roles = {role: open_role(role) for role in ("analyst", "generator", "judge")}

    def connect(settings: RunConfig) -> Adapters:
        return replace(world.connect(settings), **roles)

    return world, connect


@pytest.mark.parametrize("is_async", [False, True], ids=["invoke", "ainvoke"])
def test_every_agent_call_is_a_named_run_under_its_node(tmp_path: Path, is_async: bool) -> None:
    collector = Collector()
    config: Any = {"callbacks": [collector], "tags": ["nightly"], "metadata": {"customer": "c1"}}
    settings = make_settings(loop={"max_iterations": 1})
    with serving(delay_seconds=0) as server:
        graph = build_graph(open_roles(tmp_path, server.url)[1]).compile()
        if is_async:
            asyncio.run(graph.ainvoke({}, config, context=settings))
        else:
            graph.invoke({}, config, context=settings)
    assert len(collector.roots) == 1
    calls = agent_calls(collector)
    assert Counter(run.name for run, _ in calls).keys() == AGENTS.keys()
    assert len(calls) == sum(server.asked.values())
    for run, above in calls:
        assert run.name in above, f"{run.name} hangs under {above}"
        assert run.metadata["agent"] == run.name
        assert run.metadata["role"] == AGENTS[run.name]
        assert run.metadata["customer"] == "c1"
        assert run.metadata["iteration"] == 1
        assert {AGENTS[run.name], run.name, "nightly"} <= set(run.tags or [])
        assert [child.run_type for child in run.child_runs] == ["llm"]


def test_a_batch_is_found_by_its_iteration_id_and_attempt(tmp_path: Path) -> None:
    collector = Collector()
    with serving(delay_seconds=0, answer=rate_low) as server:
        graph = build_graph(open_roles(tmp_path, server.url)[1]).compile()
        settings = make_settings(loop={"max_iterations": 1}, quality={"max_regenerations": 1})
        graph.invoke({}, {"callbacks": [collector]}, context=settings)
    found = {
        (run.name, run.metadata["iteration"], run.metadata["batch"], run.metadata["attempt"])
        for run, _ in agent_calls(collector)
        if run.name in ("data_generation", "quality_control")
    }
    batches = {batch for _, _, batch, _ in found}
    assert len(batches) > 1
    assert found == {(a, 1, b, n) for a in ("data_generation", "quality_control") for b in batches for n in (1, 2)}


def test_cached_replies_are_traced_without_a_model_run(tmp_path: Path) -> None:
    settings = make_settings(loop={"max_iterations": 1})
    first, again = Collector(), Collector()
    with serving(delay_seconds=0) as server:
        _, connect = open_roles(tmp_path, server.url)
        graph = build_graph(connect).compile()
        graph.invoke({}, {"callbacks": [first]}, context=settings)
        for done in (tmp_path / "objects").glob("batch-*"):  # else the replies of finished batches are not asked for
            shutil.rmtree(done)
        graph.invoke({}, {"callbacks": [again]}, context=settings)
    calls = agent_calls(again)
    assert len(calls) == len(agent_calls(first))
    assert not [run for run, _ in calls if run.child_runs]
    assert all(run.outputs and run.outputs["output"].cached for run, _ in calls)


def test_keys_stand_in_no_checkpoint_event_error_cache_report_or_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "tok-7d1f-very-secret"
    monkeypatch.setenv("MY_KEY", key)
    collector, events = Collector(), []
    settings = make_settings(
        loop={"max_iterations": 1}, models={"judge": {"model": "openai:toy", "api_key_env": "MY_KEY"}}
    )
    with (
        serving(delay_seconds=0) as server,
        SqliteSaver.from_conn_string(str(tmp_path / "checkpoints.sqlite")) as saver,
    ):
        world, connect = open_roles(tmp_path, server.url, "MY_KEY")
        graph = build_graph(connect).compile(checkpointer=saver)
        config = {**THREAD, "callbacks": [collector]}
        for event in graph.stream(
            {}, config, context=settings, stream_mode=["updates", "custom", "debug"], subgraphs=True
        ):
            events.append(repr(event))
    write_report(world.published[0], tmp_path)
    assert server.keys == {f"Bearer {key}"}
    assert key not in "".join(events)
    assert key not in "".join(
        f"{run.inputs} {run.outputs} {run.extra} {run.serialized} {run.error}" for run, _ in collector.walk()
    )
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {"checkpoints.sqlite", "llm_calls.sqlite", "report.html"} <= {file.name for file in files}
    assert not [file for file in files if key.encode() in file.read_bytes()]


def test_a_server_that_repeats_the_key_in_its_error_does_not_bring_it_into_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "tok-7d1f-very-secret"
    monkeypatch.setenv("MY_KEY", key)
    path = tmp_path / "checkpoints.sqlite"
    with serving(delay_seconds=0, answer=refuse(400)) as server, SqliteSaver.from_conn_string(str(path)) as saver:
        graph = build_graph(open_roles(tmp_path, server.url, "MY_KEY")[1]).compile(checkpointer=saver)
        with pytest.raises(ModelUnavailableError, match=r"\[key\]") as caught:
            graph.invoke({}, THREAD, context=make_settings())
    assert key not in str(caught.value)
    with closing(sqlite3.connect(path)) as database, database:
        (n_errors,) = database.execute("SELECT COUNT(*) FROM writes WHERE channel = '__error__'").fetchone()
    assert n_errors > 0
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and key.encode() in file.read_bytes()]


def rate_low(prompt: str) -> str:
    return answer_in_form(prompt).replace('": 8', '": 2')
