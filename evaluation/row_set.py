"""Rows that are compared with many others. What is computed about them is kept, and updated as rows are added."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar, overload

import numpy as np

from pada_agent.core.memory import Memory
from pada_agent.core.ports import Embedder
from pada_agent.core.records import Example, Overlap
from pada_agent.evaluation.overlaps import OverlapIndex
from pada_agent.evaluation.repeats import RepeatIndex
from pada_agent.evaluation.row_texts import Manner, RowTexts
from pada_agent.evaluation.vectors import KeptVectors, Matrix, Nearest, embed_texts, find_nearest

ValueT = TypeVar("ValueT")


class RowSet(Sequence[Example]):
    """A sequence of rows with indexes that are built when they are first needed.

    Any number of threads may read it. Only a thread that has the set to itself may add rows; otherwise, make a new set
    that goes `beyond` this one.
    """

    def __init__(
        self, rows: Iterable[Example] = (), *, beyond: "RowSet | None" = None, kept: KeptVectors | None = None
    ) -> None:
        """Make a set of `rows`, preceded by the rows of `beyond`.

        Args:
            kept: where vectors of these rows' texts are kept. None computes them on request.
        """
        self._kept = kept
        self._rows = list(rows)
        self._beyond = beyond
        self._n_beyond = len(beyond) if beyond else 0
        self._made = Memory(max_kept=16)

    @classmethod
    def of(cls, rows: Sequence[Example]) -> "RowSet":
        """`rows` itself if it is a RowSet, otherwise a new set of them."""
        return rows if isinstance(rows, cls) else cls(rows)

    def __len__(self) -> int:
        return self._n_beyond + len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> list[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | list[Example]:
        if isinstance(place, slice):
            return list(self)[place]
        if self._beyond is None:
            return self._rows[place]
        place = range(len(self))[place]
        return self._beyond[place] if place < self._n_beyond else self._rows[place - self._n_beyond]

    def __iter__(self) -> Iterator[Example]:
        if self._beyond is not None:
            yield from self._beyond
        yield from self._rows

    def extend(self, rows: Iterable[Example]) -> None:
        """Add rows, in place."""
        new = list(rows)
        texts, repeats = self.texts, self._index_repeats(self.texts.manner)
        self._rows += new
        self._made.forget()
        self._made.get("texts", lambda: texts)
        if not texts.extend(new):
            repeats.extend(map(texts.manner.asked, new))
            self._made.get(("repeats", texts.manner), lambda: repeats)

    @property
    def texts(self) -> RowTexts:
        """What rows are compared by, as learned from these rows."""
        beyond = self._beyond.texts if self._beyond else None
        return self._made.get("texts", lambda: RowTexts(self._rows, beyond=beyond))

    def remember(self, name: Hashable, make: Callable[[], ValueT]) -> ValueT:
        """The result of `make`, which is called once for each `name`."""
        return self._made.get(("found out", name), make)

    @property
    def by_id(self) -> Mapping[str, Example]:
        """The rows by id."""
        return self.remember("by id", lambda: {row.id: row for row in self})

    def embed(self, texts: Sequence[str], embedder: Embedder) -> Matrix:
        """Vectors of texts that belong to these rows, shape `(n_texts, d)`."""
        return self._kept.of(texts) if self._kept else embed_texts(embedder, texts)

    def find_near(self, rows: Sequence[Example], embedder: Embedder) -> list[Nearest]:
        """For each of `rows`, the row in this set whose question is nearest. The set must not be empty.

        Short questions are compared only with some (`Asked.beside`). Where there are none, the cosine is -1.
        """
        texts = self.texts
        theirs = self.remember("vectors", lambda: self.embed([texts.of(row) for row in self], embedder))
        ours = np.asarray(embedder.embed([texts.of(row) for row in rows]))
        found: dict[int, Nearest] = {}
        for beside, places in self._group(rows).items():
            among = np.arange(len(self)) if beside is None else self._list_comparable(beside)
            found |= zip(places, _find_nearest_among(ours[places], theirs, among), strict=True)
        return [found[i] for i in range(len(rows))]

    def find_nearest_to(
        self, texts: Sequence[str], k: int, embedder: Embedder, *, among: Sequence[int] | None = None
    ) -> list[list[Example]]:
        """For each text, the `k` rows of this set whose questions are nearest by cosine, nearest first. Fewer if there are fewer rows.

        Args:
            among: positions of the rows that count. None: all of them.
        """
        places = np.arange(len(self)) if among is None else np.asarray(among, dtype=np.int64)
        if not (texts and k and len(places)):
            return [[] for _ in texts]
        theirs = self.remember("vectors", lambda: self.embed([self.texts.of(row) for row in self], embedder))
        theirs = theirs if among is None else theirs[places]
        cosines = np.asarray(embedder.embed(texts), dtype=np.float32) @ theirs.T
        return [[self[int(places[near])] for near in _find_largest(row, k)] for row in cosines]

    def _group(self, rows: Sequence[Example]) -> dict[int | None, list[int]]:
        """The positions of rows by what is beside their words. None for long questions, where it does not matter."""
        groups: dict[int | None, list[int]] = {}
        for place, asked in enumerate(map(self.texts.manner.asked, rows)):
            groups.setdefault(None if asked.is_long else asked.beside, []).append(place)
        return groups

    def _list_comparable(self, beside: int) -> np.ndarray:
        """The positions of the rows in this set that a short question with this beside its words is compared with."""
        groups = self.remember("by what is beside", lambda: self._group(self))
        return np.array(sorted([*groups.get(None, ()), *groups.get(beside, ())]), dtype=np.int64)

    def find_overlap(self, row: Example) -> Overlap | None:
        """The strictest kind of overlap between `row` and a row of this set, or None."""
        return self._made.get("overlaps", lambda: OverlapIndex(self, self.texts)).find(row)

    def find_repeated(self, row: Example, threshold: float | None) -> Overlap | None:
        """The first row of this set that `row` repeats, or None.

        Args:
            threshold: ROUGE-L F score that counts as a repeat, as does containing the whole row. None: only identical
                wording.
        """
        manner = self.texts.manner
        asked = manner.asked(row)
        for rows in self._chain():
            if found := rows._index_repeats(rows.texts.narrow(manner)).find_first(asked, threshold):
                place, how = found
                return Overlap(example_id=row.id, protected_id=rows._rows[place].id, kind="near", evidence=how)
        return None

    def _index_repeats(self, manner: Manner) -> RepeatIndex:
        """Index of this set's own rows, without those of `beyond`."""
        make = partial(RepeatIndex, map(manner.asked, self._rows))
        return self._made.get(("repeats", manner), make)

    def _chain(self) -> list["RowSet"]:
        """The sets that this one goes beyond, earliest first, followed by itself."""
        return [*(self._beyond._chain() if self._beyond else ()), self]


def _find_largest(values: np.ndarray, k: int) -> np.ndarray:
    """Positions of the `k` largest values, largest first, and first ones first among equals. Without sorting all of them."""
    k = min(k, len(values))
    places = np.flatnonzero(values >= np.partition(values, len(values) - k)[len(values) - k])
    return places[np.argsort(-values[places], kind="stable")][:k]


def _find_nearest_among(ours: Matrix, theirs: Matrix, places: np.ndarray) -> list[Nearest]:
    """Like `find_nearest`, but only some rows of `theirs` count. A cosine of -1 if there are none."""
    if not len(places):
        return [Nearest(0, -1.0)] * len(ours)
    found = find_nearest(ours, theirs if len(places) == len(theirs) else theirs[places])
    return [near._replace(place=int(places[near.place])) for near in found]
