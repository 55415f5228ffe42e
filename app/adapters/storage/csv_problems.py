"""Explains what is wrong with a CSV file: where it is, what it looks like, and what to do."""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import dropwhile
from typing import NamedTuple

from pada_agent.core.errors import DatasetError, RowError
from pada_agent.core.wording import count

ADD_NAMES = "put a line with the names above it, such as question,answer"
_LONG_NAME = 60
_COMMENT = ("#", "//")
_N_ROWS_COMPARED = 10
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)*")
_SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_QUOTE_THEM = "Put cells that contain a quote, a line break or the separator in quotes, and double each quote inside."


def refuse_json(location: str, head: Sequence[str]) -> None:
    """Refuse a file whose first lines are JSON instead of CSV.

    Raises:
        DatasetError: says what the file is, and how to name it.
    """
    first = next((line.strip() for line in head if line.strip()), "")
    if first in ("[", "{"):
        raise DatasetError(f"{location}: is JSON, not CSV. Name it .json")
    try:
        value = json.loads(first) if first[:1] in ("[", "{") else None
    except (ValueError, RecursionError):
        return
    if isinstance(value, dict):
        raise DatasetError(f"{location}: is JSON Lines (an object on each line), not CSV. Name it .jsonl")
    if isinstance(value, list):
        raise DatasetError(f"{location}: is JSON, not CSV. Name it .json")


def refuse_other_lines(location: str, head: Sequence[str], delimiters: Sequence[str], *, n_before: int = 0) -> None:
    """Refuse a file with a title above its names, with cells in single quotes, or in fastText's format.

    Raises:
        DatasetError: says what the lines look like, and what to do.
    """
    lines = [line.strip() for line in head if line.strip()]
    if lines and lines[0].startswith("__label__"):
        raise DatasetError(f"{location}: is in fastText's format, not CSV. Write two columns with names: text,label")
    if len(lines) > 2 and any(all(_in_single_quotes(line, d) for line in lines[1:]) for d in delimiters):
        raise DatasetError(f"{location}: the cells are in single quotes, which CSV reads as text. Use double quotes")
    measured = [list(_measure(head, delimiter)) for delimiter in delimiters]
    is_alone = all(records and records[0].width == 1 for records in measured)
    names = min((line for records in measured if is_alone and (line := _find_names_below(records))), default=0)
    if names and (lines[0].startswith(_COMMENT) or " " in lines[0] or not all(map(str.strip, head[:names]))):
        raise DatasetError(
            f"{location}:{n_before + 1}: {lines[0][:_LONG_NAME]!r} looks like a title or a comment, and the names of the"
            f" columns seem to be on line {n_before + names}. Delete what is above them"
        )


def _in_single_quotes(line: str, delimiter: str) -> bool:
    return len(line) > 1 and line[0] == line[-1] == "'" and f"'{delimiter}'" in line


def _find_names_below(records: Sequence["_Measured"]) -> int | None:
    """The line with the names, if there are only single cells above it, and below it rows of the same width."""
    below = list(dropwhile(lambda record: record.width == 1, records))[:_N_ROWS_COMPARED]
    return below[0].line if len(below) > 1 and len({record.width for record in below}) == 1 else None


class _Measured(NamedTuple):
    line: int
    """On which the record begins."""
    width: int
    """Number of cells, without empty ones at the end."""


def _measure(head: Sequence[str], delimiter: str) -> Iterator[_Measured]:
    """The records that hold something. One that cannot be read ends them."""
    line, reader = 1, csv.reader(head, delimiter=delimiter)
    with suppress(csv.Error):
        for values in reader:
            filled = [place for place, value in enumerate(values, 1) if value.strip()]
            if filled:
                yield _Measured(line, filled[-1])
            line = reader.line_num + 1


def doubt_header(names: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    """What to do if a column is not found, because the first line may be a row rather than a header."""
    if names[0].startswith(_COMMENT):
        return "The first line looks like a comment, not like the names of columns: delete it."
    repeats = any(row.get(name) == name for row in rows for name in names)
    if repeats or any(map(_NUMBER.fullmatch, names)):
        return (
            f"The first line looks like a row, not like the names of columns: {ADD_NAMES}; or if these are the names,"
            " name the right column in task.columns."
        )
    return f"Name the right column in task.columns; or if the first line is a row already, {ADD_NAMES}."


def explain_length(where: str, n_cells: int, n_names: int, delimiter: str) -> RowError:
    """Why a row is longer or shorter than the header."""
    separator = _SEPARATORS.get(delimiter, repr(delimiter))
    problem = f"{count(n_cells, 'value')} for {count(n_names, 'column')}"
    if n_cells > n_names:
        why = f"Does a cell contain {separator}? Put such cells in quotes."
        return RowError(where, f"{problem}. {why}", "too many values")
    why = f"Is a cell missing here, or does a column's name contain {separator}? Put what contains one in quotes."
    return RowError(where, f"{problem}. {why}", "too few values")


def explain_joined_lines(where: str, text: str, n_names: int, delimiter: str) -> RowError | None:
    """Why a row over several lines seems to be several rows: each line is as wide as the header, so the quotes around
    the line breaks may belong to texts. None if it seems to be one row.

    Lines of cells with commas say nothing, because texts are full of them. In texts, other separators than a tab are
    followed by a space or a line break, and cells are not.
    """
    lines = [line.rstrip("\r").split(delimiter) for line in text.split("\n") if line.strip()]
    is_alike = n_names > 1 and len(lines) > 1 and all(len(cells) == n_names for cells in lines)
    is_text = any(not cell or cell != cell.lstrip() for cells in lines for cell in cells)
    if not is_alike or delimiter == "," or (is_text and delimiter != "\t"):
        return None
    problem = f"a quote joins {len(lines)} lines into one row, although each of them looks like a row of its own"
    way_out = f"{_QUOTE_THEM} If they are one cell, take {_SEPARATORS.get(delimiter, repr(delimiter))} out of it."
    return RowError(where, f"{problem}. {way_out}", "joined lines")


def explain_broken_record(exc: csv.Error, record: str, *, first: int, delimiter: str) -> str:
    """The line at fault and the reason.

    Args:
        record: the text from line `first` to the end of the line that could not be read.
    """
    last = first + record.rstrip("\n").count("\n")
    opened = first + record.count("\n", 0, _find_open_quote(record, delimiter))
    said = str(exc)
    if "unexpected end" in said:
        return f"{opened}: not valid CSV: the quote that opens on this line is never closed. {_QUOTE_THEM}"
    if "field larger" in said:
        return f"{opened}: not valid CSV: a cell has more than {csv.field_size_limit():,} characters. Is a quote not closed?"
    if "expected after" in said and opened < last:
        return (
            f"{opened}: not valid CSV: the quote that opens on this line is closed on line {last}, in the middle of a cell."
            f" {_QUOTE_THEM}"
        )
    if "expected after" in said:
        return f"{last}: not valid CSV: a cell continues after its closing quote. {_QUOTE_THEM}"
    return f"{last}: not valid CSV: {said}. {_QUOTE_THEM}"


def _find_open_quote(record: str, delimiter: str) -> int:
    """Position of the quotation mark that opens the first cell without a proper end."""
    begin = re.compile(rf'(?:\A|{re.escape(delimiter)}) *"')
    found = begin.search(record)
    while found:
        closed = record.find('"', found.end())
        while closed >= 0 and record.startswith('""', closed):
            closed = record.find('"', closed + 2)
        if closed < 0 or record[closed + 1 : closed + 2] not in (delimiter, "\n", "\r", ""):
            return found.end() - 1
        found = begin.search(record, closed + 1)
    return 0
