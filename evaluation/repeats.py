"""Finds rows that nearly repeat others, by the longest common subsequence of their words."""

from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pada_agent.evaluation.text_units import Units, count_words, units_of

MIN_CONTAINED_WORDS = 8
"""A whole question of at least this many words that is contained in another also counts as a copy."""

CONTAINED_SHARE = 0.95
"""Share of an older question's words that a new row must contain, in order, to count as a copy with something added (recall of ROUGE-L)."""


class Asked(NamedTuple):
    """What a row is compared by."""

    units: Units
    beside: int = 0
    """Stands for what its words leave out: the turns before it, its passage, and operators and emoji. Short questions are compared only with
    those that have the same, because "yes, please" says nothing without the turns, and `2 + 3` is not `2 - 3`."""

    @property
    def is_long(self) -> bool:
        """Whether the question is recognized by its words alone."""
        return count_words(self.units) >= MIN_CONTAINED_WORDS

    @property
    def key(self) -> tuple[Units, int]:
        """The same for rows that ask the same."""
        return self.units, 0 if self.is_long else self.beside


class RepeatIndex:
    """Index of texts by their words, so that only texts that share enough words with a new one are compared with it."""

    def __init__(self, texts: Iterable[Asked] = ()) -> None:
        self._texts: list[Units] = []
        self._first_places: dict[tuple[Units, int], int] = {}
        self._words: dict[str, str] = {}
        """One object in memory for a word of many texts."""
        self._lengths = array("I")
        self._long = array("B")
        """1 for texts that count as copied where they stand inside another, and whatever is beside their words."""
        self._beside = array("q")
        self._places: dict[str, array[int]] = {}
        """Texts by each of their words; the second `the` of a text is another word than the first."""
        self.extend(texts)

    def extend(self, texts: Iterable[Asked]) -> None:
        """Add texts."""
        for given in texts:
            place = len(self._texts)
            asked = Asked(tuple(self._words.setdefault(word, word) for word in given.units), given.beside)
            text = asked.units
            self._texts.append(text)
            self._first_places.setdefault(asked.key, place)
            self._lengths.append(len(text))
            self._long.append(asked.is_long)
            self._beside.append(asked.beside)
            for word in _number(text):
                self._places.setdefault(word, array("I")).append(place)

    def find_first(self, asked: Asked, threshold: float | None) -> tuple[int, str] | None:
        """Position of the first text that `asked` repeats, and how it repeats it. None if there is none.

        Args:
            threshold: ROUGE-L F score that counts as a repeat. None: only identical wording.
        """
        if threshold is None:
            first = self._first_places.get(asked.key)
            return None if first is None else (first, "the same words")
        new = asked.units
        in_common = self._count_in_common(new)
        lengths = np.frombuffer(self._lengths, dtype=np.uint32).astype(np.int64)
        near = 2 * in_common >= threshold * (len(new) + lengths)
        is_long = np.frombuffer(self._long, dtype=np.uint8) > 0
        contained = (in_common >= CONTAINED_SHARE * lengths) & is_long
        comparable = asked.is_long | is_long | (np.frombuffer(self._beside, dtype=np.int64) == asked.beside)
        for place in np.flatnonzero((near | contained) & comparable):
            if how := describe_repeat(new, self._texts[place], threshold):
                return int(place), how
        return None

    def _count_in_common(self, new: Units) -> np.ndarray:
        """Number of words in common with each text, regardless of order. Shape `(n_texts,)`."""
        found = [np.frombuffer(self._places[word], dtype=np.uint32) for word in _number(new) if word in self._places]
        places = np.concatenate(found) if found else np.zeros(0, dtype=np.uint32)
        return np.bincount(places, minlength=len(self._texts))


def describe_repeat(new: Units, old: Units, threshold: float) -> str | None:
    """How `new` repeats `old`, in words, or None."""
    total = len(new) + len(old)
    shared = count_common_subsequence(new, old)
    score = 2 * shared / total if total else 1.0
    if score >= threshold:
        return f"ROUGE-L {score:.2f}"
    if count_words(old) >= MIN_CONTAINED_WORDS and shared >= CONTAINED_SHARE * len(old):
        return f"holds {shared} of its {len(old)} words in order"
    return None


def rouge_l(one: str, other: str) -> float:
    """F-measure of the longest common subsequence of words, in [0, 1] (Lin 2004). 1 for two empty texts."""
    ours, theirs = units_of(one), units_of(other)
    total = len(ours) + len(theirs)
    return 2 * count_common_subsequence(ours, theirs) / total if total else 1.0


def count_common_subsequence(one: Units, other: Units) -> int:
    """Length of the longest common subsequence.

    Each row of the table is one integer with a bit per word of `one`, which is cleared where the length grows (Hyyrö
    2004).
    """
    places: dict[str, int] = {}
    for n, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << n
    every = (1 << len(one)) - 1
    row = every
    for word in other:
        met = row & places.get(word, 0)
        row = ((row + met) | (row - met)) & every
    return len(one) - row.bit_count()


def _number(units: Sequence[str]) -> list[str]:
    """Number repeated words, so that the words two texts have in common, with their counts, form a set."""
    seen: dict[str, int] = {}
    numbered = []
    for unit in units:
        n = seen[unit] = seen.get(unit, 0) + 1
        numbered.append(unit if n == 1 else f"{unit}\0{n}")
    return numbered
