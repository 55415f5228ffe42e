"""Rows that an application hands over, with what NumPy and pandas put into them."""

from collections.abc import Mapping
from typing import Any

from pada_agent.evaluation.rows.narrow_floats import Width, shorten

_WIDTHS: Mapping[str, Width] = {"float32": "f", "float16": "e"}


def to_plain(value: Any) -> Any:
    """The value as a file of JSON would hold it: `df.to_dict("records")` has arrays for lists, and `pd.NA` for empty cells.

    Names of columns become texts. Neither library is loaded.
    """
    if isinstance(value, Mapping):
        return {str(name): to_plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(inner) for inner in value]
    if _is_empty_cell(value):
        return None
    if _is_of_numpy(value):
        width = _WIDTHS.get(str(value.dtype))
        opened = to_plain(value.tolist())
        return _shorten_all(opened, width) if width else opened
    return value


def is_given(value: Any) -> bool:
    """Whether NumPy or pandas put something into a value. A checkpoint refuses some of it, and restores arrays of texts as None."""
    if isinstance(value, Mapping):
        return any(map(is_given, value.values()))
    if isinstance(value, list | tuple):
        return any(map(is_given, value))
    return _is_empty_cell(value) or _is_of_numpy(value)


def _is_empty_cell(value: Any) -> bool:
    return type(value).__name__ == "NAType"


def _is_of_numpy(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "tolist")


def _shorten_all(value: Any, width: Width) -> Any:
    if isinstance(value, list):
        return [_shorten_all(inner, width) for inner in value]
    return shorten(value, width) if isinstance(value, float) else value
