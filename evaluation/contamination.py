"""Whether rows repeat others: exactly, after normalization, by long word runs, nearly, or in their meaning.

Rows are compared by their question (`reference["question"]`, else the prompt), so that two questions on one given
passage do not count as the same.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from pada_agent.core.ports import Embedder
from pada_agent.core.records import Example, Overlap

N_GRAM_WORDS = 13
"""Words in a row that count as a copy (as in GPT-3's contamination study, arXiv 2005.14165, appendix C)."""

MIN_CONTAINED_WORDS = 8
"""A whole question of at least this many words that stands inside another counts as a copy too."""

CONTAINED_SHARE = 0.95
"""Share of an older question's words, in order, that makes a new row a copy with something added (recall of ROUGE-L)."""

Words = tuple[str, ...]


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
    """New rows whose question repeats one of `existing`, or of an earlier new row.

    A row repeats another when ROUGE-L F reaches `threshold`, or when it holds the other whole with words added:
    a small teacher asked for something new likes to copy and append a sentence.
    """
    known = [(e.id, _words(question_of(e))) for e in existing]
    found: list[Overlap] = []
    for row in new:
        words = _words(question_of(row))
        match = next(((i, how) for i, other in known if (how := _repeats(words, other, threshold))), None)
        if match is None:
            known.append((row.id, words))
        else:
            found.append(Overlap(example_id=row.id, protected_id=match[0], kind="near", evidence=match[1]))
    return found


def find_near(
    rows: Sequence[Example], protected: Sequence[Example], *, embedder: Embedder, threshold: float
) -> list[Overlap]:
    """Rows whose question says what a protected one says: the nearest, where the cosine reaches `threshold`."""
    if not rows or not protected:
        return []
    questions = [question_of(p) for p in protected]
    similarities = np.asarray(embedder.embed([question_of(r) for r in rows])) @ np.asarray(embedder.embed(questions)).T
    found = []
    for row, near in zip(rows, similarities, strict=True):
        nearest = int(near.argmax())
        if near[nearest] >= threshold:
            found.append(
                Overlap(
                    example_id=row.id,
                    protected_id=protected[nearest].id,
                    kind="embedding",
                    evidence=f"similarity {near[nearest]:.2f}: {questions[nearest]}",
                    similarity=float(near[nearest]),
                )
            )
    return found


def rouge_l(one: str, other: str) -> float:
    """F-measure of the longest common subsequence of words, in [0, 1] (Lin 2004); 1 for two empty texts."""
    ours, theirs = _words(one), _words(other)
    total = len(ours) + len(theirs)
    return 2 * _common_subsequence(ours, theirs) / total if total else 1.0


def _repeats(new: Words, old: Words, threshold: float) -> str | None:
    """How `new` repeats `old`, if it does. A cheap bound first: words in common regardless of order."""
    total = len(new) + len(old)
    in_common = (Counter(new) & Counter(old)).total()
    may_be_near = 2 * in_common >= threshold * total
    may_contain = len(old) >= MIN_CONTAINED_WORDS and in_common >= CONTAINED_SHARE * len(old)
    if not (may_be_near or may_contain):
        return None
    shared = _common_subsequence(new, old)
    score = 2 * shared / total if total else 1.0
    if score >= threshold:
        return f"ROUGE-L {score:.2f}"
    if may_contain and shared >= CONTAINED_SHARE * len(old):
        return f"holds {shared} of its {len(old)} words in order"
    return None


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
