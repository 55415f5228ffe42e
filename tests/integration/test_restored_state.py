"""What a checkpointer gives back is made into the state's records, or refused where a node would use it."""

from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ArtifactError
from pada_agent.graph.builder import build_graph
from tests.integration.graph_runs import THREAD
from tests.toy_world import ToyWorld, make_settings

REVIEWED = make_settings(loop={"max_iterations": 1}, review={"strategies": True})


class AppState(TypedDict, total=False):
    summary: Any


class PlainSaver(InMemorySaver):
    """A checkpointer whose serializer makes no classes, as LANGGRAPH_STRICT_MSGPACK does to those of a subgraph."""

    def __init__(self) -> None:
        super().__init__(serde=JsonPlusSerializer(allowed_msgpack_modules=None))


class OlderSaver(InMemorySaver):
    """Gives the settings back as LangGraph restores those of a version with another setting: without validation."""

    def get_tuple(self, config: Any) -> Any:
        found = super().get_tuple(config)
        values = found.checkpoint["channel_values"] if found else {}
        if "settings" in values:
            written = values["settings"].model_dump()
            written["generation"]["selection"] = "random"
            values["settings"] = RunConfig.model_construct(**written)
        return found


@pytest.mark.parametrize("is_node", [False, True], ids=["alone", "in a larger graph"])
def test_a_run_goes_on_where_a_checkpointer_restores_records_as_mappings(tmp_path: Path, is_node: bool) -> None:
    builder = build_graph(ToyWorld(tmp_path).connect)
    if is_node:
        whole: Any = StateGraph(AppState, context_schema=RunConfig)
        whole.add_node("improve", builder.compile())
        whole.add_edge(START, "improve")
        whole.add_edge("improve", END)
        builder = whole
    graph = builder.compile(checkpointer=PlainSaver())
    assert graph.invoke({}, THREAD, context=REVIEWED)["__interrupt__"]
    assert graph.invoke(Command(resume="approve"), THREAD, context=REVIEWED)["summary"].verdict


@pytest.mark.parametrize("given", [Command(resume="approve"), {}], ids=["continued", "started again"])
def test_a_thread_of_another_version_can_be_looked_at_and_is_refused_in_words(tmp_path: Path, given: Any) -> None:
    graph = build_graph(ToyWorld(tmp_path).connect).compile(checkpointer=OlderSaver())
    graph.invoke({}, THREAD, context=REVIEWED)
    assert graph.get_state(THREAD).interrupts
    told = r"settings\.generation\.selection: Extra inputs are not permitted\)\. If another version wrote it, continue"
    with pytest.raises(ArtifactError, match=told):
        graph.invoke(given, THREAD, context=REVIEWED)
