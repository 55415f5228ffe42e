"""How the first node reads settings: from the context, from the input, and from the thread."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph

from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ArtifactError, ConfigError, DatasetError
from pada_agent.graph.builder import build_graph
from pada_agent.graph.nodes.prepare import find_given, resolve_settings
from pada_agent.graph.run_context import RunContext, override_settings
from tests.toy_world import TRAIN, VALIDATION, ToyWorld, make_settings

OWN = make_settings(budget={"max_calls": 5, "max_tokens": 9}, seed=7)


@dataclass
class AppContext:
    user: str = "u"


class AppSettings(RunConfig):
    """The run's settings, and one that the application's own nodes read."""

    target: float = 0.9


class AppState(TypedDict, total=False):
    train: Any
    validation: Any
    task: str
    model: str
    summary: Any


def put_into(folder: Path, context: type) -> Any:
    """A larger graph with the run as its only node."""
    builder = StateGraph(AppState, context_schema=context)
    builder.add_node("improve", build_graph(ToyWorld(folder).connect).compile())
    builder.add_edge(START, "improve")
    builder.add_edge("improve", END)
    return builder.compile()


def test_settings_are_laid_over_one_another_by_what_they_name() -> None:
    given = RunConfig.model_validate({"budget": {"max_calls": None}, "task": {"labels": {"fruit": ""}}})
    found = override_settings(OWN, given)
    assert found.budget.model_dump(exclude_none=True) == {"max_tokens": 9}
    assert found.task.labels == {"fruit": ""}, "labels are one value, not a group of settings"
    assert found == OWN.model_copy(update={"budget": found.budget, "task": found.task})


class BrokenEmbedder:
    """Raises, and counts how many texts it was asked for."""

    def __init__(self) -> None:
        self.n_texts = 0

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.n_texts += len(texts)
        raise ArtifactError("its weights are damaged")


@pytest.mark.parametrize(
    ("changes", "is_tried"),
    [
        ({}, True),
        ({"loop": {"max_iterations": 0}}, False),
        ({"guard": {"contamination_similarity": None}, "loop": {"max_iterations": 0}}, False),
    ],
)
def test_an_embedder_that_cannot_be_used_is_found_before_anything_is_computed(
    tmp_path: Path, changes: dict[str, Any], is_tried: bool
) -> None:
    world, embedder = ToyWorld(tmp_path), BrokenEmbedder()
    graph = build_graph(lambda settings: replace(world.connect(settings), embedder=embedder)).compile()
    if is_tried:
        with pytest.raises(ArtifactError, match="its weights are damaged"):
            graph.invoke({}, context=make_settings(**changes))
        assert embedder.n_texts == 1 and not list(tmp_path.glob("objects/predict-*"))
    else:
        graph.invoke({}, context=make_settings(**changes))
        assert embedder.n_texts == 0


@pytest.mark.parametrize("text", ["", " \n"])
def test_blank_texts_of_the_input_are_not_given(tmp_path: Path, text: str) -> None:
    blank = dict.fromkeys(("train", "validation", "test", "task", "model"), text)
    graph = build_graph(ToyWorld(tmp_path).connect).compile()
    summary = graph.invoke(blank, context=make_settings(loop={"max_iterations": 0}))["summary"]
    assert [model.test is not None for model in summary.models] == [True, True]
    assert find_given({**blank, "train": TRAIN}) == {"train": TRAIN}


@pytest.mark.parametrize(
    ("context", "limits"),
    [
        (None, (5, 9)),
        (AppContext(), (5, 9)),
        (RunContext(), (5, 9)),
        (RunContext.model_validate({"budget": {"max_calls": 6}}), (6, 9)),
        (RunContext.model_validate({"budget": {"max_calls": None}, "seed": 7}), (None, 9)),
        (OWN, (5, 9)),
        (AppSettings(target=0.5), (5, 9)),
    ],
)
def test_a_thread_s_settings_hold_for_what_a_new_start_does_not_name(context: Any, limits: tuple[Any, Any]) -> None:
    found = resolve_settings({"settings": OWN}, {}, context)
    assert (found.budget.max_calls, found.budget.max_tokens) == limits
    assert found.model_copy(update={"budget": OWN.budget}) == OWN


@pytest.mark.parametrize(
    ("given", "context", "told"),
    [
        ({}, {"seed": 8}, r"other settings \(seed\)\. Start yours on a new thread, with another `name`"),
        ({"task": "gsm8k", "test": "t.csv"}, None, r"\(task\.name, data\.test\)"),
        ({}, {"lora": {"rank": 9, "alpha": 9, "epochs": 9, "batch_size": 9}, "seed": 9, "name": "x"}, r", …\)"),
    ],
)
def test_a_new_start_with_other_settings_is_refused_with_their_keys(given: Any, context: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        resolve_settings({"settings": OWN}, given, context and RunConfig.model_validate(context))


def test_a_finished_thread_says_that_the_next_run_needs_another_name() -> None:
    state: Any = {"settings": OWN, "summary": "the result"}
    with pytest.raises(ConfigError, match=r"finished\. Start another on a new thread, with another `name`"):
        resolve_settings(state, {}, None)


@pytest.mark.parametrize(("kind", "context"), [(AppContext, AppContext()), (AppState, {"task": "Help the user"})])
def test_a_larger_graph_with_a_context_of_its_own_is_told_how_to_give_settings(
    tmp_path: Path, kind: type, context: Any
) -> None:
    with pytest.raises(ConfigError, match=r"no settings: pass context=.* needs context_schema=RunConfig"):
        put_into(tmp_path, kind).invoke({}, context=context)


def test_the_context_of_a_larger_graph_may_add_fields_to_the_settings(tmp_path: Path) -> None:
    settings = make_settings(loop={"max_iterations": 0}).model_dump(exclude_unset=True)
    result = put_into(tmp_path, AppSettings).invoke({}, context={**settings, "target": 0.5})
    assert [model.name for model in result["summary"].models] == ["untouched", "fine-tuned"]


@pytest.mark.parametrize(
    ("given", "kind", "told"),
    [
        ({"task": "Help the user"}, ConfigError, r"'Help the user';.*\nSet by the graph's input, [^:]*: task\n"),
        ({"train": "nowhere", "model": "gpt-4o"}, DatasetError, r"nowhere.*\nSet by the graph's input, [^:]*: train\n"),
    ],
)
def test_an_error_about_a_text_of_the_input_says_where_it_is_from(
    tmp_path: Path, given: Any, kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        put_into(tmp_path, RunConfig).invoke(given, context=make_settings())


def test_an_error_about_something_else_does_not_mention_the_input(tmp_path: Path) -> None:
    given = {"task": "multiple_choice", "train": TRAIN, "validation": [{**VALIDATION[0], "answer": "stone"}]}
    with pytest.raises(DatasetError) as caught:
        put_into(tmp_path, RunConfig).invoke(given, context=make_settings())
    assert "stone" in str(caught.value) and "the graph's input" not in str(caught.value)
