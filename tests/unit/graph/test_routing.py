"""Every route, in a table; and the drawing in the documentation."""

import re
from pathlib import Path

import pytest

from pada_agent.core.config import RunConfig
from pada_agent.core.records import Metrics, Ref
from pada_agent.graph.builder import build_graph
from pada_agent.graph.channels import merge, unite
from pada_agent.graph.models import TrainedModel
from pada_agent.graph.routing import route_after_evaluation, route_after_review, why_stop
from pada_agent.graph.state import RunState


def measured(name: str, iteration: int, *, failures: int = 5, n_unscored: int = 0) -> TrainedModel:
    metrics = Metrics(n=10, n_correct=5, n_unscored=n_unscored, accuracy=0.5, low=0.2, high=0.8)
    ref = Ref(key="f", rows=failures)
    return TrainedModel(name=name, iteration=iteration, selection=metrics, diagnosis=metrics, validation_failures=ref)


def state_after(
    iteration: int,
    *,
    best: int,
    failures: int = 5,
    n_unscored: int = 0,
    max_iterations: int = 3,
    patience: int = 1,
    pattern_share: float = 0.5,
) -> RunState:
    loop = {"max_iterations": max_iterations, "patience": patience}
    settings = RunConfig.model_validate({"loop": loop, "generation": {"pattern_share": pattern_share}})
    models = {str(i): measured(str(i), i, failures=failures, n_unscored=n_unscored) for i in range(iteration + 1)}
    return {"settings": settings, "iteration": iteration, "models": models, "best_model": str(best)}


@pytest.mark.parametrize(
    ("state", "goes_to", "reason"),
    [
        (state_after(0, best=0), "collect_errors", None),
        (state_after(1, best=1), "collect_errors", None),
        (state_after(1, best=0), "finish", "no improvement on the selection part for 1 iteration"),
        (state_after(1, best=0, patience=2), "collect_errors", None),
        (state_after(2, best=0, patience=2), "finish", "no improvement on the selection part for 2 iterations"),
        (state_after(3, best=3), "finish", "iteration limit of 3 reached"),
        (state_after(0, best=0, max_iterations=0), "finish", "iteration limit of 0 reached"),
        (state_after(0, best=0, failures=0), "finish", "no errors left to diagnose"),
        (state_after(0, best=0, failures=0, pattern_share=0), "collect_errors", None),
        (
            state_after(0, best=0, failures=0, n_unscored=2),
            "finish",
            "no errors to diagnose: 2 answers on the diagnosis part could not be scored, and no other is wrong",
        ),
    ],
)
def test_after_an_evaluation_the_loop_goes_on_or_ends(state: RunState, goes_to: str, reason: str | None) -> None:
    assert route_after_evaluation(state) == goes_to
    assert why_stop(state) == reason


@pytest.mark.parametrize(("n_rows", "goes_to"), [(0, "finish"), (1, "review_cost")])
def test_without_new_rows_there_is_nothing_to_train_on(n_rows: int, goes_to: str) -> None:
    assert route_after_review({"new_rows": Ref(key="k", rows=n_rows)}) == goes_to


def test_reducers_change_nothing_when_a_node_runs_twice() -> None:
    assert merge(merge({"a": 1}, {"b": 2}), {"b": 2}) == {"a": 1, "b": 2}
    assert unite(unite(["x"], ["y"]), ["y"]) == ["x", "y"]


def test_the_drawing_in_the_documentation_is_the_graph() -> None:
    drawing = (
        build_graph(lambda _: pytest.fail("drawing connects to nothing")).compile().get_graph(xray=True).draw_mermaid()
    )
    page = Path(__file__).parents[3].joinpath("docs/how-it-works/graph.md").read_text(encoding="utf-8")
    assert drawing.strip() in page, "python -m tools.docs.reference writes it again"
    in_words = page.partition("```mermaid")[0]
    nodes = {name.rpartition("\\3a")[2] for name in re.findall(r"^\s*([\w\\]+)\(\w+\)", drawing, re.MULTILINE)}
    assert len(nodes) > 20
    assert [name for name in sorted(nodes) if f"`{name}`" not in in_words] == []
