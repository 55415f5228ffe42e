"""How rows are compared, said without any index: all rows are looked at for every row. What indexes find must be the same."""

import re
from collections import Counter
from collections.abc import Sequence

from pada_agent.core.records import Example, Overlap
from pada_agent.evaluation.overlaps import N_GRAM_WORDS
from pada_agent.evaluation.repeats import CONTAINED_SHARE, MIN_CONTAINED_WORDS
from pada_agent.evaluation.row_texts import MIN_SHARED_WORDS, MIN_SHARING, content_of, question_of
from pada_agent.evaluation.text_units import Units, count_words, operators_of, runs_of, units_of


class PlainTexts:
    """What rows are compared by."""

    def __init__(self, known: Sequence[Example]) -> None:
        contents: dict[str, set[str]] = {}
        for example in known:
            contents.setdefault(question_of(example), set()).add(content_of(example))
        self._fixed = {question for question, found in contents.items() if len(found) > 1}
        texts = sorted({self._whole(example) for example in known})
        self._opening = shared_opening(texts)
        self._closing = shared_opening([text[::-1] for text in texts])[::-1]

    def of(self, example: Example) -> str:
        text = self._whole(example)
        if not (self._opening or self._closing):
            return text
        own = text.removeprefix(self._opening).removesuffix(self._closing)
        return own if own.strip() else text

    def _whole(self, example: Example) -> str:
        question = question_of(example)
        return content_of(example) if question in self._fixed else question


def shared_opening(texts: Sequence[str]) -> str:
    """What all texts begin with, in whole words."""
    if len(texts) < MIN_SHARING:
        return ""
    n = 0
    while all(len(text) > n and text[n] == texts[0][n] for text in texts):
        n += 1
    opening = texts[0][:n]
    if opening in texts:
        return ""
    ends = [match.end() for match in re.finditer(r"\s+|[.:!?。：！？]", opening)]
    opening = opening[: ends[-1]] if ends else ""
    return opening if count_words(units_of(opening)) >= MIN_SHARED_WORDS else ""


def find_overlap(rows: Sequence[Example], protected: Sequence[Example]) -> list[Overlap]:
    texts = PlainTexts(protected)
    return [found for row in rows if (found := find_one_overlap(row, protected, texts))]


def find_one_overlap(row: Example, protected: Sequence[Example], texts: PlainTexts) -> Overlap | None:
    text = texts.of(row)
    units = units_of(text)
    for p in protected:
        if texts.of(p) == text and may_be_same(row, p, texts):
            return Overlap(example_id=row.id, protected_id=p.id, kind="exact", evidence=text)
    for p in protected:
        if units and units_of(texts.of(p)) == units and may_be_same(row, p, texts):
            return Overlap(example_id=row.id, protected_id=p.id, kind="normalized", evidence=text)
    signatures = [(p.id, signature(units_of(texts.of(p)))) for p in protected]
    for n in sorted({len(run) for _, runs in signatures for run in runs}, reverse=True):
        for i in range(len(units) - n + 1):
            for row_id, runs in signatures:
                if (run := units[i : i + n]) in runs:
                    return Overlap(example_id=row.id, protected_id=row_id, kind="ngram", evidence=" ".join(run))
    return None


def may_be_same(row: Example, other: Example, texts: PlainTexts) -> bool:
    """Two short questions after different turns, or with other operators, are different questions."""
    if operators_of(texts.of(row)) != operators_of(texts.of(other)):
        return any(count_words(units_of(texts.of(one))) >= MIN_CONTAINED_WORDS for one in (row, other))
    is_long = any(count_words(units_of(texts.of(one))) >= MIN_CONTAINED_WORDS for one in (row, other))
    return is_long or [units_of(turn.content) for turn in row.history] == [
        units_of(turn.content) for turn in other.history
    ]


def signature(units: Units) -> set[Units]:
    if MIN_CONTAINED_WORDS <= count_words(units) < N_GRAM_WORDS:
        return {units}
    return {units[start:end] for start, end in runs_of(units, N_GRAM_WORDS)}


def find_duplicates(new: Sequence[Example], existing: Sequence[Example], *, threshold: float) -> list[Overlap]:
    texts = PlainTexts(existing)
    known = list(existing)
    found: list[Overlap] = []
    for row in new:
        units = units_of(texts.of(row))
        comparable = [other for other in known if may_be_same(row, other, texts)]
        hows = ((other.id, repeats(units, units_of(texts.of(other)), threshold)) for other in comparable)
        match = next(((i, how) for i, how in hows if how), None)
        if match is None:
            known.append(row)
        else:
            found.append(Overlap(example_id=row.id, protected_id=match[0], kind="near", evidence=match[1]))
    return found


def repeats(new: Units, old: Units, threshold: float) -> str | None:
    total = len(new) + len(old)
    in_common = (Counter(new) & Counter(old)).total()
    may_be_near = 2 * in_common >= threshold * total
    may_contain = count_words(old) >= MIN_CONTAINED_WORDS and in_common >= CONTAINED_SHARE * len(old)
    if not (may_be_near or may_contain):
        return None
    shared = common_subsequence(new, old)
    score = 2 * shared / total if total else 1.0
    if score >= threshold:
        return f"ROUGE-L {score:.2f}"
    if may_contain and shared >= CONTAINED_SHARE * len(old):
        return f"holds {shared} of its {len(old)} words in order"
    return None


def common_subsequence(one: Units, other: Units) -> int:
    """Length of the longest, by the table of the textbook."""
    row = [0] * (len(other) + 1)
    for word in one:
        diagonal = 0
        for j, other_word in enumerate(other, start=1):
            above = row[j]
            row[j] = diagonal + 1 if word == other_word else max(above, row[j - 1])
            diagonal = above
    return row[-1]
