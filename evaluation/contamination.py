"""Whether rows repeat others: exactly, after normalization, by long word runs, nearly, or in their meaning.

Rows are compared by their question (`reference["question"]`, else the prompt), so that two questions on one given
passage do not count as the same.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from pada_agent.core.ports import Embedder
from pada_agent.core.records import Example, Overlap
from pada_agent.evaluation.text_units import Units, count_words, runs_of, units_of

N_GRAM_WORDS = 13
"""Words in a row that count as a copy (as in GPT-3's contamination study, arXiv 2005.14165, appendix C)."""

MIN_CONTAINED_WORDS = 8
"""A whole question of at least this many words that stands inside another counts as a copy too."""

CONTAINED_SHARE = 0.95
"""Share of an older question's words, in order, that makes a new row a copy with something added (recall of ROUGE-L)."""

MIN_SHARING = 3
"""Different questions from which on what they all begin with is called shared."""


def question_of(example: Example) -> str:
    """What a row is compared by."""
    return str(example.reference.get("question") or example.prompt)


def normalize(text: str) -> str:
    """NFKC, case folded; punctuation and white space collapsed to single spaces."""
    return " ".join(units_of(text))


class RowTexts:
    """What rows are compared by, as the rows that are known already show it.

    A question that several known rows ask of different passages or options says nothing by itself: there what it is asked about counts.
    What all known questions begin or end with, such as a long instruction, is left out.
    """

    def __init__(self, known: Sequence[Example]) -> None:
        contents: dict[str, set[str]] = {}
        for example in known:
            contents.setdefault(question_of(example), set()).add(_content_of(example))
        self._fixed = {question for question, found in contents.items() if len(found) > 1}
        texts = sorted({self._whole(example) for example in known})
        self._opening = _shared_opening(texts)
        self._closing = _shared_opening([text[::-1] for text in texts])[::-1]

    def of(self, example: Example) -> str:
        """The text to compare."""
        text = self._whole(example)
        if not (self._opening or self._closing):
            return text
        own = text.removeprefix(self._opening).removesuffix(self._closing)
        return own if own.strip() else text

    def _whole(self, example: Example) -> str:
        question = question_of(example)
        return _content_of(example) if question in self._fixed else question


def _content_of(example: Example) -> str:
    """What is asked about: the prompt with its passage, and options of the row's own, without the question."""
    return "\n".join([example.prompt.replace(question_of(example), " "), *example.options]).strip()


def _shared_opening(texts: Sequence[str]) -> str:
    """What all texts begin with, in whole words; nothing where it is short, or where there are few texts."""
    if len(texts) < MIN_SHARING:
        return ""
    first, last = min(texts), max(texts)  # what these two share, all between them do
    opening = first[
        : next((i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    ]
    if any(len(text) == len(opening) for text in texts):
        return ""
    ends = [match.end() for match in re.finditer(r"\s+|[.:!?。：！？]", opening)]
    opening = opening[: ends[-1]] if ends else ""
    return opening if count_words(units_of(opening)) >= MIN_CONTAINED_WORDS else ""


def find_overlap(rows: Sequence[Example], protected: Sequence[Example]) -> list[Overlap]:
    """At most one overlap per row: the strictest kind there is."""
    texts = RowTexts(protected)
    compared = [(p.id, text, units_of(text)) for p in reversed(protected) for text in [texts.of(p)]]
    exact = {text: row_id for row_id, text, _ in compared}
    normalized = {units: row_id for row_id, _, units in compared}
    grams = {gram: row_id for row_id, _, units in compared for gram in _signature(units)}
    lengths = sorted({len(gram) for gram in grams}, reverse=True)
    overlaps = []
    for row in rows:
        text = texts.of(row)
        units = units_of(text)
        if text in exact:
            overlaps.append(Overlap(example_id=row.id, protected_id=exact[text], kind="exact", evidence=text))
        elif units and units in normalized:
            overlaps.append(
                Overlap(example_id=row.id, protected_id=normalized[units], kind="normalized", evidence=text)
            )
        elif shared := _first_shared(units, grams, lengths):
            found = Overlap(example_id=row.id, protected_id=grams[shared], kind="ngram", evidence=" ".join(shared))
            overlaps.append(found)
    return overlaps


def find_duplicates(new: Sequence[Example], existing: Sequence[Example], *, threshold: float) -> list[Overlap]:
    """New rows whose question repeats one of `existing`, or of an earlier new row.

    A row repeats another when ROUGE-L F reaches `threshold`, or when it holds the other whole with words added:
    a small teacher asked for something new likes to copy and append a sentence.
    """
    texts = RowTexts(existing)
    known = [(e.id, units_of(texts.of(e))) for e in existing]
    found: list[Overlap] = []
    for row in new:
        units = units_of(texts.of(row))
        match = next(((i, how) for i, other in known if (how := _repeats(units, other, threshold))), None)
        if match is None:
            known.append((row.id, units))
        else:
            found.append(Overlap(example_id=row.id, protected_id=match[0], kind="near", evidence=match[1]))
    return found


def find_near(
    rows: Sequence[Example], protected: Sequence[Example], *, embedder: Embedder, threshold: float
) -> list[Overlap]:
    """Rows whose question says what a protected one says: the nearest, where the cosine reaches `threshold`."""
    if not rows or not protected:
        return []
    texts = RowTexts(protected)
    questions = [texts.of(p) for p in protected]
    similarities = np.asarray(embedder.embed([texts.of(r) for r in rows])) @ np.asarray(embedder.embed(questions)).T
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


def find_nearness(rows: Sequence[Example], protected: Sequence[Example], *, embedder: Embedder) -> np.ndarray:
    """Cosine of each row's question with the nearest protected one, in [-1, 1]; shape: (rows,)."""
    texts = RowTexts(protected)
    questions = np.asarray(embedder.embed([texts.of(p) for p in protected]))
    return np.asarray((np.asarray(embedder.embed([texts.of(r) for r in rows])) @ questions.T).max(axis=1))


def rouge_l(one: str, other: str) -> float:
    """F-measure of the longest common subsequence of words, in [0, 1] (Lin 2004); 1 for two empty texts."""
    ours, theirs = units_of(one), units_of(other)
    total = len(ours) + len(theirs)
    return 2 * _common_subsequence(ours, theirs) / total if total else 1.0


def _repeats(new: Units, old: Units, threshold: float) -> str | None:
    """How `new` repeats `old`, if it does. A cheap bound first: words in common regardless of order."""
    total = len(new) + len(old)
    in_common = (Counter(new) & Counter(old)).total()
    may_be_near = 2 * in_common >= threshold * total
    may_contain = count_words(old) >= MIN_CONTAINED_WORDS and in_common >= CONTAINED_SHARE * len(old)
    if not (may_be_near or may_contain):
        return None
    shared = _common_subsequence(new, old)
    score = 2 * shared / total if total else 1.0
    if score >= threshold:
        return f"ROUGE-L {score:.2f}"
    if may_contain and shared >= CONTAINED_SHARE * len(old):
        return f"holds {shared} of its {len(old)} words in order"
    return None


def _common_subsequence(one: Units, other: Units) -> int:
    """Its length. A row of the table is a whole number, a bit for each word of `one`, cleared where the length grows (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for n, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << n
    every = (1 << len(one)) - 1
    row = every
    for word in other:
        met = row & places.get(word, 0)
        row = ((row + met) | (row - met)) & every
    return len(one) - row.bit_count()


def _signature(units: Units) -> set[Units]:
    """Runs by which a protected question is recognised inside another."""
    if MIN_CONTAINED_WORDS <= count_words(units) < N_GRAM_WORDS:
        return {units}
    return {units[start:end] for start, end in runs_of(units, N_GRAM_WORDS)}


def _first_shared(units: Units, grams: dict[Units, str], lengths: Sequence[int]) -> Units | None:
    for n in lengths:
        for i in range(len(units) - n + 1):
            if units[i : i + n] in grams:
                return units[i : i + n]
    return None
