"""What rows are compared by: their question (`reference["question"]`, else the prompt), so that two questions on the
same passage do not count as the same.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from pada_agent.core.records import Example
from pada_agent.evaluation.repeats import Asked
from pada_agent.evaluation.text_units import count_words, operators_of, units_of

MIN_SHARED_WORDS = 8
"""A shorter beginning or end that all rows share is a turn of phrase, not an instruction."""

MIN_SHARING = 3
"""Minimum number of different questions before their common beginning is treated as shared."""


def question_of(example: Example) -> str:
    """The text that a row is compared by."""
    return str(example.reference.get("question") or example.prompt)


def read_asked(example: Example, text: str) -> Asked:
    """What `text`, a row's question, is compared by. Earlier turns and its passage count without case and punctuation."""
    turns, passage = [turn.content for turn in example.history], example.reference.get("passage", "")
    beside = (*map(units_of, [*turns, str(passage)]), operators_of(text))
    return Asked(units_of(text), hash(beside) if any(beside) else 0)


class Extremes(NamedTuple):
    """The alphabetically first and last of some texts. Whatever these two begin with, all the others begin with too."""

    some: frozenset[str] = frozenset()
    """Different texts, up to `MIN_SHARING` of them."""
    first: str = ""
    last: str = ""

    def extended(self, texts: Sequence[str]) -> "Extremes":
        """These extremes with more texts taken into account."""
        if not texts:
            return self
        some = self.some
        if len(some) < MIN_SHARING:
            some = frozenset(sorted(some.union(texts))[:MIN_SHARING])
        known = (self.first, self.last) if self.some else ()
        return Extremes(some, min(*known, *texts, *texts), max(*known, *texts, *texts))

    def find_shared(self) -> str:
        """What all texts begin with, in whole words. Empty if it is short, or if there are few texts."""
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
    """How the text to compare is taken from a row. Rows with the same manner are compared by the same texts."""

    fixed: frozenset[str]
    """Questions that are asked of several passages or options, and therefore say nothing by themselves."""
    opening: str
    """Text that all rows begin with. It is left out."""
    closing: str
    """Text that all rows end with. It is left out."""

    def of(self, example: Example) -> str:
        """The text to compare."""
        text = self.whole(example)
        if not (self.opening or self.closing):
            return text
        own = text.removeprefix(self.opening).removesuffix(self.closing)
        return own if own.strip() else text

    def asked(self, example: Example) -> Asked:
        """The words to compare, and what they leave out."""
        return read_asked(example, self.of(example))

    def whole(self, example: Example) -> str:
        """The text, including what all rows share."""
        question = question_of(example)
        return content_of(example) if question in self.fixed else question


def content_of(example: Example) -> str:
    """What the question is about: the prompt with its passage and the row's own options, without the question."""
    return "\n".join([example.prompt.replace(question_of(example), " "), *example.options]).strip()


class RowTexts:
    """Works out what rows are compared by, based on the rows known so far.

    A question that several rows ask about different passages or options says nothing by itself, so its passage or
    options are compared instead. Whatever all questions begin or end with, such as a long instruction, is left out.
    """

    def __init__(self, known: Iterable[Example] = (), *, beyond: "RowTexts | None" = None) -> None:
        """Learn from the rows in `known`.

        Args:
            beyond: rows that were learned from before. No more rows may be added to it.
        """
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
        """Learn from more rows. Returns whether earlier rows are compared by other texts from now on."""
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
        """The manner reduced to what matters for these rows alone, without those of `beyond`."""
        later = manner.fixed - self.manner.fixed if manner.fixed is not self.manner.fixed else frozenset[str]()
        own = {question for question in later if question in self._contents}
        return manner._replace(fixed=self.manner.fixed | own if own else self.manner.fixed)

    def _find_fixed(self, rows: Sequence[Example]) -> set[str]:
        """Questions that turn out to be asked about different things."""
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
