"""What a strategy says about the rows of one label.

A pattern often mixes up several pairs of labels, and parts of its strategy are about one of them ("write messages that
mention the declined payment"). A writer that follows such a part for another label writes rows that are off their label,
and a judge that asks whether rows follow the strategy prefers them.
"""

from collections.abc import Collection

from pada_agent.core.records import GuardedStrategy
from pada_agent.evaluation.text_units import Units, sentences_of, units_of

MIN_LETTERS = 4
"""Shorter labels ("no", "B") are not looked for: they are also common words."""


def bind_to_label(guarded: GuardedStrategy, label: str | None, labels: Collection[str]) -> GuardedStrategy:
    """The strategy without the sentences that name other labels but not this one.

    Its approach and its elements may end up empty. Unchanged if `label` is None or if the labels are not a closed set.
    """
    if label is None or not labels:
        return guarded
    own, names = units_of(label), {units_of(name) for name in labels if len(name) >= MIN_LETTERS or name == label}

    def bind(text: str) -> str:
        named = ((sentence, _find_names(units_of(sentence), names)) for sentence in sentences_of(text))
        return " ".join(s for s, found in named if own in found or all(_contains(own, other) for other in found))

    strategy = guarded.strategy
    elements = [bound for e in strategy.key_elements if (bound := bind(e))]
    changes = {"generation_approach": bind(strategy.generation_approach), "key_elements": tuple(elements)}
    return guarded.model_copy(update={"strategy": strategy.model_copy(update=changes)})


def _find_names(sentence: Units, names: Collection[Units]) -> set[Units]:
    """The names that occur in the sentence. Of names that contain each other, only the longest one counts at its place."""
    found, i = set(), 0
    by_length = sorted(names, key=len, reverse=True)
    while i < len(sentence):
        name = next((n for n in by_length if n and sentence[i : i + len(n)] == n), None)
        if name:
            found.add(name)
        i += len(name) if name else 1
    return found


def _contains(name: Units, part: Units) -> bool:
    return any(name[i : i + len(part)] == part for i in range(len(name) - len(part) + 1))
