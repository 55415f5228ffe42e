"""Vectors of texts as matrices: computed in chunks, kept, and searched for the nearest."""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np

from pada_agent.core.ports import Embedder
from pada_agent.core.tally import Report, Tally, report_nowhere

Matrix = np.ndarray
"""Shape `(n_texts, d)`, float32, rows of length 1."""

CHUNK = 128
"""Number of texts embedded at once. Lists of floats take ten times the memory, and a person waits for a chunk without news: about ten
seconds on two CPU cores, for short messages and all-mpnet-base-v2.
"""

ROWS_COMPARED = 256
"""Number of vectors compared with all others at once."""

ROUNDING = 1e-4
"""Error of a cosine in single precision. Values this close to the largest are computed again in double precision."""


def embed_texts(embedder: Embedder, texts: Sequence[str], *, report: Report = report_nowhere) -> Matrix:
    """One row per text, in order. Shape `(n_texts, d)`. Progress is reported if there are more than `CHUNK` texts."""
    if len(texts) <= CHUNK:
        report = report_nowhere
    tally = Tally("embed", len(texts), unit="texts")
    tally.begin(report)
    parts = []
    for start in range(0, len(texts), CHUNK):
        part = texts[start : start + CHUNK]
        parts.append(np.asarray(embedder.embed(part), dtype=np.float32))
        tally.add(len(part), report)
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
        for start in range(0, len(ours), ROWS_COMPARED)
        for part in [ours[start : start + ROWS_COMPARED]]
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
        report: is told how far a long computation is.
    """

    def __init__(
        self,
        embedder: Embedder,
        load: Callable[[Sequence[str]], Matrix | None] = lambda _: None,
        save: Callable[[Sequence[str], Matrix], None] = lambda *_: None,
        report: Report = report_nowhere,
    ) -> None:
        self._embedder = embedder
        self._load, self._save, self._report = load, save, report
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
            self._keep(missing, embed_texts(self._embedder, missing, report=self._report))
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
