"""Grouping of error analyses: k-means, with K by the elbow rule (paper: K from 2 to 10)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

from pada_agent.core.records import Record

Floats = NDArray[np.float64]

N_RESAMPLES = 20
"""Bootstrap samples by which the stability of a grouping is told."""


class Clustering(Record):
    """Cluster of each vector, and how good the grouping is."""

    labels: tuple[int, ...]
    """0-based cluster by vector; clusters are numbered by size, largest first."""
    n_clusters: int
    inertia_by_k: dict[int, float] = Field(default_factory=dict)
    silhouette: float | None = None
    """In [-1, 1]; None for fewer than two clusters or one vector a cluster."""
    stability: float | None = None
    """Mean adjusted Rand index, at most 1, between this grouping and those of bootstrap samples; None for one cluster."""
    centroids: tuple[tuple[float, ...], ...] = ()
    """Mean vector by cluster, scaled to length 1."""


def cluster_vectors(vectors: Sequence[Sequence[float]], *, k_min: int, k_max: int, seed: int) -> Clustering:
    """Cluster `(n, d)` vectors.

    Never more clusters than distinct vectors; too few vectors for `k_min` make a single cluster.
    """
    points = np.asarray(vectors, dtype=np.float64)
    n_distinct = len(np.unique(points.round(6), axis=0)) if len(points) else 0
    k_max = min(k_max, n_distinct - 1 if n_distinct == len(points) else n_distinct)
    if k_max < max(k_min, 2):
        labels = (0,) * len(points)
        return Clustering(labels=labels, n_clusters=min(1, len(points)), centroids=_centroids(points, labels))
    k_min = max(k_min, 2)
    # One K below the range, so that the smallest allowed K can be the elbow too.
    ks = range(k_min - 1, k_max + 1)
    fits = {k: KMeans(n_clusters=k, n_init=10, random_state=seed).fit(points) for k in ks}
    inertia_by_k = {k: float(fit.inertia_) for k, fit in fits.items()}
    k = choose_elbow(inertia_by_k, k_min=k_min)
    labels = _number_by_size([int(label) for label in fits[k].labels_])
    return Clustering(
        labels=labels,
        n_clusters=k,
        inertia_by_k=inertia_by_k,
        silhouette=_silhouette(points, labels, n_clusters=k),
        stability=measure_stability(points, labels, seed=seed),
        centroids=_centroids(points, labels),
    )


def measure_stability(
    points: Floats, labels: Sequence[int], *, seed: int, n_resamples: int = N_RESAMPLES
) -> float | None:
    """Mean adjusted Rand index between `labels` and what k-means on bootstrap samples makes of all points.

    1 when every sample gives the same groups, about 0 when they are as alike as chance (Hubert and Arabie 1985).
    """
    k = len(set(labels))
    if k < 2:
        return None
    rng = np.random.default_rng(seed)
    draws = [points[rng.integers(len(points), size=len(points))] for _ in range(n_resamples)]
    usable = [draw for draw in draws if len(np.unique(draw.round(6), axis=0)) >= k]
    found = [KMeans(n_clusters=k, n_init=3, random_state=seed).fit(draw).predict(points) for draw in usable]
    return float(np.mean([adjusted_rand_score(labels, other) for other in found])) if found else None


def choose_elbow(inertia_by_k: dict[int, float], *, k_min: int) -> int:
    """The K, at least `k_min`, whose point lies farthest below the chord of the inertia curve; ties to the smaller K.

    Both axes are scaled to [0, 1]. The curve's own ends lie on the chord: give one K below `k_min` too.
    """
    ks = sorted(inertia_by_k)
    allowed = [k for k in ks if k >= k_min]
    if len(ks) < 3:
        return allowed[0]
    first, last = inertia_by_k[ks[0]], inertia_by_k[ks[-1]]
    height = max(inertia_by_k.values()) - min(inertia_by_k.values()) or 1.0
    chord = {k: last + (first - last) * (ks[-1] - k) / (ks[-1] - ks[0]) for k in allowed}
    gaps = [(chord[k] - inertia_by_k[k]) / height for k in allowed]
    return allowed[int(np.argmax(np.round(gaps, 9)))]


def _number_by_size(labels: list[int]) -> tuple[int, ...]:
    order = sorted(set(labels), key=lambda label: (-labels.count(label), labels.index(label)))
    return tuple(order.index(label) for label in labels)


def _centroids(points: Floats, labels: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    which = np.asarray(labels)
    means = [points[which == k].mean(axis=0) for k in sorted(set(labels))]
    return tuple(tuple(float(x) for x in mean / (np.linalg.norm(mean) or 1.0)) for mean in means)


def _silhouette(points: Floats, labels: tuple[int, ...], *, n_clusters: int) -> float | None:
    if not 2 <= n_clusters < len(points):
        return None
    return float(silhouette_score(points, labels))
