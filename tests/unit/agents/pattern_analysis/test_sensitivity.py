"""How the groups of errors move with other choices: identical errors, few errors, one cluster, and what must agree."""

import numpy as np
import pytest

from pada_agent.agents.pattern_analysis.clustering import cluster_vectors
from pada_agent.agents.pattern_analysis.sensitivity import WORDS, embed_words, measure_sensitivity, rotate
from pada_agent.core.config import AnalysisConfig
from pada_agent.core.groupings import Sensitivity

SETTINGS = AnalysisConfig(min_clusters=2, max_clusters=5)
CENTERS = ((0.0, 0.0, 0.0), (9.0, 0.0, 0.0), (0.0, 9.0, 0.0))
NAMES = ("overlooked the amount", "took one queue for another", "answered out of format")
VECTORS = [[x + i / 50, y - i / 50, z] for x, y, z in CENTERS for i in range(8)]
TEXTS = [f"{name}, case {'abcdefgh'[i]}" for name in NAMES for i in range(8)]


def measure(texts: list[str], vectors: list[list[float]], **options: object) -> Sensitivity:
    used = cluster_vectors(vectors, k_min=SETTINGS.min_clusters, k_max=SETTINGS.max_clusters, seed=0)
    return measure_sensitivity(texts, vectors, used, settings=SETTINGS, seed=0, **options)  # type: ignore[arg-type]


def test_the_number_that_was_used_agrees_with_itself_and_others_less() -> None:
    found = measure(TEXTS, VECTORS)
    assert (found.n_errors, found.n_clusters) == (24, 3)
    assert [row.n_clusters for row in found.by_number] == [2, 3, 4, 5]
    agreement = {row.n_clusters: row.agreement for row in found.by_number}
    assert agreement[3] == 1.0 and all(0 < agreement[k] < 0.99 for k in (2, 4, 5))
    inertias = [row.inertia for row in found.by_number]
    assert inertias == sorted(inertias, reverse=True)
    used = found.by_number[1]
    assert used.silhouette == pytest.approx(found.silhouette) and used.silhouette > 0.9
    assert used.stability == pytest.approx(found.stability) and used.stability > 0.9


def test_words_find_groups_that_differ_in_their_words() -> None:
    (words,) = measure(TEXTS, VECTORS).by_embedder
    assert words.embedder == WORDS
    assert words.agreement == words.agreement_at_number == 1.0 and words.n_clusters == 3


def test_an_embedder_that_sees_other_groups_agrees_no_more_than_chance() -> None:
    crossed = [VECTORS[(8 * i) % 23] for i in range(24)]
    found = measure(TEXTS, VECTORS, others={"crossed": crossed, "same": VECTORS})
    by_name = {row.embedder: row for row in found.by_embedder}
    assert by_name["same"].agreement == 1.0
    assert abs(by_name["crossed"].agreement) < 0.2 and abs(by_name["crossed"].agreement_at_number) < 0.2


def test_with_other_numbers_of_groups_the_embedders_are_also_compared_at_the_same_number() -> None:
    two = [[0.0 if n < 8 else 9.0, i / 50] for n, i in enumerate([*range(8)] * 3)]
    found = measure(TEXTS, VECTORS, others={"coarse": two}).by_embedder[-1]
    assert found.n_clusters == 2 and 0.3 < found.agreement < 0.9


def test_identical_errors_make_one_group_and_nothing_to_compare() -> None:
    found = measure(["the same: again"] * 12, [[1.0, 2.0]] * 12)
    assert (found.n_clusters, found.by_number, found.silhouette) == (1, (), None)
    (words,) = found.by_embedder
    assert (words.n_clusters, words.agreement, words.agreement_at_number) == (1, 1.0, 1.0)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_errors_are_no_problem(n: int) -> None:
    found = measure(TEXTS[:n], VECTORS[:n])
    assert found.n_errors == n
    assert [row.n_clusters for row in found.by_number] == [2] * (n == 3)


def test_an_embedder_that_tells_nothing_apart_has_one_group() -> None:
    flat = measure(TEXTS, VECTORS, others={"flat": [[1.0, 0.0]] * 24}).by_embedder[-1]
    assert (flat.n_clusters, flat.silhouette, flat.agreement, flat.agreement_at_number) == (1, None, 0.0, 0.0)


@pytest.mark.parametrize("texts", [["?!", "…"], ["a b", "b a"], ["one"], ["", "x"]])
def test_texts_with_few_words_or_none_are_embedded_all_the_same(texts: list[str]) -> None:
    vectors = embed_words(texts, seed=0)
    assert len(vectors) == len(texts) and np.isfinite(vectors).all()


def test_a_rotation_keeps_all_distances_and_drops_empty_dimensions() -> None:
    points = np.random.default_rng(0).normal(size=(6, 40))
    turned = rotate(points)
    assert turned.shape == (6, 6)
    gaps = [np.linalg.norm(x[:, None] - x[None, :], axis=-1) for x in (points, turned)]
    np.testing.assert_allclose(gaps[0], gaps[1], atol=1e-9)


def test_a_table_of_ten_numbers_and_three_embedders_takes_a_few_kilobytes() -> None:
    settings = AnalysisConfig(min_clusters=2, max_clusters=10)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 16)).tolist()
    texts = [f"word{rng.integers(40)} word{rng.integers(40)}" for _ in range(50)]
    used = cluster_vectors(vectors, k_min=2, k_max=10, seed=0)
    others = {"one": vectors, "two": vectors}
    found = measure_sensitivity(texts, vectors, used, settings=settings, seed=0, others=others)
    assert len(found.by_number) == 9 and len(found.model_dump_json()) < 4_000
