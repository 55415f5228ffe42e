"""Keeps validation and test content out of what the generator reads: quotations, and sentences that mean the same."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from pada_agent.core.ports import Embedder
from pada_agent.core.records import Example, GuardedStrategy, NearText, Strategy
from pada_agent.evaluation.row_set import RowSet
from pada_agent.evaluation.row_texts import content_of, question_of
from pada_agent.evaluation.text_units import Units, count_words, find_units, runs_of, units_of, weigh
from pada_agent.evaluation.vectors import find_nearest

N_WORDS = 6
"""Number of words in a row that count as a quotation. A shorter held-out text counts as a whole."""

MIN_WORDS = 4
"""Shorter texts are too common to count as quotations."""

WINDOW_PERCENTILES = (50, 90)
"""Percentiles of the held-out texts' lengths in words. They give the sizes of the windows that slide over longer sentences."""

ROUNDING = 1e-6
"""Tolerance for comparing cosines: a sentence must be closer to a held-out row than to any training row by more than this."""

REDACTED = "[…]"

_SENTENCE_END = re.compile(
    r"(?<=[.!?:;؟؛।])[\"'”’)]*\s+|(?<=[。！？：；…])[\"'”’」』）)]*|\n+|(?<=\s)[\"“«](?=\w)|(?<=\s)'(?=\w)|[「『《]"
)
"""Includes colons and opening quotation marks, because the examples given in a strategy follow them."""


class SecretSentences(NamedTuple):
    """What the sentences of strategies are compared with."""

    row_ids: dict[str, str]
    """Each held-out text, with the id of the first row that contains it."""
    window_sizes: list[int]
    """In words."""


class LeakGuard:
    """Cuts what held-out rows say out of strategies. Text that also occurs in training rows is not secret.

    Quotations are found from all that the analyst reads of a row: also its passage, its options and its earlier turns. Sentences that
    mean the same are found from its question and answer.
    """

    def __init__(
        self,
        protected: Sequence[Example],
        training: Sequence[Example],
        *,
        embedder: Embedder | None = None,
        threshold: float | None = None,
    ) -> None:
        """Compares only words if `embedder` or `threshold` (a cosine similarity) is None."""
        self._protected, self._training = RowSet.of(protected), RowSet.of(training)
        self._embedder = embedder if threshold is not None else None
        self._threshold = threshold or 1.0
        self._secrets = {gram for text in _whole_texts(protected) for gram in _ngrams(units_of(text), N_WORDS)}
        for text in _whole_texts(training):  # one after the other: all of their runs at once would take gigabytes
            units = units_of(text)
            self._secrets.difference_update(*(_ngrams(units, n) for n in range(MIN_WORDS, N_WORDS + 1)))
        self._lengths = sorted({len(gram) for gram in self._secrets})

    def clear(self, strategy: Strategy) -> GuardedStrategy:
        """The strategy with every quotation of a held-out row, and every sentence close to one, replaced by `[…]`. Keeps what was cut as evidence."""
        evidence: list[str] = []
        quoted = strategy.rewrite(lambda text: self._redact(text, evidence))
        near = self.find_paraphrases(quoted.texts)

        def cut(text: str) -> str:
            for sentence in near:
                text = text.replace(sentence, REDACTED)
            return text

        cleared, redactions = _drop_emptied(quoted.rewrite(cut)), (*evidence, *near)
        return GuardedStrategy(
            strategy=cleared,
            redactions=redactions,
            near=tuple(near.values()),
            says_nothing=bool(redactions) and not _instructs(cleared),
        )

    def find_paraphrases(self, texts: Sequence[str]) -> dict[str, NearText]:
        """The sentences that are close to a held-out row, and closer to it than to any training row.

        Also finds sentences that merely contain such a passage, because in the vector of a whole instruction it would
        go unnoticed.
        """
        sentences = [s for text in texts for s in split_passages(text) if count_words(units_of(s)) >= MIN_WORDS]
        if self._embedder is None or not sentences or not self._secret_sentences.row_ids:
            return {}
        secret, sizes = self._secret_sentences
        parts = [(s, part) for s in dict.fromkeys(sentences) for part in (s, *slide_windows(s, sizes))]
        ours = np.asarray(self._embedder.embed([part for _, part in parts]))
        similar = find_nearest(ours, self._protected.embed(list(secret), self._embedder))
        row_ids, near = list(secret.values()), [i for i, s in enumerate(similar) if s.cosine >= self._threshold]
        found: dict[str, NearText] = {}
        for i, limit in zip(near, self._find_floor(ours[near]), strict=True):
            (sentence, _), (place, cosine) = parts[i], similar[i]
            if cosine > limit + ROUNDING and (sentence not in found or cosine >= found[sentence].similarity):
                found[sentence] = NearText(text=sentence, row_id=row_ids[place], similarity=cosine)
        return found

    def _find_floor(self, ours: np.ndarray) -> list[float]:
        """For each vector, the cosine similarity to the nearest training text."""
        if self._embedder is None or not len(ours) or not (known := list(dict(_sentences_by_row(self._training)))):
            return [-1.0] * len(ours)
        return [near.cosine for near in find_nearest(ours, self._training.embed(known, self._embedder))]

    @cached_property
    def _secret_sentences(self) -> "SecretSentences":
        found = _sentences_by_row(self._protected)
        row_ids: dict[str, str] = {}
        for text, row_id in found:
            row_ids.setdefault(text, row_id)
        return SecretSentences(row_ids, _window_sizes([text for text, _ in found]) if found else [])

    def _redact(self, text: str, evidence: list[str]) -> str:
        given, text = text, unicodedata.normalize("NFKC", text)
        tokens = find_units(text)
        words = [token.group().casefold() for token in tokens]
        hidden = [False] * len(words)
        for n in self._lengths:
            for i in range(len(words) - n + 1):
                if tuple(words[i : i + n]) in self._secrets:
                    hidden[i : i + n] = [True] * n
        return _replace_runs(text, tokens, hidden, evidence) if any(hidden) else given


def _replace_runs(text: str, tokens: Sequence[re.Match[str]], hidden: Sequence[bool], evidence: list[str]) -> str:
    pieces, position, i = [], 0, 0
    while i < len(tokens):
        if not hidden[i]:
            i += 1
            continue
        j = i
        while j + 1 < len(tokens) and hidden[j + 1]:
            j += 1
        evidence.append(text[tokens[i].start() : tokens[j].end()])
        pieces += [text[position : tokens[i].start()], REDACTED]
        position = tokens[j].end()
        i = j + 1
    return "".join([*pieces, text[position:]])


def split_passages(text: str) -> list[str]:
    """Sentences, and text between quotation marks or after a colon, without surrounding space."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part and part.strip()]


def slide_windows(sentence: str, sizes: Sequence[int]) -> list[str]:
    """Runs of words of each size shorter than the sentence. They start a quarter of their size apart; the last one ends with the sentence."""
    spaced = not any(weigh(unit) < 1 for unit in units_of(sentence))
    words = list(re.finditer(r"\w+(?:['’]\w+)*", sentence)) if spaced else find_units(sentence)
    windows = []
    for size in sizes:
        last = len(words) - size
        starts = [*range(0, last, max(1, size // 4)), last] if last > 0 else []
        windows += [sentence[words[i].start() : words[i + size - 1].end()] for i in starts]
    return windows


def _window_sizes(held_out: Sequence[str]) -> list[int]:
    """A vector represents a whole text, so windows must be as long as the texts they are compared with."""
    lengths = [len(units_of(text)) for text in held_out]
    return sorted({int(np.percentile(lengths, p)) for p in WINDOW_PERCENTILES})


def _drop_emptied(strategy: Strategy) -> Strategy:
    """Without approach and key elements of which nothing is left."""

    def is_emptied(text: str) -> bool:
        return REDACTED in text and not units_of(text.replace(REDACTED, " "))

    approach = strategy.generation_approach
    return strategy.model_copy(
        update={
            "generation_approach": "" if is_emptied(approach) else approach,
            "key_elements": tuple(element for element in strategy.key_elements if not is_emptied(element)),
        }
    )


def _instructs(strategy: Strategy) -> bool:
    """Whether the approach and key elements still contain words to write by, besides what was cut."""
    texts = {strategy.generation_approach, *strategy.key_elements}
    return sum(count_words(units_of(text.replace(REDACTED, " "))) for text in texts) >= MIN_WORDS


def _sentences_by_row(examples: Sequence[Example]) -> list[tuple[str, str]]:
    """The texts of each row, whole and sentence by sentence, paired with the row's id. Texts that are too short to mean anything are left out."""
    return [
        (text, example.id)
        for example in examples
        for whole in _texts([example])
        for text in dict.fromkeys([whole, *split_passages(whole)])
        if count_words(units_of(text)) >= MIN_WORDS
    ]


def _texts(examples: Iterable[Example]) -> Iterable[str]:
    for example in examples:
        yield question_of(example)
        yield example.answer


def _whole_texts(examples: Iterable[Example]) -> Iterator[str]:
    """All different texts that somebody who is shown these rows reads."""
    known = set[str]()
    for example in examples:
        turns = [turn.content for turn in example.history]
        for text in (*_texts([example]), content_of(example), example.system or "", *turns):
            if text not in known:
                known.add(text)
                yield text


def _ngrams(units: Units, n: int) -> set[Units]:
    """All runs of `n` words. A shorter text of at least MIN_WORDS words is itself one run."""
    if count_words(units) < n:
        return {units} if count_words(units) >= MIN_WORDS else set()
    return {units[start:end] for start, end in runs_of(units, n)}
