"""Rows that an application hands over, with what NumPy, pandas and LangChain put into them, or as objects of its own classes."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel

from pada_agent.evaluation.rows.narrow_floats import Width, shorten

_WIDTHS: Mapping[str, Width] = {"float32": "f", "float16": "e"}


def to_plain(value: Any) -> Any:
    """The value as a file of JSON would hold it: `df.to_dict("records")` has arrays for lists, and `pd.NA` for empty cells.

    Names of columns become texts, LangChain's messages turns, and records of pydantic and dataclasses rows. No library is loaded.
    """
    if isinstance(value, BaseModel):
        return to_plain(_open_record(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
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


def make_storable(value: Any) -> Any:
    """The same value for a checkpoint, which refuses some of what NumPy and pandas put into rows, and huge numbers such as hashes, and
    restores arrays of texts as None.

    Everything else stays as it is, because a larger graph keeps its own values in the same checkpoint: names that are no texts, arrays of
    numbers.
    """
    if isinstance(value, Mapping):
        return {name: make_storable(inner) for name, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(make_storable(inner) for inner in value)
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    is_foreign = _is_empty_cell(value) or (_is_of_numpy(value) and not _is_array_of_numbers(value))
    return to_plain(value) if is_foreign else value


def _open_record(record: BaseModel) -> Any:
    if not any(kind.__name__ == "BaseMessage" for kind in type(record).__mro__):
        return record.model_dump()
    from langchain_core.messages import BaseMessage, convert_to_openai_messages

    return convert_to_openai_messages(record) if isinstance(record, BaseMessage) else record.model_dump()


def _is_empty_cell(value: Any) -> bool:
    return type(value).__name__ == "NAType"


def _is_of_numpy(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "tolist")


def _is_array_of_numbers(value: Any) -> bool:
    return type(value).__name__ == "ndarray" and value.dtype.kind in "biufc"


def _shorten_all(value: Any, width: Width) -> Any:
    if isinstance(value, list):
        return [_shorten_all(inner, width) for inner in value]
    return shorten(value, width) if isinstance(value, float) else value
