"""Vectors of texts as matrices: computed in chunks, kept, and searched for the nearest."""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np

from pada_agent.core.ports import Embedder

Matrix = np.ndarray
"""Shape `(n_texts, d)`, float32, rows of length 1."""

CHUNK = 1024
"""Number of texts embedded at once, because lists of floats take ten times the memory."""

ROUNDING = 1e-4
"""Error of a cosine in single precision. Values this close to the largest are computed again in double precision."""


def embed_texts(embedder: Embedder, texts: Sequence[str]) -> Matrix:
    """One row per text, in order. Shape `(n_texts, d)`."""
    parts = [
        np.asarray(embedder.embed(texts[start : start + CHUNK]), dtype=np.float32)
        for start in range(0, len(texts), CHUNK)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, 1), dtype=np.float32)


class Nearest(NamedTuple):
    """The nearest of several vectors."""

    place: int
    """0-based position. The first, if several are equally near."""
    cosine: float


def find_nearest(ours: Matrix, theirs: Matrix) -> list[Nearest]:
    """For each row of `ours`, the nearest row of `theirs`, which must not be empty."""
    return [
        _refine(row, theirs, coarse)
        for start in range(0, len(ours), CHUNK // 4)
        for part in [ours[start : start + CHUNK // 4]]
        for row, coarse in zip(part, part.astype(np.float32) @ theirs.T, strict=True)
    ]


def _refine(row: np.ndarray, theirs: Matrix, coarse: np.ndarray) -> Nearest:
    places = np.flatnonzero(coarse >= coarse.max() - ROUNDING)
    cosines = (theirs[places].astype(np.float64) * row.astype(np.float64)).sum(axis=1)
    best = int(cosines.argmax())
    return Nearest(place=int(places[best]), cosine=float(cosines[best]))


class KeptVectors:
    """Vectors of texts that a run compares with again and again. Each is computed once, even if the run is resumed.

    Args:
        load: returns the saved vectors of a list of texts, or None.
        save: keeps vectors beyond this process.
    """

    def __init__(
        self,
        embedder: Embedder,
        load: Callable[[Sequence[str]], Matrix | None] = lambda _: None,
        save: Callable[[Sequence[str], Matrix], None] = lambda *_: None,
    ) -> None:
        self._embedder = embedder
        self._load, self._save = load, save
        self._places: dict[str, tuple[int, int]] = {}
        self._blocks: list[Matrix] = []
        self._lock = Lock()

    def of(self, texts: Sequence[str]) -> Matrix:
        """One row per text, in order. Shape `(n_texts, d)`."""
        with self._lock:
            missing = [text for text in dict.fromkeys(texts) if text not in self._places]
            if not missing:
                return self._gather(texts)
            saved = self._load(texts)
            if saved is not None and len(saved) == len(texts):
                self._keep(texts, saved)
                return saved
            self._keep(missing, embed_texts(self._embedder, missing))
            found = self._gather(texts)
            self._save(texts, found)
            return found

    def _keep(self, texts: Sequence[str], vectors: Matrix) -> None:
        self._blocks.append(vectors)
        for row, text in enumerate(texts):
            self._places.setdefault(text, (len(self._blocks) - 1, row))

    def _gather(self, texts: Sequence[str]) -> Matrix:
        if not texts:
            return np.zeros((0, 1), dtype=np.float32)
        places = np.array([self._places[text] for text in texts])
        block: Matrix = self._blocks[places[0, 0]]
        if len(block) == len(texts) and (places == [(places[0, 0], row) for row in range(len(texts))]).all():
            return block  # as they were kept: no copy
        found = np.empty((len(texts), block.shape[1]), dtype=np.float32)
        for n in np.unique(places[:, 0]):
            own = places[:, 0] == n
            found[own] = self._blocks[n][places[own, 1]]
        return found
