"""The guard against rewordings of held-out rows, fitted to how alike real rows are."""

from collections.abc import Sequence

import pytest

from pada_agent.agents.guards.real_nearness import MAX_SIMILARITY, fit_similarity
from pada_agent.core.config import GuardConfig
from pada_agent.core.records import Example

HELD_OUT = [Example(id="test", prompt="1.0", answer="a")]


class CosineEmbedder:
    """A text is a number: its vector's cosine with that of "1.0"."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [[float(text), (1 - float(text) ** 2) ** 0.5] for text in texts]


def rows(*groups: tuple[int, float]) -> list[Example]:
    cosines = [cosine for n, cosine in groups for _ in range(n)]
    return [Example(id=f"r{i}", prompt=str(cosine), answer="a") for i, cosine in enumerate(cosines)]


@pytest.mark.parametrize(
    ("training", "guard", "fitted"),
    [
        (rows((100, 0.5)), {}, 0.85),
        (rows((97, 0.5), (3, 0.95)), {}, 0.85),
        (rows((50, 0.5), (48, 0.9), (2, 0.96)), {}, 0.9),
        (rows((50, 0.5), (50, 0.999)), {}, MAX_SIMILARITY),
        (rows((50, 0.5), (50, 0.9)), {"contamination_share": None}, 0.85),
        (rows((50, 0.5), (50, 0.9)), {"contamination_share": 0.6}, 0.85),
        (rows((50, 0.5), (50, 0.9)), {"contamination_similarity": None}, None),
        (rows((50, 0.5), (50, 0.9)), {"contamination_similarity": 0.99}, 0.99),
        (rows((19, 0.9)), {}, 0.85),
        (rows((20, 0.9)), {}, 0.9),
        (rows((1000, 0.9)), {}, 0.9),
    ],
)
def test_the_cosine_is_raised_to_where_few_real_rows_reach_it(
    training: list[Example], guard: dict[str, float | None], fitted: float | None
) -> None:
    settings = GuardConfig.model_validate({"contamination_similarity": 0.85, **guard})
    assert fit_similarity(training, HELD_OUT, embedder=CosineEmbedder(), guard=settings) == (
        None if fitted is None else pytest.approx(fitted)
    )
