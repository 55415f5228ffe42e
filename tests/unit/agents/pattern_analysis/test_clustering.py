"""Grouping of analyses: the elbow, and sanity with few or equal vectors."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pada_agent.agents.pattern_analysis.clustering import choose_elbow, cluster_vectors, mean_vectors, measure_stability


def test_two_tight_groups_become_two_clusters_numbered_by_size() -> None:
    vectors = [[0.0, i / 1000] for i in range(3)] + [[5.0, i / 1000] for i in range(5)]
    found = cluster_vectors(vectors, k_min=2, k_max=5, seed=0)
    assert found.n_clusters == 2
    assert found.labels == (1, 1, 1, 0, 0, 0, 0, 0)
    assert found.silhouette is not None and found.silhouette > 0.9


def test_three_groups_give_the_elbow_at_three() -> None:
    centers = [(0.0, 0.0), (10.0, 0.0), (0.0, 10.0)]
    vectors = [[x + i / 50, y - i / 50] for x, y in centers for i in range(8)]
    assert cluster_vectors(vectors, k_min=2, k_max=8, seed=0).n_clusters == 3


def spread(n: int, n_dimensions: int, *, seed: int) -> list[list[float]]:
    """Directions without any groups."""
    points = np.random.default_rng(seed).normal(size=(n, n_dimensions))
    unit: list[list[float]] = (points / np.linalg.norm(points, axis=1, keepdims=True)).tolist()
    return unit


@pytest.mark.parametrize(("n", "n_dimensions"), [(4, 3), (12, 8), (50, 64)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_cluster_is_given_where_settings_allow_it_and_there_are_no_groups(
    n: int, n_dimensions: int, seed: int
) -> None:
    vectors = spread(n, n_dimensions, seed=seed)
    assert cluster_vectors(vectors, k_min=1, k_max=min(10, n - 1), seed=0).n_clusters == 1
    assert cluster_vectors(vectors, k_min=2, k_max=min(10, n - 1), seed=0).n_clusters >= 2


def test_groups_are_found_where_one_cluster_is_allowed_too() -> None:
    centers = [(0.0, 0.0), (10.0, 0.0), (0.0, 10.0)]
    vectors = [[x + i / 50, y - i / 50] for x, y in centers for i in range(8)]
    assert cluster_vectors(vectors, k_min=1, k_max=8, seed=0).n_clusters == 3
    assert cluster_vectors(vectors, k_min=1, k_max=1, seed=0).n_clusters == 1


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_vectors_make_one_cluster_at_most(n: int) -> None:
    found = cluster_vectors([[float(i), 0.0] for i in range(n)], k_min=2, k_max=10, seed=0)
    assert found.n_clusters == min(1, n)
    assert found.labels == (0,) * n


def test_equal_vectors_make_one_cluster() -> None:
    assert cluster_vectors([[1.0, 2.0]] * 12, k_min=2, k_max=10, seed=0).n_clusters == 1


def test_two_distinct_vectors_repeated_make_two_clusters_not_ten() -> None:
    found = cluster_vectors([[0.0], [1.0]] * 6, k_min=2, k_max=10, seed=0)
    assert found.n_clusters == 2


def test_the_elbow_is_the_point_farthest_from_the_chord() -> None:
    assert choose_elbow({1: 300.0, 2: 200.0, 3: 20.0, 4: 15.0, 5: 10.0}, k_min=2) == 3


def test_a_straight_curve_has_no_elbow_and_gives_the_smallest_k() -> None:
    assert choose_elbow({1: 40.0, 2: 30.0, 3: 20.0, 4: 10.0}, k_min=2) == 2


def test_in_a_curve_that_rises_the_elbow_lies_below_the_chord() -> None:
    assert choose_elbow({1: 0.0, 2: 20.0, 3: 1.0, 4: 10.0}, k_min=2) == 3


@given(st.dictionaries(st.integers(2, 12), st.floats(0, 1e6), min_size=1))
@example({2: 0.0, 3: 1.0, 4: 1e-308})
def test_the_elbow_is_always_one_of_the_candidates(curve: dict[int, float]) -> None:
    assert choose_elbow(curve, k_min=min(curve)) in curve


def test_clear_groups_are_stable_under_resampling_and_a_cloud_is_not() -> None:
    rng = np.random.default_rng(0)
    groups = np.concatenate([rng.normal(center, 0.1, (12, 2)) for center in ((0, 0), (9, 0), (0, 9))])
    cloud = rng.normal(0, 1, (36, 2))
    labels = [i // 12 for i in range(36)]
    clear, vague = measure_stability(groups, labels, seed=0), measure_stability(cloud, labels, seed=0)
    assert clear is not None and clear > 0.99
    assert vague is not None and vague < 0.3
    assert measure_stability(groups, labels, seed=0) == clear
    assert measure_stability(groups, [0] * 36, seed=0) is None


def test_mean_vectors_are_unit_vectors_in_the_order_of_the_labels() -> None:
    vectors = [[3.0, 0.01 * i] for i in range(3)] + [[0.01 * i, 4.0] for i in range(5)]
    found = mean_vectors(vectors, (1, 1, 1, 0, 0, 0, 0, 0))
    assert found[0][1] > 0.99 and found[1][0] > 0.99
    assert [np.linalg.norm(c) for c in found] == pytest.approx([1.0, 1.0])
