"""What a strategy says about the rows of one label.

A pattern often mixes up several pairs of labels, and parts of its strategy are about one of them ("write messages that
mention the declined payment"). A writer that follows such a part for another label writes rows that are off their label,
and a judge that asks whether rows follow the strategy prefers them.
"""

import re
from collections.abc import Collection, Sequence

from pada_agent.core.records import GuardedStrategy
from pada_agent.evaluation.text_units import Units, count_words, split_sentences, units_of

MIN_LETTERS = 4
"""Shorter words of the row's own label ("not", "up") need not be in a sentence that is about it."""

_QUOTED = re.compile(r"[\"“„«「『'‘]([^\"“”„«»「」『』'’]+)[\"”“»」』'’]")


def bind_to_label(guarded: GuardedStrategy, label: str | None, labels: Collection[str]) -> GuardedStrategy:
    """The strategy without the sentences that name only other labels.

    Another label counts as named by two or more words that follow each other, or by one word in quotation marks: a label of
    one word ("other", "good") is also a common word. The row's own label counts as named if its words occur anywhere, in any
    form, because a sentence should rather stay than go. Name, approach and elements may end up empty. Unchanged if `label` is
    None or if the labels are not a closed set.
    """
    if label is None or not labels:
        return guarded
    own, others = _units(label), [_units(name) for name in labels if name != label]
    names = [name for name in others if name and not _find(name, own)]

    def is_about_others(sentence: str) -> bool:
        units, quoted = _units(sentence), {_units(text) for text in _QUOTED.findall(sentence)}
        named = (_find(name, units) if count_words(name) >= 2 else name in quoted for name in names)
        return not _mentions(units, own, names) and any(named)

    def bind(text: str) -> str:
        kept = [sentence for sentence in split_sentences(text) if not is_about_others(sentence)]
        return text if len("".join(kept)) == len(text) else "".join(kept).strip()

    strategy = guarded.strategy
    changes = {
        "strategy_name": bind(strategy.strategy_name),
        "generation_approach": bind(strategy.generation_approach),
        "key_elements": tuple(bound for element in strategy.key_elements if (bound := bind(element))),
    }
    return guarded.model_copy(update={"strategy": strategy.model_copy(update=changes)})


def leave_out_text(guarded: GuardedStrategy) -> GuardedStrategy:
    """The strategy without the analyst's words: what is left is which rows it is applied to."""
    wordless = guarded.strategy.rewrite(lambda _: "").model_copy(update={"key_elements": ()})
    return guarded.model_copy(update={"strategy": wordless})


def _units(text: str) -> Units:
    return units_of(text.replace("_", " "))


def _begins(name: Sequence[str], units: Sequence[str]) -> bool:
    """Whether the text begins with the name, each of its words as it is or with an ending."""
    return len(units) >= len(name) and all(map(str.startswith, units, name))


def _find(name: Sequence[str], units: Sequence[str]) -> bool:
    return any(_begins(name, units[i:]) for i in range(len(units) - len(name) + 1))


def _mentions(units: Units, own: Units, others: Sequence[Units]) -> bool:
    """Whether the words of the row's label occur in the sentence, in any order and form, outside longer names that contain it."""
    longer, left, i = [name for name in others if _find(own, name)], list[str](), 0
    while i < len(units):
        name = next((name for name in longer if _begins(name, units[i:])), None)
        left += [] if name else [units[i]]
        i += len(name) if name else 1
    words = [word for word in own if len(word) >= MIN_LETTERS or not word.isascii()] or own
    return bool(words) and all(any(_is_form_of(word, unit) for unit in left) for word in words)


def _is_form_of(word: str, unit: str) -> bool:
    """Whether both begin alike, all but the last three letters of the label's word."""
    n = max(min(len(word), MIN_LETTERS), len(word) - 3)
    return unit[:n] == word[:n]
