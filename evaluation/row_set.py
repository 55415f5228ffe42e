"""Rows that are compared with many others: what there is to know about them is found out once, and kept as rows are added."""

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
from pada_agent.evaluation.text_units import units_of
from pada_agent.evaluation.vectors import KeptVectors, Matrix, Nearest, embed_texts, find_nearest

ValueT = TypeVar("ValueT")


class RowSet(Sequence[Example]):
    """A sequence of rows, with indexes that are made when they are first asked for.

    Any number of threads may ask. Rows are added by one that has the set to itself, or as another set that goes `beyond` this one.
    """

    def __init__(
        self, rows: Iterable[Example] = (), *, beyond: "RowSet | None" = None, kept: KeptVectors | None = None
    ) -> None:
        """`kept`: where vectors of these rows' texts stay; None embeds what is asked for."""
        self._kept = kept
        self._rows = list(rows)
        self._beyond = beyond
        self._n_beyond = len(beyond) if beyond else 0
        self._made = Memory(max_kept=16)

    @classmethod
    def of(cls, rows: Sequence[Example]) -> "RowSet":
        """The rows themselves, if they are such a set."""
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
            repeats.extend(units_of(texts.of(row)) for row in new)
            self._made.get(("repeats", texts.manner), lambda: repeats)

    @property
    def texts(self) -> RowTexts:
        """What rows are compared by, as these show it."""
        beyond = self._beyond.texts if self._beyond else None
        return self._made.get("texts", lambda: RowTexts(self._rows, beyond=beyond))

    def remember(self, name: Hashable, make: Callable[[], ValueT]) -> ValueT:
        """What `make` finds out about these rows, which it is asked for once."""
        return self._made.get(("found out", name), make)

    @property
    def by_id(self) -> Mapping[str, Example]:
        return self.remember("by id", lambda: {row.id: row for row in self})

    def embed(self, texts: Sequence[str], embedder: Embedder) -> Matrix:
        """Vectors of texts that are these rows' own."""
        return self._kept.of(texts) if self._kept else embed_texts(embedder, texts)

    def find_near(self, rows: Sequence[Example], embedder: Embedder) -> list[Nearest]:
        """For each of `rows` the row here whose question is nearest to its own; there is one at least."""
        texts = self.texts
        theirs = self.remember("vectors", lambda: self.embed([texts.of(row) for row in self], embedder))
        return find_nearest(np.asarray(embedder.embed([texts.of(row) for row in rows])), theirs)

    def find_overlap(self, row: Example) -> Overlap | None:
        """The strictest kind in which `row` says what one of these says."""
        return self._made.get("overlaps", lambda: OverlapIndex(self, self.texts)).find(row)

    def find_repeated(self, row: Example, threshold: float | None) -> Overlap | None:
        """The first of these that `row` repeats: as near as `threshold`, or whole with words added; None: word for word."""
        manner = self.texts.manner
        units = units_of(manner.of(row))
        for rows in self._chain():
            if found := rows._index_repeats(rows.texts.narrow(manner)).find_first(units, threshold):
                place, how = found
                return Overlap(example_id=row.id, protected_id=rows._rows[place].id, kind="near", evidence=how)
        return None

    def _index_repeats(self, manner: Manner) -> RepeatIndex:
        """Of the rows that are not beyond."""
        make = partial(RepeatIndex, (units_of(manner.of(row)) for row in self._rows))
        return self._made.get(("repeats", manner), make)

    def _chain(self) -> list["RowSet"]:
        """What this set goes beyond, the first rows first, and itself."""
        return [*(self._beyond._chain() if self._beyond else ()), self]
