"""Reads CSV and TSV as spreadsheets and pandas write them."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

from pada_agent.app.adapters.storage.csv_problems import (
    ADD_NAMES,
    explain_broken_record,
    explain_joined_lines,
    explain_length,
    refuse_json,
    refuse_other_lines,
)
from pada_agent.core.errors import DatasetError, RowError

DELIMITERS = ",;\t|"
_MAX_CELL_CHARACTERS = 2**27
_N_LINES_LOOKED_AT = 50
_UNNAMED = "column "
_TEXT_FORMULA = re.compile(r'="((?:[^"]|"")*)"', re.DOTALL)


class CsvRow(NamedTuple):
    """A row, or the error why it is not one, and the line on which it begins."""

    line: int
    fields: dict[str, str] | RowError


def read_csv(location: str, lines: Iterable[str], *, delimiter: str | None = None) -> Iterator[CsvRow]:
    """The rows of a CSV file.

    Leftovers from spreadsheets are dropped: rows and columns without content, spaces around names, a first line
    `sep=;`, and repeated headers in joined files. A column without a name is named after its position.

    Args:
        delimiter: None takes the one that fits the header and the first rows.

    Raises:
        DatasetError: this is not CSV, two columns have the same name, or there is only a header. The message names the
            line.
    """
    rest = iter(lines)
    head = _split_old_line_ends(list(islice(rest, _N_LINES_LOOKED_AT)))
    refuse_json(location, head)
    n_before = 0
    if head and head[0].lower().startswith("sep=") and len(head[0].strip()) == 5:
        delimiter, head, n_before = head[0].strip()[4], head[1:], 1
    refuse_other_lines(location, head, delimiter or DELIMITERS, n_before=n_before)
    delimiter = delimiter or _find_delimiter(head)
    spaced = bool(head) and _all_spaced(head[0], delimiter)
    records = _split_records(location, chain(head, rest), delimiter, spaced=spaced, n_before=n_before)
    line, names, _ = next(records, _Record(0, [], ""))
    columns = _name_columns(f"{location}:{line}", names)
    has_rows = False
    for record in records:
        has_rows = True
        if len(names) < 2 or record.cells != names:
            yield CsvRow(record.line, _read_record(location, record, columns, len(names), delimiter))
    if not names:
        raise DatasetError(f"{location}: is empty")
    if not has_rows:
        raise DatasetError(f"{location}: has no rows: there is only the line with the names {', '.join(columns)[:200]}")


class _Record(NamedTuple):
    line: int
    """On which it begins."""
    cells: list[str]
    text: str
    """Its lines as they are in the file: a quoted cell may contain line breaks."""


def _read_record(
    location: str, record: _Record, columns: Sequence[str], n_named: int, delimiter: str
) -> dict[str, str] | RowError:
    where, cells = f"{location}:{record.line}", record.cells
    surplus = [cell for cell in cells[n_named:] if cell.strip()]
    if len(cells) < n_named or surplus:
        return explain_length(where, len(cells), n_named, delimiter)
    if joined := explain_joined_lines(where, record.text, n_named, delimiter):
        return joined
    named = zip(columns, map(_read_formula, cells), strict=False)
    return {name: cell for name, cell in named if cell.strip() or not name.startswith(_UNNAMED)}


def _read_formula(cell: str) -> str:
    """A spreadsheet exports a text that must not become a number as the formula `="007"`."""
    found = _TEXT_FORMULA.fullmatch(cell)
    return found[1].replace('""', '"') if found else cell


def _name_columns(where: str, names: Sequence[str]) -> list[str]:
    columns = [_read_formula(name).strip() or f"{_UNNAMED}{place}" for place, name in enumerate(names, 1)]
    if repeated := sorted({c for c in columns if columns.count(c) > 1}):
        raise DatasetError(
            f"{where}: two columns have the same name: {', '.join(repeated)}. Rename one; or if this line is a row already,"
            f" {ADD_NAMES}."
        )
    return columns


def _split_records(
    location: str, lines: Iterable[str], delimiter: str, *, spaced: bool, n_before: int
) -> Iterator[_Record]:
    """The records that have content."""
    csv.field_size_limit(_MAX_CELL_CHARACTERS)
    read: list[str] = []

    def remember() -> Iterator[str]:
        for line in lines:
            read.append(line)
            yield line

    reader = csv.reader(remember(), delimiter=delimiter, skipinitialspace=spaced, strict=True)
    first = n_before + 1
    try:
        for values in reader:
            if any(value.strip() for value in values):
                yield _Record(first, values, "".join(read))
            first = n_before + reader.line_num + 1
            read.clear()
    except csv.Error as exc:
        problem = explain_broken_record(exc, "".join(read), first=first, delimiter=delimiter)
        raise DatasetError(f"{location}:{problem}") from exc


def _find_delimiter(head: Sequence[str]) -> str:
    """The separator for which the first rows have as many cells as the header. If there are several, the first of DELIMITERS."""
    widths = {delimiter: _count_cells(head, delimiter) for delimiter in DELIMITERS}
    several = [delimiter for delimiter in DELIMITERS if widths[delimiter][:1] > [1]]
    even = [d for d in several if len(set(widths[d])) == 1]
    return (even or several or [","])[0]


def _count_cells(head: Sequence[str], delimiter: str) -> list[int]:
    """Number of cells per record, without empty ones at its end. A record that cannot be read ends the list."""
    counts = []
    try:
        for values in csv.reader(head, delimiter=delimiter):
            filled = [place for place, value in enumerate(values, 1) if value.strip()]
            counts += filled[-1:]
    except csv.Error:
        pass
    return counts


def _all_spaced(header: str, delimiter: str) -> bool:
    """Whether a space follows every separator in the header. It then does not belong to the cells."""
    return 0 < header.count(delimiter) == header.count(f"{delimiter} ")


def _split_old_line_ends(head: list[str]) -> list[str]:
    """Split a file whose lines end in a single carriage return, which has been one line so far."""
    if len(head) == 1 and "\r" in head[0].rstrip("\r\n"):
        return [line + "\n" for line in head[0].split("\r") if line.strip()]
    return head
