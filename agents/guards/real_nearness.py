"""How near real rows come to held-out ones by nature: what a synthetic row may be too."""

from collections.abc import Sequence
from random import Random

import numpy as np

from pada_agent.core.config import GuardConfig
from pada_agent.core.ports import Embedder
from pada_agent.core.records import Example
from pada_agent.evaluation.contamination import find_nearness

MAX_SIMILARITY = 0.97
"""What says the same in almost the same words is a copy, whatever the rows are like."""

N_ROWS = 500
"""Training rows that are looked at, drawn with a fixed seed where there are more."""

MIN_ROWS = 20
"""Of fewer rows no share is known."""


def fit_similarity(
    training: Sequence[Example], protected: Sequence[Example], *, embedder: Embedder, guard: GuardConfig
) -> float | None:
    """The cosine at which a synthetic row is rejected as a held-out one in other words; None where only words are compared."""
    least, share = guard.contamination_similarity, guard.contamination_share
    if least is None or share is None or not protected or len(training) < MIN_ROWS or least >= MAX_SIMILARITY:
        return least
    rows = Random(0).sample(list(training), N_ROWS) if len(training) > N_ROWS else training
    usual = float(np.quantile(find_nearness(rows, protected, embedder=embedder), 1 - share))
    return max(least, min(usual, MAX_SIMILARITY))
