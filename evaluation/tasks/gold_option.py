"""Which of a row's options is the right one, however the row says it."""

from collections.abc import Sequence
from typing import Any

from pada_agent.evaluation.verifiers.text import normalize_text


def find_gold(value: Any, labels: Sequence[str], texts: Sequence[str]) -> int | None:
    """Index of the option that `value` names, or None.

    Tried in order: a label, the option's text, a zero-based index (int or digits). So `"1"` is the first option where
    labels run 1 to 4, and the second where they run A to D.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    index = _find(str(value), labels)
    if index is None and isinstance(value, str):
        index = _find(value, texts)
    return _as_index(value, len(texts)) if index is None else index


def _find(value: str, among: Sequence[str]) -> int | None:
    wanted = normalize_text(value)
    hits = [i for i, text in enumerate(among) if normalize_text(text) == wanted]
    return hits[0] if len(hits) == 1 else None


def _as_index(value: str | int, n_options: int) -> int | None:
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and int(text) < n_options else None
