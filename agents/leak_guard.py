"""Keeps validation and test content out of what the generator reads."""

import re
from collections.abc import Iterable, Sequence

from pada_agent.core.records import Example, GuardedStrategy, Strategy

N_WORDS = 6
"""Words in a row that count as a quotation; a protected text shorter than this counts as a whole."""

MIN_WORDS = 4
"""Texts shorter than this are too common to be called a quotation."""

REDACTED = "[…]"


class LeakGuard:
    """Cuts quotations of protected rows out of strategies. What also stands in training rows is no secret."""

    def __init__(self, protected: Iterable[Example], training: Iterable[Example]) -> None:
        known: set[tuple[str, ...]] = set()
        for text in _texts(training):
            words = _words(text)
            for n in range(MIN_WORDS, N_WORDS + 1):
                known.update(_ngrams(words, n))
        self._secrets = {gram for text in _texts(protected) for gram in _ngrams(_words(text), N_WORDS)} - known

    def clear(self, strategy: Strategy) -> GuardedStrategy:
        """The strategy with every quotation replaced by `[…]`, and the quotations as evidence."""
        evidence: list[str] = []

        def cut(text: str) -> str:
            return self._redact(text, evidence)

        cleared = strategy.model_copy(
            update={
                "category_name": cut(strategy.category_name),
                "strategy_name": cut(strategy.strategy_name),
                "generation_approach": cut(strategy.generation_approach),
                "key_elements": tuple(cut(element) for element in strategy.key_elements),
            }
        )
        return GuardedStrategy(strategy=cleared, redactions=tuple(evidence))

    def _redact(self, text: str, evidence: list[str]) -> str:
        tokens = list(re.finditer(r"\w+", text))
        words = [t.group().casefold() for t in tokens]
        hidden = [False] * len(words)
        for n in range(MIN_WORDS, N_WORDS + 1):
            for i in range(len(words) - n + 1):
                if tuple(words[i : i + n]) in self._secrets:
                    hidden[i : i + n] = [True] * n
        return _replace_runs(text, tokens, hidden, evidence)


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


def _texts(examples: Iterable[Example]) -> Iterable[str]:
    for example in examples:
        yield str(example.reference.get("question") or example.prompt)
        yield example.answer


def _words(text: str) -> list[str]:
    return [word.casefold() for word in re.findall(r"\w+", text)]


def _ngrams(words: list[str], n: int) -> set[tuple[str, ...]]:
    """All runs of `n` words; a shorter text of at least MIN_WORDS is one run by itself."""
    if len(words) < n:
        return {tuple(words)} if len(words) >= MIN_WORDS else set()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}
