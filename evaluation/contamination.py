"""Whether rows repeat others: exactly, after normalization, by long word runs, or nearly.

Rows are compared by their question (`reference["question"]`, else the prompt), so that two questions on one given
passage do not count as the same.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pada_agent.core.records import Example, Record

N_GRAM_WORDS = 13
"""Words in a row that count as a copy (as in GPT-3's contamination study, arXiv 2005.14165, appendix C)."""

MIN_CONTAINED_WORDS = 8
"""A whole question of at least this many words that stands inside another counts as a copy too."""

Words = tuple[str, ...]


class Overlap(Record):
    """A row that repeats another."""

    example_id: str
    protected_id: str
    kind: Literal["exact", "normalized", "ngram", "near"]
    evidence: str
    """The shared words, or the similarity."""


def question_of(example: Example) -> str:
    """What a row is compared by."""
    return str(example.reference.get("question") or example.prompt)


def normalize(text: str) -> str:
    """NFKC, case folded; punctuation and white space collapsed to single spaces."""
    return " ".join(_words(text))


def find_overlap(rows: Sequence[Example], protected: Sequence[Example]) -> list[Overlap]:
    """At most one overlap per row: the strictest kind there is."""
    exact = {question_of(p): p.id for p in reversed(protected)}
    normalized = {_words(question_of(p)): p.id for p in reversed(protected)}
    grams = {gram: p.id for p in reversed(protected) for gram in _signature(_words(question_of(p)))}
    overlaps = []
    for row in rows:
        question = question_of(row)
        words = _words(question)
        if question in exact:
            overlaps.append(Overlap(example_id=row.id, protected_id=exact[question], kind="exact", evidence=question))
        elif words and words in normalized:
            found = Overlap(example_id=row.id, protected_id=normalized[words], kind="normalized", evidence=question)
            overlaps.append(found)
        elif shared := _first_shared(words, grams):
            found = Overlap(example_id=row.id, protected_id=grams[shared], kind="ngram", evidence=" ".join(shared))
            overlaps.append(found)
    return overlaps


def find_duplicates(new: Sequence[Example], existing: Sequence[Example], *, threshold: float) -> list[Overlap]:
    """New rows whose question is nearly one of `existing`, or of an earlier new row: ROUGE-L F of at least `threshold`."""
    known = [(e.id, _words(question_of(e))) for e in existing]
    found: list[Overlap] = []
    for row in new:
        words = _words(question_of(row))
        match = next(
            ((i, s) for i, other in known if (s := _rouge_at_least(words, other, threshold)) is not None), None
        )
        if match is None:
            known.append((row.id, words))
        else:
            evidence = f"ROUGE-L {match[1]:.2f}"
            found.append(Overlap(example_id=row.id, protected_id=match[0], kind="near", evidence=evidence))
    return found


def rouge_l(one: str, other: str) -> float:
    """F-measure of the longest common subsequence of words, in [0, 1] (Lin 2004); 1 for two empty texts."""
    return _rouge(_words(one), _words(other))


def _rouge(one: Words, other: Words) -> float:
    total = len(one) + len(other)
    return 2 * _common_subsequence(one, other) / total if total else 1.0


def _rouge_at_least(one: Words, other: Words, threshold: float) -> float | None:
    """The score if it reaches the threshold. Cheap bounds first: lengths, then words in common regardless of order."""
    total = len(one) + len(other)
    if total and 2 * min(len(one), len(other)) / total < threshold:
        return None
    if total and 2 * (Counter(one) & Counter(other)).total() / total < threshold:
        return None
    score = _rouge(one, other)
    return score if score >= threshold else None


def _common_subsequence(one: Words, other: Words) -> int:
    row = [0] * (len(other) + 1)
    for word in one:
        diagonal = 0
        for j, other_word in enumerate(other, start=1):
            above = row[j]
            row[j] = diagonal + 1 if word == other_word else max(above, row[j - 1])
            diagonal = above
    return row[-1]


def _words(text: str) -> Words:
    return tuple(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def _signature(words: Words) -> set[Words]:
    """Runs by which a protected question is recognised inside another."""
    if MIN_CONTAINED_WORDS <= len(words) < N_GRAM_WORDS:
        return {words}
    return {words[i : i + N_GRAM_WORDS] for i in range(len(words) - N_GRAM_WORDS + 1)}


def _first_shared(words: Words, grams: dict[Words, str]) -> Words | None:
    for n in range(N_GRAM_WORDS, MIN_CONTAINED_WORDS - 1, -1):
        for i in range(len(words) - n + 1):
            if words[i : i + n] in grams:
                return words[i : i + n]
    return None
