"""Which training rows a strategy is applied to: those whose questions are closest to the pattern's failures."""

from collections.abc import Mapping, Sequence

from pada_agent.agents.data_generation.contrasts import find_nearest_rows
from pada_agent.core.ports import Embedder
from pada_agent.core.records import ErrorPattern, Example, ScoredRow, Strategy

N_NEAREST = 5
"""Number of training rows per failure."""


def bind_to_rows(
    strategies: Sequence[Strategy],
    patterns: Sequence[ErrorPattern],
    failures: Mapping[str, ScoredRow],
    training: Sequence[Example],
    *,
    embedder: Embedder,
) -> list[Strategy]:
    """Set each strategy's `source_ids` to the training rows whose questions are nearest to its pattern's failures by cosine.

    Strategies with confusions are left unchanged, because their labels already say where they apply.
    """
    members = {pattern.id: pattern.example_ids for pattern in patterns}
    ids = {i for s in strategies if not s.confusions for i in members[s.pattern_id]}
    asked = [failures[i].example for i in sorted(ids) if i in failures]
    nearest = find_nearest_rows(asked, training, k=N_NEAREST, embedder=embedder)

    def bind(strategy: Strategy) -> Strategy:
        found = [row for i in members[strategy.pattern_id] for row in nearest.get(i, ())]
        return strategy.model_copy(update={"source_ids": tuple(dict.fromkeys(found))})

    return [s if s.confusions else bind(s) for s in strategies]
