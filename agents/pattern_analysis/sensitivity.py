"""How much the grouping of errors changes with the number of clusters and with the embedder. For the report only; needs no LLM calls."""

from collections.abc import Mapping, Sequence

import numpy as np

from pada_agent.agents.pattern_analysis.clustering import (
    Clustering,
    Floats,
    allowed_numbers,
    cluster_vectors,
    group,
    measure_agreement,
    measure_silhouette,
    measure_stability,
    on_one_thread,
)
from pada_agent.core.config import AnalysisConfig
from pada_agent.core.groupings import GroupingByEmbedder, GroupingByNumber, Sensitivity

WORDS = "only the analyses' words (TF-IDF + SVD)"
"""The embedder that is always available and knows nothing of meaning. Questions and outcomes, which the grouping in use
also looks at (`analysis.question_weight`, `analysis.outcome_weight`), are left out."""

N_DIMENSIONS = 50
"""Dimensions kept of the word vectors. Latent semantic analysis uses 50 to 100 for small collections."""


@on_one_thread()
def measure_sensitivity(
    texts: Sequence[str],
    vectors: Sequence[Sequence[float]],
    used: Clustering,
    *,
    settings: AnalysisConfig,
    seed: int,
    embedder: str = "",
    others: Mapping[str, Sequence[Sequence[float]]] | None = None,
) -> Sensitivity:
    """Compare the grouping in use with those of other numbers of clusters, of words alone (TF-IDF), and of other embedders.

    Args:
        vectors: vectors from `embedder`, which the grouping in use was made from.
        others: vectors of the same texts, by embedder.
    """
    points = rotate(np.asarray(vectors, dtype=np.float64))
    spaces = {WORDS: embed_words(texts, seed=seed), **(others or {})}
    return Sensitivity(
        n_errors=len(texts),
        embedder=embedder,
        n_clusters=used.n_clusters,
        silhouette=used.silhouette,
        stability=used.stability,
        by_number=tuple(
            _try_number(points, k, used, seed=seed)
            for k in allowed_numbers(points, k_min=settings.min_clusters, k_max=settings.max_clusters)
        ),
        by_embedder=tuple(_try_embedder(n, v, used, settings=settings, seed=seed) for n, v in spaces.items()),
    )


def embed_words(texts: Sequence[str], *, seed: int) -> list[list[float]]:
    """Unit vectors from latent semantic analysis of these texts alone. All zeros for a text without words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize
    from sklearn.utils.extmath import randomized_svd

    try:
        counts = TfidfVectorizer(token_pattern=r"\w+").fit_transform(texts)
    except ValueError:  # not a word in all of them
        return [[0.0] for _ in texts]
    n_kept = min(N_DIMENSIONS, *counts.shape)
    left, scale, _ = randomized_svd(counts, n_components=n_kept, random_state=seed)
    return [[float(x) for x in row] for row in normalize(left * scale)]


def rotate(points: Floats) -> Floats:
    """The same points with the same distances in as few dimensions as they span, so that clustering is faster."""
    if not len(points):
        return points
    left, scale, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    rotated: Floats = left * scale
    return rotated


def _try_number(points: Floats, k: int, used: Clustering, *, seed: int) -> GroupingByNumber:
    grouped = group(points, k, seed=seed)
    return GroupingByNumber(
        n_clusters=k,
        inertia=grouped.inertia,
        silhouette=measure_silhouette(points, grouped.labels),
        stability=measure_stability(points, grouped.labels, seed=seed),
        agreement=measure_agreement(used.labels, grouped.labels),
    )


def _try_embedder(
    name: str, vectors: Sequence[Sequence[float]], used: Clustering, *, settings: AnalysisConfig, seed: int
) -> GroupingByEmbedder:
    points = rotate(np.asarray(vectors, dtype=np.float64))
    own = cluster_vectors(points.tolist(), k_min=settings.min_clusters, k_max=settings.max_clusters, seed=seed)
    n_distinct = len(np.unique(points.round(6), axis=0))
    same = group(points, min(used.n_clusters, n_distinct), seed=seed).labels if len(points) else ()
    return GroupingByEmbedder(
        embedder=name,
        n_clusters=own.n_clusters,
        silhouette=own.silhouette,
        stability=own.stability,
        agreement=measure_agreement(used.labels, own.labels),
        agreement_at_number=measure_agreement(used.labels, same),
    )
