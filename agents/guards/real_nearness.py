"""How similar real training rows are to held-out rows by nature. Synthetic rows may be as similar as that."""

from collections.abc import Sequence
from random import Random

import numpy as np

from pada_agent.core.config import GuardConfig
from pada_agent.core.ports import Embedder
from pada_agent.core.records import Example
from pada_agent.evaluation.contamination import find_nearness

MAX_SIMILARITY = 0.97
"""Upper limit of the fitted threshold. A row that is closer than this is a copy, however alike the real rows are."""

N_ROWS = 500
"""Number of training rows to look at. If there are more, they are drawn with a fixed seed."""

MIN_ROWS = 20
"""With fewer training rows than this, the setting is used unchanged."""


def fit_similarity(
    training: Sequence[Example], protected: Sequence[Example], *, embedder: Embedder, guard: GuardConfig
) -> float | None:
    """Cosine similarity at which a synthetic row counts as a reworded held-out row and is rejected. None if only words are compared."""
    least, share = guard.contamination_similarity, guard.contamination_share
    if least is None or share is None or not protected or len(training) < MIN_ROWS or least >= MAX_SIMILARITY:
        return least
    rows = Random(0).sample(list(training), N_ROWS) if len(training) > N_ROWS else training
    usual = float(np.quantile(find_nearness(rows, protected, embedder=embedder), 1 - share))
    return max(least, min(usual, MAX_SIMILARITY))


def describe_raised(guard: GuardConfig, fitted: float | None) -> list[str]:
    """A warning if real rows are so similar that the threshold was raised."""
    given = guard.contamination_similarity
    if given is None or fitted is None or fitted <= given:
        return []
    return [
        f"real rows are similar: more than {guard.contamination_share:.0%} of the training rows are as close to a held-out row as {given:.2f}"
        f" (guard.contamination_similarity), so a synthetic row is rejected only if it reaches {fitted:.2f}"
    ]
