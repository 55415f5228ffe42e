"""Cells of rows as text: what a JSON, CSV or Parquet file may hold in one field."""

import ast
import json
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from pada_agent.core.ports import RawRow

MAX_DIGITS = 400
"""Longer numbers stay in scientific notation: written out, `1e999999999` fills the memory."""


def to_nfc(text: str) -> str:
    """One form for é, whichever way a keyboard, a PDF or a Mac wrote it."""
    return unicodedata.normalize("NFC", text)


def is_empty(value: Any, also: Iterable[str] = ()) -> bool:
    """Whether a cell holds nothing: null, NaN, no text, or one of the words in `also`."""
    if value is None or value != value:
        return True
    return isinstance(value, str) and (not value.strip() or value.strip() in also)


def cell_text(value: Any) -> str | None:
    """The text of a cell that holds one value; None for lists, objects and whatever else has none."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | UUID():
            return str(value)
        case float():
            return str(value) if math.isfinite(value) else None
        case Decimal():
            return _write_decimal(value)
        case datetime():
            return value.isoformat(sep=" ")
        case date() | time():
            return value.isoformat()
        case bytes():
            return _decode(value)
        case _:
            return None


def parse_nested(value: Any) -> Any:
    """A list or an object that stands in a cell as text, as JSON or as Python writes it; anything else as it is."""
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    try:
        found = ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value
    return found if isinstance(found, list | dict | tuple) else value


def write_whole_numbers_as_such(rows: Sequence[RawRow]) -> list[RawRow]:
    """Columns whose numbers are all whole hold integers: a column with gaps comes as 3.0 out of pandas and Parquet."""
    whole: dict[str, bool] = {}
    for row in rows:
        for name, value in row.fields.items():
            if isinstance(value, float | Decimal) and whole.get(name, True) and not is_empty(value):
                whole[name] = _is_whole(value)
    names = [name for name, is_whole in whole.items() if is_whole]
    return [_with_integers(row, names) for row in rows] if names else list(rows)


def _with_integers(row: RawRow, names: Sequence[str]) -> RawRow:
    changes = {
        name: int(row.fields[name])
        for name in names
        if isinstance(row.fields.get(name), float | Decimal) and not is_empty(row.fields[name])
    }
    return row.model_copy(update={"fields": {**row.fields, **changes}}) if changes else row


def _is_whole(value: float | Decimal) -> bool:
    if isinstance(value, Decimal):
        return value.is_finite() and abs(value.adjusted()) <= MAX_DIGITS and value == value.to_integral_value()
    return value.is_integer()


def _write_decimal(value: Decimal) -> str | None:
    if not value.is_finite():
        return None
    return f"{value:f}" if abs(value.adjusted()) <= MAX_DIGITS else str(value)


def _decode(value: bytes) -> str | None:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def is_turn(value: Any) -> bool:
    """Whether this is one turn of a conversation."""
    return isinstance(value, Mapping) and bool({"role", "from"} & value.keys())


def is_conversation(value: Any) -> bool:
    """Whether a cell, or the JSON in it, is a list of turns."""
    found = parse_nested(value)
    return isinstance(found, list | tuple) and bool(found) and all(map(is_turn, found))
