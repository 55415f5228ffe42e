"""What rows are compared by: their question (`reference["question"]`, else the prompt), so that two questions on one given
passage do not count as the same."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from pada_agent.core.records import Example
from pada_agent.evaluation.text_units import count_words, units_of

MIN_SHARED_WORDS = 8
"""A shorter beginning or end that all rows have in common is a way of speaking, not an instruction."""

MIN_SHARING = 3
"""Different questions from which on what they all begin with is called shared."""


def question_of(example: Example) -> str:
    """What a row is compared by."""
    return str(example.reference.get("question") or example.prompt)


def normalize(text: str) -> str:
    """NFKC, case folded; punctuation and white space collapsed to single spaces."""
    return " ".join(units_of(text))


class Extremes(NamedTuple):
    """The first and the last of texts in alphabetical order: what these two begin with, all do."""

    some: frozenset[str] = frozenset()
    """Different ones, as many as it takes to call something shared."""
    first: str = ""
    last: str = ""

    def extended(self, texts: Sequence[str]) -> "Extremes":
        """With more texts."""
        if not texts:
            return self
        some = self.some
        if len(some) < MIN_SHARING:
            some = frozenset(sorted(some.union(texts))[:MIN_SHARING])
        known = (self.first, self.last) if self.some else ()
        return Extremes(some, min(*known, *texts, *texts), max(*known, *texts, *texts))

    def find_shared(self) -> str:
        """What all texts begin with, in whole words; nothing where it is short, or where there are few texts."""
        if len(self.some) < MIN_SHARING:
            return ""
        pairs = zip(self.first, self.last, strict=False)
        shortest = min(len(self.first), len(self.last))
        opening = self.first[: next((i for i, (one, other) in enumerate(pairs) if one != other), shortest)]
        if opening == self.first:  # and nothing would be left of it
            return ""
        ends = [match.end() for match in re.finditer(r"\s+|[.:!?。：！？]", opening)]
        opening = opening[: ends[-1]] if ends else ""
        return opening if count_words(units_of(opening)) >= MIN_SHARED_WORDS else ""


class Manner(NamedTuple):
    """How texts are found: rows whose manner is the same are compared by the same texts."""

    fixed: frozenset[str]
    """Questions that say nothing by themselves."""
    opening: str
    closing: str

    def of(self, example: Example) -> str:
        """The text to compare."""
        text = self.whole(example)
        if not (self.opening or self.closing):
            return text
        own = text.removeprefix(self.opening).removesuffix(self.closing)
        return own if own.strip() else text

    def whole(self, example: Example) -> str:
        """With what all rows share."""
        question = question_of(example)
        return content_of(example) if question in self.fixed else question


def content_of(example: Example) -> str:
    """What is asked about: the prompt with its passage, and options of the row's own, without the question."""
    return "\n".join([example.prompt.replace(question_of(example), " "), *example.options]).strip()


class RowTexts:
    """What rows are compared by, as the rows that are known already show it.

    A question that several known rows ask of different passages or options says nothing by itself: there what it is asked about counts.
    What all known questions begin or end with, such as a long instruction, is left out.
    """

    def __init__(self, known: Iterable[Example] = (), *, beyond: "RowTexts | None" = None) -> None:
        """`beyond`: rows that are known too and were looked at before; no more are added to those."""
        self._beyond = beyond
        self._rows: list[Example] = []
        self._contents: dict[str, int] = {}
        """Question to the content of the first row that asks it, hashed."""
        self._openings: Extremes = beyond._openings if beyond else Extremes()
        self._closings: Extremes = beyond._closings if beyond else Extremes()
        self.manner: Manner = beyond.manner if beyond else Manner(frozenset(), "", "")
        self.extend(known)

    def of(self, example: Example) -> str:
        """The text to compare."""
        return self.manner.of(example)

    def extend(self, rows: Iterable[Example]) -> bool:
        """Know more rows; whether earlier ones are compared by other texts from now on."""
        before, new = self.manner, list(rows)
        self._rows += new
        if found := self._find_fixed(new):
            self._openings, self._closings = Extremes(), Extremes()
            new = list(self._every_row())
        manner = before._replace(fixed=before.fixed | found) if found else before
        texts = [manner.whole(row) for row in new]
        self._openings = self._openings.extended(texts)
        self._closings = self._closings.extended([text[::-1] for text in texts])
        self.manner = Manner(manner.fixed, self._openings.find_shared(), self._closings.find_shared()[::-1])
        return self.manner != before

    def narrow(self, manner: Manner) -> Manner:
        """As far as the manner concerns these rows alone, without those beyond: what makes no difference here is left out."""
        later = manner.fixed - self.manner.fixed if manner.fixed is not self.manner.fixed else frozenset[str]()
        own = {question for question in later if question in self._contents}
        return manner._replace(fixed=self.manner.fixed | own if own else self.manner.fixed)

    def _find_fixed(self, rows: Sequence[Example]) -> set[str]:
        """Questions that are asked of different things, which was not known."""
        found = set()
        for row in rows:
            question = question_of(row)
            if question in self.manner.fixed or question in found:
                continue
            content = hash(content_of(row))
            firsts = [texts._contents.get(question) for texts in self._chain()]
            self._contents.setdefault(question, content)
            if any(first not in (None, content) for first in firsts):
                found.add(question)
        return found

    def _every_row(self) -> Iterator[Example]:
        return chain.from_iterable(texts._rows for texts in self._chain())

    def _chain(self) -> Iterator["RowTexts"]:
        texts: RowTexts | None = self
        while texts:
            yield texts
            texts = texts._beyond
