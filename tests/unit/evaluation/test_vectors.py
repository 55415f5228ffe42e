"""Vectors that are kept, and the nearest of them."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pada_agent.core.progress import Progress
from pada_agent.evaluation.vectors import KeptVectors, embed_texts, find_nearest


class CountingEmbedder:
    def __init__(self) -> None:
        self.counts = Counter[str]()

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.counts.update(texts)
        return [[float(len(text)), 1.0] for text in texts]


def test_a_text_that_is_kept_is_embedded_once() -> None:
    embedder = CountingEmbedder()
    kept = KeptVectors(embedder)
    assert kept.of(["a", "bb", "a"]).tolist() == [[1, 1], [2, 1], [1, 1]]
    assert kept.of(["ccc", "bb"]).tolist() == [[3, 1], [2, 1]]
    assert kept.of(["bb", "a"]).tolist() == [[2, 1], [1, 1]]
    assert kept.of([]).shape[0] == 0
    assert embedder.counts == {"a": 1, "bb": 1, "ccc": 1}


def test_what_was_saved_is_not_embedded_again_whatever_is_asked_for_first() -> None:
    saved: dict[tuple[str, ...], np.ndarray] = {}

    def open_vectors(embedder: CountingEmbedder) -> KeptVectors:
        return KeptVectors(
            embedder,
            load=lambda texts: saved.get(tuple(texts)),
            save=lambda texts, matrix: saved.update({tuple(texts): matrix.copy()}),
        )

    lists = (["a", "bb"], ["bb", "ccc"])
    first = open_vectors(CountingEmbedder())
    wanted = [first.of(texts).tolist() for texts in lists]
    for order in ((0, 1), (1, 0)):
        embedder = CountingEmbedder()
        resumed = open_vectors(embedder)
        assert {n: resumed.of(lists[n]).tolist() for n in order} == dict(enumerate(wanted))
        assert not embedder.counts


def test_saved_vectors_that_are_too_few_are_made_again() -> None:
    embedder = CountingEmbedder()
    kept = KeptVectors(embedder, load=lambda _: np.zeros((1, 2), dtype=np.float32))
    assert kept.of(["a", "bb"]).tolist() == [[1, 1], [2, 1]]


def test_the_nearest_is_that_of_double_precision_and_the_first_of_equals() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.standard_normal((300, 8)).astype(np.float32)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    theirs = np.concatenate([theirs, theirs, theirs + np.float32(1e-7) * rng.standard_normal((300, 8), dtype="f4")])
    ours = theirs[::7].astype(np.float64) + 0.3 * rng.standard_normal((129, 8))
    found = find_nearest(ours, theirs)
    exact = [[float(np.sum(row * other)) for other in theirs.astype(np.float64)] for row in ours]
    assert [near.place for near in found] == [cosines.index(max(cosines)) for cosines in exact]
    assert [near.cosine for near in found] == [max(cosines) for cosines in exact]


def test_texts_are_embedded_in_order_whatever_their_number() -> None:
    texts = ["x" * (n % 50) for n in range(2500)]
    assert embed_texts(CountingEmbedder(), texts)[:, 0].tolist() == [n % 50 for n in range(2500)]


def test_a_long_computation_tells_how_far_it_is_and_a_short_one_says_nothing() -> None:
    heard: list[Progress] = []
    kept = KeptVectors(CountingEmbedder(), report=heard.append)
    kept.of([f"text {n}" for n in range(100)])
    assert heard == []
    kept.of([f"text {n}" for n in range(400)])  # 100 of them are known
    assert [(p.stage, p.done, p.total, p.unit) for p in heard] == [
        ("embed", done, 300, "texts") for done in (0, 128, 256, 300)
    ]
