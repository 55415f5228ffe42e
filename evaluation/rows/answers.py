"""One right answer or several, in the forms in which people list them."""

from collections.abc import Mapping
from typing import Any

from pada_agent.evaluation.rows.cells import cell_text, is_empty, to_nfc
from pada_agent.evaluation.verifiers.text import normalize_text

_FIRST = ("value", "text", "answer")
_ALSO = ("aliases", "answers", "alternatives")


def list_answers(value: Any) -> list[str]:
    """The answers in a cell, first one first: a text, a list, `{text: […]}`, or `{value: …, aliases: […]}` (TriviaQA).

    A text is one answer even if it looks like a list. Empty for anything else, or if no answer remains.
    """
    found = _collect(value)
    if found is None:
        return []
    answers: dict[str, str] = {}
    for answer in found:
        if not is_empty(answer):
            answers.setdefault(normalize_text(answer), answer.strip())
    return list(answers.values())


def _collect(value: Any) -> list[str] | None:
    """All texts. None if there is anything else among them."""
    if isinstance(value, Mapping):
        parts = [value[key] for key in (*_FIRST, *_ALSO) if not is_empty(value.get(key))]
    elif isinstance(value, list | tuple):
        parts = list(value)
    else:
        text = cell_text(value)
        return None if text is None else [to_nfc(text)]
    collected = [_collect(part) for part in parts]
    return None if None in collected else [text for texts in collected if texts for text in texts]
