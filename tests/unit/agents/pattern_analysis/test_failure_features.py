"""What failures are grouped by. The embedder here gives every word a direction of its own."""

from collections.abc import Sequence

import numpy as np
import pytest

from pada_agent.agents.pattern_analysis.failure_features import (
    embed_analyses,
    nearest_cluster,
    order_by_nearness,
)
from pada_agent.core.config import AnalysisConfig
from pada_agent.core.records import ErrorAnalysis, FailureTraits


class WordVectors:
    """Unit vectors by words, in as many dimensions as there are words in `vocabulary`."""

    def __init__(self, vocabulary: str) -> None:
        self._words = vocabulary.split()

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        counts = np.array([[text.lower().split().count(word) for word in self._words] for text in texts], dtype=float)
        lengths = np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1)
        return [[float(x) for x in row] for row in counts / lengths]


WORDS = WordVectors("card late transfer fee lost phrase column table")


def failed(
    number: int, *, cause: str = "phrase", question: str = "card", gold: str | None = None, predicted: str | None = None
) -> ErrorAnalysis:
    traits = FailureTraits(question=question, gold=gold, predicted=predicted, reason="")
    return ErrorAnalysis(example_id=f"v{number}", error_cause=cause, scenario_category="phrase", traits=traits)


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def test_with_the_papers_weights_the_words_alone_decide() -> None:
    paper = AnalysisConfig(analysis_weight=1, question_weight=0, outcome_weight=0)
    analyses = [failed(1, cause="late", gold="a", predicted="b"), failed(2, cause="late", gold="c", predicted="d")]
    one, other = embed_analyses(analyses, embedder=WORDS, settings=paper)
    assert one == pytest.approx(WORDS.embed(["phrase: late"])[0])
    assert cosine(one, other) == pytest.approx(1)


def test_the_same_phrasing_does_not_join_different_mix_ups() -> None:
    """Four analyses of one call share their phrasing; what was confused with what still tells them apart."""
    analyses = [
        failed(1, gold="fee", predicted="rate"),
        failed(2, gold="rate", predicted="fee"),
        failed(3, gold="lost", predicted="arrival"),
        failed(4, cause="transfer", question="transfer", gold="fee", predicted="rate"),
    ]
    vectors = embed_analyses(analyses, embedder=WORDS, settings=AnalysisConfig())
    both_directions, other_mix_up, other_words = (cosine(vectors[0], vectors[i]) for i in (1, 2, 3))
    assert both_directions == pytest.approx(1), "a for b and b for a are one boundary"
    assert other_mix_up < other_words < both_directions


@pytest.mark.parametrize(
    ("reasons", "alike"),
    [
        (("no such column: 'capitol'", "no such column: 'citty'"), True),
        (("12 is not 15", "7 is not 1,200.5"), True),
        (("no column", "no table"), False),
    ],
)
def test_open_answers_fail_alike_for_the_same_reason_whatever_the_names_and_numbers(
    reasons: tuple[str, str], alike: bool
) -> None:
    analyses = [
        failed(i).model_copy(update={"traits": FailureTraits(question="card", reason=reason)})
        for i, reason in enumerate(reasons)
    ]
    one, other = embed_analyses(analyses, embedder=WORDS, settings=AnalysisConfig())
    assert (cosine(one, other) > 0.999) is alike


def test_every_vector_has_length_one() -> None:
    vectors = embed_analyses([failed(1, gold="a", predicted="b")], embedder=WORDS, settings=AnalysisConfig())
    assert np.linalg.norm(vectors[0]) == pytest.approx(1)


def test_a_failure_that_was_not_analyzed_joins_the_cluster_that_it_is_most_like() -> None:
    members = [
        FailureTraits(question="card", gold="fee", predicted="rate"),
        FailureTraits(question="transfer", gold="lost", predicted="arrival"),
    ]
    others = [
        FailureTraits(question="transfer", gold="rate", predicted="fee"),
        FailureTraits(question="card", gold="arrival", predicted="lost"),
    ]
    found = nearest_cluster(others, members, [0, 1], embedder=WORDS, settings=AnalysisConfig())
    assert found == [0, 1], "the mix-up counts for more than the question"


def test_the_nearest_to_the_centre_come_first() -> None:
    assert order_by_nearness([[9.0], [0.0], [1.0], [2.0]]) == [3, 2, 1, 0]
