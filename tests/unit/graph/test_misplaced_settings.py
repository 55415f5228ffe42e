"""Settings that are passed where nobody would read them, or to a run that has others, are refused; nothing is left out without a word."""

import asyncio
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ConfigError
from pada_agent.graph.builder import build_graph
from pada_agent.graph.run_context import RunContext
from tests.toy_world import TRAIN, VALIDATION, ToyWorld, make_settings

SHORT = make_settings(loop={"max_iterations": 0})
ROWS: dict[str, Any] = {"train": TRAIN, "validation": VALIDATION}
THREAD: Any = {"configurable": {"thread_id": "1"}}


class AppState(TypedDict, total=False):
    train: Any
    validation: Any
    summary: Any


def open_graph(folder: Path) -> Any:
    return build_graph(ToyWorld(folder).connect).compile(checkpointer=InMemorySaver())


def put_into(folder: Path) -> Any:
    """A larger graph that says nothing of its context."""
    builder = StateGraph(AppState)
    builder.add_node("improve", build_graph(ToyWorld(folder).connect).compile())
    builder.add_edge(START, "improve")
    builder.add_edge("improve", END)
    return builder.compile(checkpointer=InMemorySaver())


def count_models(result: Any) -> int:
    return len(result["summary"].models)


@pytest.mark.parametrize(
    ("given", "configurable", "context", "told"),
    [
        (
            SHORT,
            {},
            SHORT,
            r"input\.task: expected a name as text, but found TaskConfig\. Settings are passed as `context`",
        ),
        ({"task": {"name": "gsm8k"}}, {}, SHORT, r"input\.task: .* found dict"),
        (ROWS, {}, "mytask.yaml", r"context: expected a RunConfig or a mapping of settings, but found str"),
        (ROWS, {}, {"lop": {}}, r"context: lop: there is no such setting\. Did you mean 'loop'"),
        ({}, {"loop": {"max_iterations": 2}}, SHORT, r"not read from there \(loop\.max_iterations\).*as `context`"),
        (ROWS, {"task": {"name": "gsm8k"}}, None, r"not read from there \(task\.name\)"),
    ],
)
def test_settings_where_nobody_reads_them_are_refused(
    tmp_path: Path, given: Any, configurable: Any, context: Any, told: str
) -> None:
    config: Any = {"configurable": {"thread_id": "1", **configurable}}
    with pytest.raises(ConfigError, match=told):
        open_graph(tmp_path).invoke(given, config, context=context)


def test_settings_that_a_server_adds_itself_are_not_taken_for_the_caller_s(tmp_path: Path) -> None:
    """It merges the assistant's context with the call's, and has the settings of earlier calls on the thread in `configurable`."""
    thread: Any = {"thread_id": "1", "assistant_id": "a"}
    earlier: Any = {"configurable": {**thread, "loop": {"max_iterations": 3}}}
    own = make_settings(loop={"max_iterations": 1}, review={"strategies": True})
    graph = open_graph(tmp_path)
    assert graph.invoke({}, earlier, context=own)["__interrupt__"]
    result = graph.invoke(Command(resume="approve"), {"configurable": thread}, context=SHORT)
    assert count_models(result) == 3, "the thread's own settings hold"


def test_a_larger_graph_without_a_schema_may_pass_settings_as_a_mapping(tmp_path: Path) -> None:
    context = SHORT.model_dump(exclude_unset=True, exclude={"data"})
    assert count_models(put_into(tmp_path).invoke(ROWS, THREAD, context=context)) == 2
    with pytest.raises(ConfigError, match=r"context: lop: there is no such setting"):
        put_into(tmp_path).invoke(ROWS, THREAD, context={**context, "lop": {}})


@pytest.mark.parametrize("changes", [{"loop": {"max_iterations": 5}}, {"review": {"strategies": False}}, {"name": "x"}])
@pytest.mark.parametrize("given", [None, Command(resume="approve")], ids=["continued", "answered"])
def test_a_run_that_goes_on_refuses_settings_other_than_its_own(tmp_path: Path, given: Any, changes: Any) -> None:
    own: dict[str, Any] = {"loop": {"max_iterations": 1}, "review": {"strategies": True}}
    graph = open_graph(tmp_path)
    graph.invoke(ROWS, THREAD, context=make_settings(**own))
    assert graph.get_state(THREAD).interrupts
    with pytest.raises(ConfigError, match=r"a run with other settings \(.*Continue it with its own"):
        graph.invoke(given, THREAD, context=make_settings(**{**own, **changes}))
    assert count_models(graph.invoke(Command(resume="approve"), THREAD, context=make_settings(**own))) == 3


def test_what_the_input_has_named_is_not_compared_with_the_context(tmp_path: Path) -> None:
    settings = make_settings(data={"train": "memory:none"}, task={"name": "exact_match"}, loop={"max_iterations": 0})
    graph = open_graph(tmp_path)
    given = {"train": "memory:train", "task": "multiple_choice"}
    graph.invoke(given, THREAD, context=settings, interrupt_before=["fine_tune"])
    assert count_models(graph.invoke(None, THREAD, context=settings)) == 2


def test_a_folder_under_another_path_is_the_same(tmp_path: Path) -> None:
    graph = open_graph(tmp_path)
    graph.invoke({}, THREAD, context=SHORT, interrupt_before=["fine_tune"])
    same = SHORT.model_copy(update={"runs_folder": f"./{SHORT.runs_folder}"})
    assert count_models(graph.invoke(None, THREAD, context=same)) == 2


def test_a_jump_into_a_thread_without_a_run_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no run to continue\. Start one: call the graph with \{\}"):
        open_graph(tmp_path).invoke(Command(goto="finish"), THREAD, context=SHORT)


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_the_graph_is_a_tool_that_needs_no_argument(tmp_path: Path) -> None:
    bound = build_graph(ToyWorld(tmp_path).connect).compile().bind(context=SHORT)
    tool = (bound | (lambda result: result["summary"].verdict)).as_tool(
        name="improve", description="Improve our model."
    )
    assert "required" not in tool.tool_call_schema.model_json_schema()
    told = tool.invoke({})
    assert told == asyncio.run(tool.ainvoke({"model": "", "train": None})) and "augmentation" in told


@pytest.mark.parametrize("key", ["budjet", "run_folder", "max_usd", "model"])
def test_a_server_is_kept_from_dropping_what_is_meant_for_a_setting(key: str) -> None:
    graph = build_graph(lambda _: pytest.fail("a schema connects to nothing")).compile()
    assert key in graph.get_context_jsonschema()["properties"]
    assert key in RunConfig.model_json_schema()["properties"], "the context of a larger graph"
    with pytest.raises(ConfigError, match=rf"context: {key}: there is no such setting"):
        RunContext(**{key: 1})


@pytest.mark.parametrize("key", ["thread_id", "user_id", "tenant", "x-request-id", "__request_start_time_ms__"])
def test_a_server_drops_its_own_keys_from_the_context(key: str) -> None:
    properties = RunContext.model_json_schema()["properties"]
    assert key not in properties and set(properties) == set(RunConfig.model_fields)
