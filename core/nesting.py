"""Limits how deeply JSON of others may be nested. Since Python 3.12, it is read far deeper than code that walks through it can follow."""

from typing import Any

MAX_LEVELS = 100


def check_nesting(value: Any, text: str) -> None:
    """Check what was read from a JSON text.

    Raises:
        RecursionError: lists and objects are more than `MAX_LEVELS` deep.
    """
    if text.count("[") + text.count("{") <= MAX_LEVELS:
        return
    level = [value]
    for _ in range(MAX_LEVELS):
        level = [inner for outer in level for inner in _list_inner(outer) if isinstance(inner, dict | list)]
        if not level:
            return
    raise RecursionError(f"more than {MAX_LEVELS} levels")


def _list_inner(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
