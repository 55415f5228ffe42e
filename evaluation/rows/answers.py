"""One right answer or several, in the forms in which people list them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pada_agent.evaluation.rows.cells import cell_text, is_empty, parse_nested, to_nfc
from pada_agent.evaluation.verifiers.text import normalize_text

_FIRST = ("value", "text", "answer")
_ALSO = ("aliases", "answers", "alternatives")
_PLACES = ("answer_start", "start", "end")
"""Keys that say where an answer is in its passage."""
_POINT_ZERO = re.compile(r"(?<=\d)\.0+\Z")
_SAME = ("normalized_", "matched_wiki_entity_name")
"""How keys begin that repeat an answer in another form (TriviaQA)."""


def list_answers(value: Any) -> list[str]:
    """The answers in a cell, first one first: a text, a list, `{text: […]}`, or `{value: …, aliases: […]}` (TriviaQA).

    A text is one answer even if it looks like a list. Empty for anything else, if no answer remains, or if an object holds
    different answers under two names, because only one can be meant. A number and its text (`5.0`, `5`) are not different,
    nor are a list and one of its answers.
    """
    found = _collect(value)
    if found is None:
        return []
    answers: dict[str, str] = {}
    for answer in found:
        if not is_empty(answer):
            answers.setdefault(normalize_text(answer), answer.strip())
    return list(answers.values())


def list_unread_parts(value: Any) -> Iterator[str]:
    """Keys of answers that hold something and are not read, such as `unit`."""
    found = parse_nested(value)
    for part in found if isinstance(found, list | tuple) else [found]:
        for key, held in part.items() if isinstance(part, Mapping) else ():
            name = str(key)
            if name not in (*_FIRST, *_ALSO, *_PLACES) and not name.startswith(_SAME) and not is_empty(held):
                yield name


def _collect(value: Any) -> list[str] | None:
    """All texts. None if there is anything else among them."""
    if isinstance(value, Mapping):
        first = [value[key] for key in _FIRST if not is_empty(value.get(key))]
        listed = [answers for part in first if len(first) > 1 and (answers := list_answers(part))]
        if not all(_share(listed[0], other) for other in listed[1:]):
            return None
        parts = [*first, *(value[key] for key in _ALSO if not is_empty(value.get(key)))]
    elif isinstance(value, list | tuple):
        parts = list(value)
    else:
        text = cell_text(value)
        return None if text is None else [to_nfc(text)]
    collected = [_collect(part) for part in parts]
    return None if None in collected else [text for texts in collected if texts for text in texts]


def _share(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether an answer of one list is among those of the other."""
    one, other = ({_POINT_ZERO.sub("", normalize_text(text)) for text in texts} for texts in (ours, theirs))
    return not one.isdisjoint(other)
