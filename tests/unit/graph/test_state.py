"""What a person may write into the state, and what is refused at once."""

from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Overwrite
from pydantic_core import to_jsonable_python

from pada_agent.core.errors import ConfigError
from pada_agent.core.records import GuardedStrategy
from pada_agent.graph.builder import build_graph
from tests.integration.graph_runs import THREAD
from tests.toy_world import ToyWorld, make_settings

STRATEGY = {
    "id": "s1",
    "pattern_id": "p1",
    "category_name": "none",
    "strategy_name": "mine",
    "generation_approach": "Write about lighthouses.",
}
GUARDED = {"strategy": STRATEGY}


@pytest.fixture
def graph() -> Any:
    return build_graph(lambda _: pytest.fail("an edit connects to nothing")).compile(checkpointer=InMemorySaver())


@pytest.mark.parametrize("key", ["1", 1])
@pytest.mark.parametrize("wrap", [lambda update: update, Overwrite], ids=["merged", "overwritten"])
@pytest.mark.parametrize("value", [GUARDED, GuardedStrategy.model_validate(GUARDED)], ids=["JSON", "record"])
def test_edited_strategies_are_records_by_iteration(graph: Any, key: Any, wrap: Any, value: Any) -> None:
    graph.update_state(THREAD, {"strategies": wrap({key: [value]})}, as_node="collect_errors")
    assert graph.get_state(THREAD).values["strategies"] == {"1": [GuardedStrategy.model_validate(GUARDED)]}


@pytest.mark.parametrize(
    ("update", "problem"),
    [
        ({"strategies": {"1": [STRATEGY]}}, r"strategies\.1\.0\.strategy: Field required\. docs/embedding\.md shows"),
        ({"strategies": {"1": GUARDED}}, r"strategies\.1: Input should be a valid list"),
        ({"strategies": [GUARDED]}, r"strategies: Input should be a valid dictionary"),
        (
            {"models": {"untouched": None}},
            r"models\.untouched: Input should be a valid dictionary or instance of Trained",
        ),
        (
            {"strategies": {"1": [GUARDED, GUARDED]}},
            r"strategies\.1: Each strategy needs its own id; these appear twice: s1\. docs",
        ),
        ({"strategies": {"first": [GUARDED]}}, r"expected the number of an iteration, such as 1\. docs"),
        ({"top_ups": {"1": "many"}}, r"top_ups\.1: Input should be a valid integer"),
        ({"iteration": "first"}, r"iteration: Input should be a valid integer.*\. docs"),
        ({"plan": {"n_pattern_rows": 1}}, r"plan\.diagnosed_model: Field required\. docs"),
    ],
)
def test_an_edit_of_another_form_is_refused_at_once(graph: Any, update: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        graph.update_state(THREAD, update, as_node="collect_errors")
    assert graph.get_state(THREAD).values == {}


def fork(folder: Path, strategies: list[Any], *, sent_back: tuple[str, ...] = ()) -> Any:
    """The result of a run that is forked with other strategies.

    Args:
        sent_back: values of the state that come back as JSON, unchanged. Studio shows all that a node wrote, and sends all of it.
    """
    graph = build_graph(ToyWorld(folder).connect).compile(checkpointer=InMemorySaver())
    graph.invoke({}, THREAD, context=make_settings(loop={"max_iterations": 1}))
    before = next(s for s in graph.get_state_history(THREAD) if "generalization_branch" in s.next)
    unchanged = to_jsonable_python({key: before.values[key] for key in sent_back})
    config = graph.update_state(before.config, {**unchanged, "strategies": {1: strategies}}, as_node="collect_errors")
    return graph.invoke(None, config)


def test_a_fork_by_the_number_of_the_iteration_uses_the_edited_strategies(tmp_path: Path) -> None:
    result = fork(tmp_path, [GUARDED])
    assert [guarded.strategy.strategy_name for guarded in result["strategies"]["1"]] == ["mine"]
    assert result["summary"].patterns[0].added[0].strategy_name == "mine"


def test_a_fork_may_send_everything_that_the_node_wrote_back_as_json(tmp_path: Path) -> None:
    result = fork(
        tmp_path, [GUARDED], sent_back=("settings", "data", "iteration", "plan", "n_wanted", "models", "spans")
    )
    assert result["summary"].patterns[0].added[0].strategy_name == "mine"


def test_a_fork_without_strategies_writes_from_training_errors_alone(tmp_path: Path) -> None:
    result = fork(tmp_path, [])
    assert result["strategies"]["1"] == []
    assert {written for told in result["batches"].values() for written in told.by_strategy} == {"training_error"}


def test_a_fork_to_rows_that_do_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"strategies\.1: No such training rows in source_ids: nobody\. Fork"):
        fork(tmp_path, [{"strategy": {**STRATEGY, "source_ids": ["train-0", "nobody"]}}])


def test_an_edit_of_settings_changes_only_what_it_names(graph: Any) -> None:
    own = make_settings(seed=7)
    graph.update_state(THREAD, {"settings": own}, as_node="collect_errors")
    graph.update_state(THREAD, {"settings": {"budget": {"max_calls": 5}}}, as_node="collect_errors")
    assert graph.get_state(THREAD).values["settings"] == own.model_copy(update={"budget": {"max_calls": 5}})
    with pytest.raises(ConfigError, match=r"lop: there is no such setting"):
        graph.update_state(THREAD, {"settings": {"lop": {}}}, as_node="collect_errors")
