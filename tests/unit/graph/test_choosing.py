"""Which model is the best so far, and what is trained on after a regression."""

import pytest

from pada_agent.core.config import RunConfig
from pada_agent.core.records import Metrics, Ref
from pada_agent.graph.models import TrainedModel, choose_best
from pada_agent.graph.nodes.fine_tuning import synthetic_refs
from pada_agent.graph.state import RunState


def model(iteration: int | None, n_correct: int, *, n_synthetic: int = 0, diagnosed: int = 5) -> TrainedModel:
    def measure(n: int) -> Metrics:
        return Metrics(n=10, n_correct=n, accuracy=n / 10, low=0, high=1)

    name = "untouched" if iteration is None else f"iteration {iteration}"
    synthetic = (Ref(key=f"rows of {name}", rows=n_synthetic),) if n_synthetic else ()
    return TrainedModel(
        name=name,
        iteration=iteration,
        selection=measure(n_correct),
        diagnosis=measure(diagnosed),
        n_synthetic=n_synthetic,
        synthetic=synthetic,
    )


@pytest.mark.parametrize(
    ("models", "best"),
    [
        ([model(0, 5), model(1, 6, n_synthetic=4)], "iteration 1"),
        ([model(0, 5), model(1, 6, n_synthetic=4), model(2, 5, n_synthetic=8)], "iteration 1"),
        ([model(0, 5), model(1, 5, n_synthetic=4)], "iteration 0"),
        ([model(0, 4), model(1, 6, n_synthetic=8), model(2, 6, n_synthetic=4)], "iteration 2"),
        ([model(0, 4), model(1, 6, n_synthetic=4), model(2, 6, n_synthetic=4)], "iteration 1"),
        ([model(None, 9), model(0, 2)], "iteration 0"),
        ([model(0, 5, diagnosed=2), model(1, 4, n_synthetic=4, diagnosed=9)], "iteration 0"),
    ],
    ids=["better", "regressed", "tie: none", "tie: less", "tie: earlier", "untouched never", "selection decides"],
)
def test_the_best_on_the_selecting_part_ties_to_less_data(models: list[TrainedModel], best: str) -> None:
    assert choose_best(models).name == best
    assert choose_best(models[::-1]).name == best


def test_after_a_regression_the_rows_of_the_better_model_are_built_upon() -> None:
    state: RunState = {
        "settings": RunConfig(),
        "iteration": 3,
        "best_model": "iteration 1",
        "models": {a.name: a for a in (model(0, 4), model(1, 6, n_synthetic=4), model(2, 5, n_synthetic=8))},
        "new_rows": Ref(key="new", rows=2),
    }
    assert [ref.key for ref in synthetic_refs(state)] == ["rows of iteration 1", "new"]
