"""Finds rows that use the same words as a held-out row: exactly, after normalization, or in a long run of words."""

from array import array
from collections.abc import Sequence
from typing import Literal

import numpy as np

from pada_agent.core.records import Example, Overlap
from pada_agent.evaluation.repeats import MIN_CONTAINED_WORDS
from pada_agent.evaluation.row_texts import RowTexts, read_asked
from pada_agent.evaluation.text_units import Units, count_words, runs_of

N_GRAM_WORDS = 13
"""Number of words in a row that count as a copy, as in GPT-3's contamination study (arXiv 2005.14165, appendix C)."""


class OverlapIndex:
    """Index of held-out rows by text, by words, and by runs of words."""

    def __init__(self, protected: Sequence[Example], texts: RowTexts) -> None:
        self._protected = protected
        self._texts = texts
        self._exact: dict[tuple[str, int], int] = {}
        self._normalized: dict[tuple[Units, int], int] = {}
        self._units: list[Units] = []
        words: dict[str, str] = {}  # one object in memory for a word of many rows
        for place, row in enumerate(protected):
            text = texts.of(row)
            asked = read_asked(row, text)
            asked = asked._replace(units=tuple(words.setdefault(word, word) for word in asked.units))
            self._units.append(asked.units)
            self._exact.setdefault((text, asked.key[1]), place)
            self._normalized.setdefault(asked.key, place)
        self._index_runs()

    def _index_runs(self) -> None:
        """Sorted hashes of all runs, and the positions of their rows. Takes 12 bytes per run; a dictionary would take 250."""
        hashes, counts, lengths = array("q"), [], set[int]()
        for units in self._units:
            runs = _signature(units)
            hashes.extend(hash(run) for run in runs)
            counts.append(len(runs))
            lengths.update(len(run) for run in runs)
        self._lengths = sorted(lengths, reverse=True)
        order = np.argsort(
            found := np.array(hashes, dtype=np.int64), kind="stable"
        )  # of equal ones the first row's is first
        self._hashes = found[order]
        self._places = np.repeat(np.arange(len(counts), dtype=np.int32), counts)[order]

    def find(self, row: Example) -> Overlap | None:
        """The strictest kind of overlap that applies, or None."""
        text = self._texts.of(row)
        asked = read_asked(row, text)
        units = asked.units
        if (place := self._exact.get((text, asked.key[1]))) is not None:
            return self._overlap(row, place, kind="exact", evidence=text)
        if units and (place := self._normalized.get(asked.key)) is not None:
            return self._overlap(row, place, kind="normalized", evidence=text)
        if found := self._find_run(units):
            return self._overlap(row, found[0], kind="ngram", evidence=" ".join(found[1]))
        return None

    def _find_run(self, units: Units) -> tuple[int, Units] | None:
        """The longest run that a held-out row has too (the first of equal ones), with the position of the first such row."""
        for n in self._lengths if len(self._hashes) else ():
            runs = [units[i : i + n] for i in range(len(units) - n + 1)]
            hashes = np.array([hash(run) for run in runs], dtype=np.int64)
            starts = np.searchsorted(self._hashes, hashes)
            for i in np.flatnonzero(self._hashes[np.minimum(starts, len(self._hashes) - 1)] == hashes):
                if (place := self._find_place(runs[i], int(starts[i]))) is not None:
                    return place, runs[i]
        return None

    def _find_place(self, run: Units, start: int) -> int | None:
        """Position of the first row that really has the run, among the rows with the run's hash from `start` on."""
        for n in range(start, len(self._hashes)):
            if self._hashes[n] != hash(run):
                return None
            if run in _signature(self._units[place := int(self._places[n])]):
                return place
        return None

    def _overlap(
        self, row: Example, place: int, *, kind: Literal["exact", "normalized", "ngram"], evidence: str
    ) -> Overlap:
        return Overlap(example_id=row.id, protected_id=self._protected[place].id, kind=kind, evidence=evidence)


def _signature(units: Units) -> set[Units]:
    """Runs of words by which a held-out row is recognized inside another text."""
    if MIN_CONTAINED_WORDS <= count_words(units) < N_GRAM_WORDS:
        return {units}
    return {units[start:end] for start, end in runs_of(units, N_GRAM_WORDS)}
