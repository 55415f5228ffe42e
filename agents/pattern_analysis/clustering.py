"""Groups error analyses with k-means. K is chosen by the elbow rule (paper: K from 2 to 10).

scikit-learn is imported only where it is used, because the import takes a second at the start of a run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import RLock

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits

from pada_agent.core.groupings import Sensitivity
from pada_agent.core.records import Record

Floats = NDArray[np.float64]

N_RESAMPLES = 20
"""Number of bootstrap samples for measuring the stability of a grouping."""


TINY = 1e-12
"""Smaller inertias are treated as this one, so that their logarithm is defined."""

_one_at_a_time = RLock()


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Run k-means on one thread. With so few points its threads mostly wait for each other, which takes ten times as long.

    Only one caller at a time: the limit belongs to the process, and each caller restores the previous one.
    """
    import sklearn.cluster  # noqa: F401  (only the threads of what is loaded are limited)

    with _one_at_a_time, threadpool_limits(limits=1):
        yield


class Clustering(Record):
    """The cluster of each vector, and how good the grouping is."""

    labels: tuple[int, ...]
    """0-based cluster of each vector, shape `(n,)`. Clusters are numbered by size, largest first."""
    n_clusters: int
    inertia_by_k: dict[int, float] = Field(default_factory=dict)
    """Sum of squared distances to the centroids, for each K that was tried."""
    silhouette: float | None = None
    """In [-1, 1]. None if there are fewer than two clusters, or only one vector per cluster."""
    stability: float | None = None
    """Mean adjusted Rand index, at most 1, between this grouping and those of bootstrap samples. None for a single cluster."""
    centroids: tuple[tuple[float, ...], ...] = ()
    """Unit vector of each cluster: the mean vector of its analyses' text. Later iterations recognize patterns by it."""
    sensitivity: Sensitivity | None = None


@on_one_thread()
def cluster_vectors(vectors: Sequence[Sequence[float]], *, k_min: int, k_max: int, seed: int) -> Clustering:
    """Cluster vectors of shape `(n, d)`, without centroids.

    There are never more clusters than distinct vectors. The result is a single cluster if there are too few vectors for
    `k_min`, or if the vectors form no groups and `k_min` is 1.
    """
    points = np.asarray(vectors, dtype=np.float64)
    allowed = allowed_numbers(points, k_min=k_min, k_max=k_max)
    if not allowed:
        return Clustering(labels=(0,) * len(points), n_clusters=min(1, len(points)))
    # One K below the range, so that the smallest allowed K can be the elbow too.
    found = {k: group(points, k, seed=seed) for k in (allowed[0] - 1, *allowed)}
    inertia_by_k = {k: grouped.inertia for k, grouped in found.items()}
    k = choose_elbow(inertia_by_k, k_min=allowed[0])
    if k_min == 1 and not has_groups(points, k, seed=seed):
        k = 1
    labels = found[k].labels
    return Clustering(
        labels=labels,
        n_clusters=k,
        inertia_by_k=inertia_by_k,
        silhouette=measure_silhouette(points, labels),
        stability=measure_stability(points, labels, seed=seed),
    )


def allowed_numbers(points: Floats, *, k_min: int, k_max: int) -> range:
    """The numbers of clusters, from two up, that the settings allow and the vectors can fill. May be empty."""
    n_distinct = len(np.unique(points.round(6), axis=0)) if len(points) else 0
    largest = min(k_max, n_distinct - 1 if n_distinct == len(points) else n_distinct)
    return range(max(k_min, 2), largest + 1)


def has_groups(points: Floats, n_clusters: int, *, seed: int) -> bool:
    """Whether k-means reduces the inertia of these points more than that of uniform points (gap statistic, Tibshirani 2001).

    The elbow rule cannot tell, because the smallest number of clusters is an end point of its chord.
    """
    rng = np.random.default_rng(seed)
    centered = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(centered, full_matrices=False)
    inside = centered @ axes.T
    low, high = inside.min(axis=0), inside.max(axis=0)
    expected = [_log_gain(rng.uniform(low, high, size=inside.shape), n_clusters, seed=seed) for _ in range(N_RESAMPLES)]
    tolerance = float(np.std(expected)) * (1 + 1 / N_RESAMPLES) ** 0.5
    return bool(_log_gain(inside, n_clusters, seed=seed) > float(np.mean(expected)) + tolerance)


def _log_gain(points: Floats, n_clusters: int, *, seed: int) -> float:
    """Logarithm of the ratio between the inertia of one cluster and that of `n_clusters`."""
    whole = float(((points - points.mean(axis=0)) ** 2).sum())
    return float(np.log(max(whole, TINY) / max(group(points, n_clusters, seed=seed).inertia, TINY)))


class Group(Record):
    """A grouping into a given number of clusters."""

    labels: tuple[int, ...]
    """0-based cluster of each point, shape `(n,)`. Clusters are numbered by size, largest first."""
    inertia: float
    """Sum of squared distances to the centroids."""


def group(points: Floats, n_clusters: int, *, seed: int) -> Group:
    """K-means with ten random starts, of which the best is kept."""
    from sklearn.cluster import KMeans

    fit = KMeans(n_clusters=n_clusters, n_init=10, random_state=seed).fit(points)
    return Group(labels=_number_by_size([int(label) for label in fit.labels_]), inertia=float(fit.inertia_))


def measure_silhouette(points: Floats, labels: Sequence[int]) -> float | None:
    """Mean silhouette, in [-1, 1]. None if there are fewer than two clusters, or only one vector per cluster."""
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(points, labels)) if 2 <= len(set(labels)) < len(points) else None


def measure_stability(
    points: Floats, labels: Sequence[int], *, seed: int, n_resamples: int = N_RESAMPLES
) -> float | None:
    """Mean adjusted Rand index between `labels` and the groupings that k-means on bootstrap samples gives for all points.

    1 if every sample gives the same groups, about 0 if they agree no more than by chance (Hubert and Arabie 1985).
    """
    from sklearn.cluster import KMeans

    k = len(set(labels))
    if k < 2:
        return None
    rng = np.random.default_rng(seed)
    draws = [points[rng.integers(len(points), size=len(points))] for _ in range(n_resamples)]
    usable = [draw for draw in draws if len(np.unique(draw.round(6), axis=0)) >= k]
    found = [KMeans(n_clusters=k, n_init=3, random_state=seed).fit(draw).predict(points) for draw in usable]
    return float(np.mean([measure_agreement(labels, other) for other in found])) if found else None


def measure_agreement(one: Sequence[int], other: Sequence[int]) -> float:
    """Adjusted Rand index of two groupings: 1 if they are the same, about 0 if they agree no more than by chance."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(one, other))


def choose_elbow(inertia_by_k: dict[int, float], *, k_min: int) -> int:
    """The K, at least `k_min`, whose point lies farthest below the chord of the inertia curve. Ties go to the smaller K.

    Both axes are scaled to [0, 1]. The end points of the curve lie on the chord, so pass one K below `k_min` as well.
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


def mean_vectors(vectors: Sequence[Sequence[float]], labels: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    """For each cluster, the mean of its vectors scaled to length 1. Shape `(n_clusters, d)`."""
    points, which = np.asarray(vectors, dtype=np.float64), np.asarray(labels)
    means = [points[which == k].mean(axis=0) for k in sorted(set(labels))]
    return tuple(tuple(float(x) for x in mean / (np.linalg.norm(mean) or 1.0)) for mean in means)
