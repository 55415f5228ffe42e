"""Cells of rows as text: everything that a JSON, CSV or Parquet file may hold in one field."""

import json
import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from pada_agent.core.nesting import check_nesting
from pada_agent.core.raw_rows import RawRow, Settled
from pada_agent.evaluation.rows.python_notation import read_python

MAX_DIGITS = 400
"""Longer numbers keep their scientific notation. Written out, `1e999999999` would fill the memory."""


INVISIBLE = (
    "\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\u2061\u2062\u2063\u2064"  # joiners, soft hyphens, marks
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # directions
    "\ufe0e\ufe0f"  # how an emoji looks
)
"""Characters that nobody sees, which web pages, PDFs, editors and merged files leave in texts and names."""

_NESTED = re.compile(r"[\[{]\s*(?:['\"\[{]|array\().*[\]}]", re.DOTALL)
"""How lists of texts and objects begin and end. `[1] Smith` and `[MASK]` are texts."""

KEEPS_LISTS = "save the rows as JSON Lines or Parquet, which keep lists as they are"

_WHOLE = re.compile(r"(?P<whole>-?(?:0|[1-9]\d*))(?P<point>\.0)?", re.ASCII)
_TYPED = re.compile(r"hub:|.*\.(?:jsonl|ndjson|json|parquet)(?:\.gz)?(?:\[[^\[\]]*\])?\Z", re.DOTALL | re.IGNORECASE)
_FRACTION = re.compile(r"-?\d+\.\d*[1-9]\d*", re.ASCII)


def to_nfc(text: str) -> str:
    """Unicode NFC, so that é has one form whichever way a keyboard, a PDF or a Mac wrote it."""
    return unicodedata.normalize("NFC", text)


def is_empty(value: Any, also: Iterable[str] = ()) -> bool:
    """Whether a cell holds nothing: null, NaN, an empty text, or one of the words in `also`."""
    if value is None or value != value:
        return True
    return isinstance(value, str) and (shows_nothing(value) or value.strip() in also)


def shows_nothing(text: str) -> bool:
    """Whether the text has no visible character."""
    return all(character.isspace() or character in INVISIBLE for character in text)


def cell_text(value: Any) -> str | None:
    """The text of a cell that holds a single value. None for lists, objects and anything else without a text."""
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
    """The list or object that a cell contains as text, in JSON, Python's or NumPy's notation. Anything else is returned
    unchanged.
    """
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    try:
        found = json.loads(value)
        check_nesting(found, value)
        return found
    except RecursionError:
        return value
    except ValueError:
        pass
    try:
        found = read_python(value)
    except ValueError:
        return value
    return found if isinstance(found, list | dict | tuple) else value


def is_broken_list(value: Any) -> bool:
    """Whether a cell contains a list or an object as text that `parse_nested` cannot read, or not with certainty."""
    return isinstance(value, str) and bool(_NESTED.fullmatch(value.strip())) and parse_nested(value) is value


def write_whole_numbers_as_such(files: Sequence[Sequence[RawRow]], forms: Sequence[Settled]) -> list[list[RawRow]]:
    """Turn 3.0 into 3 in columns whose numbers are all whole, because pandas and Parquet return a column with gaps as floats.

    The same applies to a column of texts such as `3.0`, if plain integers or empty cells show that it was affected too. Files
    that tell texts from numbers show this by numbers only: `"3.0"` and `"3"` are two texts there. Columns of the same field, or
    of the same name, are treated alike in all files, and so are the columns of options. Options that would become the same
    (what `6 / 2` gives in Python: `3.0` or `3`) stay as they are.

    Args:
        forms: for each file, which columns hold what.
    """
    kinds = [_name_kinds(form) for form in forms]
    columns: dict[str, _Column] = {}
    for rows, kind_of in zip(files, kinds, strict=True):
        for row in rows:
            for name, value in row.fields.items():
                kind = kind_of.get(name, name)
                if kind != _OPTIONS or not is_empty(value):
                    columns.setdefault(kind, _Column()).see(value, is_typed=_is_typed(row.where))
    whole = {kind for kind, column in columns.items() if column.is_whole}
    written = {kind for kind, column in columns.items() if column.is_written_whole}
    if any(_merges_options(row, kinds[i], whole, written) for i, rows in enumerate(files) for row in rows):
        whole, written = whole - {_OPTIONS}, written - {_OPTIONS}
    return [
        [_with_integers(row, kind_of, whole, written) for row in rows] if whole or written else list(rows)
        for rows, kind_of in zip(files, kinds, strict=True)
    ]


_OPTIONS = "\0choices"
"""The columns of options. Their empty cells say that a row has fewer options, not that whole numbers became decimals."""


def _name_kinds(form: Settled) -> dict[str, str]:
    """What columns hold, by column: a field alone, or one option each. Columns that are joined are left out."""
    choices = dict.fromkeys(form.columns.get("choices", ()), _OPTIONS)
    alone = {names[0]: f"\0{field}" for field, names in form.columns.items() if len(names) == 1}
    return {**choices, **alone}


@dataclass
class _Column:
    """What has been seen in the cells of a column so far."""

    n_floats: int = 0
    n_texts: int = 0
    """Number of texts such as `3.0`."""
    n_plain: int = 0
    """Number of integers, as numbers or as texts of a CSV file, and of empty cells."""
    others: bool = False
    """Whether some numbers are not whole, as numbers or as texts."""
    words: bool = False
    """Whether there is anything but numbers."""

    def see(self, value: Any, *, is_typed: bool) -> None:
        if is_empty(value) or (isinstance(value, int) and not isinstance(value, bool)):
            self.n_plain += 1
        elif isinstance(value, float | Decimal):
            self.n_floats += 1
            self.others = self.others or not _is_whole(value)
        elif isinstance(value, str) and (written := _WHOLE.fullmatch(value.strip())):
            self.n_texts += written["point"] is not None
            self.n_plain += written["point"] is None and not is_typed
        else:
            self.words = True
            self.others = self.others or (isinstance(value, str) and bool(_FRACTION.fullmatch(value.strip())))

    @property
    def is_whole(self) -> bool:
        return self.n_floats > 0 and not self.others

    @property
    def is_written_whole(self) -> bool:
        return self.n_texts > 0 and self.n_plain + self.n_floats > 0 and not self.others and not self.words


def _is_typed(where: str) -> bool:
    """Whether a row's file tells texts from numbers. CSV does not."""
    return bool(_TYPED.match(where.rpartition(":")[0]))


def _merges_options(row: RawRow, kind_of: Mapping[str, str], whole: Collection[str], written: Collection[str]) -> bool:
    """Whether options of a row that differ would no longer do so."""
    columns = [name for name, kind in kind_of.items() if kind == _OPTIONS and name in row.fields]
    if not columns or not {_OPTIONS} & {*whole, *written}:
        return False
    before, after = (
        {cell_text(found.fields[name]) for name in columns}
        for found in (row, _with_integers(row, kind_of, whole, written))
    )
    return len(after) < len(before)


def _with_integers(row: RawRow, kind_of: Mapping[str, str], whole: Collection[str], written: Collection[str]) -> RawRow:
    changes: dict[str, Any] = {}
    for name, value in row.fields.items():
        kind = kind_of.get(name, name)
        if kind in whole and isinstance(value, float | Decimal) and not is_empty(value):
            changes[name] = int(value)
        elif kind in written and isinstance(value, str) and (found := _WHOLE.fullmatch(value.strip())):
            changes[name] = found["whole"]
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
