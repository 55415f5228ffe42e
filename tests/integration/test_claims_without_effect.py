"""How often a gain is claimed where there is none, by simulation."""

import numpy as np
import pytest

from pada_agent.core.records import Verdict
from pada_agent.evaluation.statistics import compare_methods


@pytest.mark.parametrize(
    ("n_seeds", "sd_of_seeds", "sd_of_rows"),
    [(1, 0.0, 0.3), (2, 0.0, 0.3), (3, 0.3, 0.0), (3, 0.1, 0.5), (5, 0.2, 0.3)],
)
def test_without_an_effect_a_gain_is_claimed_in_at_most_one_of_twenty_experiments(
    n_seeds: int, sd_of_seeds: float, sd_of_rows: float
) -> None:
    """1,000 simulated experiments on 60 rows: adapters differ by seed, methods by row, neither on average."""
    rng = np.random.default_rng(7)
    n_claimed = 0
    for _ in range(1000):
        ease = rng.normal(0, 1.2, 60)
        shift = rng.normal(0, sd_of_rows, 60)
        luck, noise = rng.normal(0, sd_of_seeds, (2, n_seeds, 1)), rng.normal(0, 0.7, (2, n_seeds, 60))
        sides = [[to_verdicts(row) for row in ease + m * shift + luck[m] + noise[m]] for m in (0, 1)]
        n_claimed += compare_methods(sides[0], sides[1]).words == "gained"
    assert n_claimed <= 50


def to_verdicts(scores: "np.ndarray") -> list[Verdict]:  # type: ignore[type-arg]
    return [CORRECT[i] if score > 0 else WRONG[i] for i, score in enumerate(scores)]


CORRECT, WRONG = (
    [Verdict(example_id=str(i), value="correct") for i in range(60)],
    [Verdict(example_id=str(i), value="wrong") for i in range(60)],
)
