"""Which training rows a strategy is applied to: those that ask nearly what the pattern's failures ask."""

from collections.abc import Mapping, Sequence

from pada_agent.agents.data_generation.contrasts import find_contrasts
from pada_agent.core.ports import Embedder
from pada_agent.core.records import ErrorPattern, Example, ScoredRow, Strategy

N_NEAREST = 5
"""Training rows for each failure."""


def bind_to_rows(
    strategies: Sequence[Strategy],
    patterns: Sequence[ErrorPattern],
    failures: Mapping[str, ScoredRow],
    training: Sequence[Example],
    *,
    embedder: Embedder,
) -> list[Strategy]:
    """The strategies with the training rows nearest to their pattern's failures, by the questions' cosine.

    Those with confusions stay as they are: their labels say where they apply.
    """
    members = {pattern.id: pattern.example_ids for pattern in patterns}
    ids = {i for s in strategies if not s.confusions for i in members[s.pattern_id]}
    asked = [failures[i].example for i in sorted(ids) if i in failures]
    nearest = find_contrasts(asked, training, k=N_NEAREST, embedder=embedder)

    def bind(strategy: Strategy) -> Strategy:
        found = [row for i in members[strategy.pattern_id] for row in nearest.get(i, ())]
        return strategy.model_copy(update={"source_ids": tuple(dict.fromkeys(found))})

    return [s if s.confusions else bind(s) for s in strategies]
