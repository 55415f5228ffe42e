"""Rows in CSV and TSV, as spreadsheets and pandas write them."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from pada_agent.core.errors import DatasetError

DELIMITERS = ",;\t|"
_MAX_CELL_CHARACTERS = 2**27
_N_LINES_LOOKED_AT = 50


def read_csv(
    location: str, lines: Iterable[str], *, delimiter: str | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows, each with the number of its last line. Without `delimiter`, the one that fits header and first rows.

    What spreadsheets leave is dropped: rows and columns without a cell that holds something, spaces around names, a
    first line `sep=;`. A column without a name is called after its place.

    Raises:
        DatasetError: not CSV, two columns of one name, or a row of another length; names the line.
    """
    rest = iter(lines)
    head = _split_old_line_ends(list(islice(rest, _N_LINES_LOOKED_AT)))
    n_before = 0
    if head and head[0].lower().startswith("sep=") and len(head[0].strip()) == 5:
        delimiter, head, n_before = head[0].strip()[4], head[1:], 1
    delimiter = delimiter or _find_delimiter(head)
    csv.field_size_limit(_MAX_CELL_CHARACTERS)
    spaced = bool(head) and _all_spaced(head[0], delimiter)
    reader = csv.reader(chain(head, rest), delimiter=delimiter, skipinitialspace=spaced, strict=True)
    records = _split_records(location, reader, n_before)
    _, names = next(records, (0, []))
    columns = _name_columns(location, names, n_before + 1)
    for number, cells in records:
        yield str(number), _read_record(f"{location}:{number}", cells, columns, n_named=len(names))


def _read_record(where: str, cells: Sequence[str], columns: Sequence[str], *, n_named: int) -> dict[str, str]:
    surplus = [cell for cell in cells[n_named:] if cell.strip()]
    if len(cells) < n_named or surplus:
        raise DatasetError(f"{where}: {len(cells)} values for {n_named} columns")
    named = zip(columns, cells, strict=False)
    return {name: cell for name, cell in named if cell.strip() or not name.startswith(_UNNAMED)}


_UNNAMED = "column "


def _name_columns(location: str, names: Sequence[str], line: int) -> list[str]:
    columns = [name.strip() or f"{_UNNAMED}{place}" for place, name in enumerate(names, 1)]
    if repeated := sorted({c for c in columns if columns.count(c) > 1}):
        raise DatasetError(f"{location}:{line}: two columns have the same name: {', '.join(repeated)}")
    return columns


def _split_records(location: str, reader: Any, n_before: int) -> Iterator[tuple[int, list[str]]]:
    """Records that hold something, each with the number of its last line (a quoted cell may hold line breaks)."""
    try:
        for values in reader:
            if any(value.strip() for value in values):
                yield reader.line_num + n_before, values
    except csv.Error as exc:
        raise DatasetError(
            f"{location}:{reader.line_num + n_before}: not valid CSV: {exc}. Put cells that contain a quote, a line break"
            " or the separator in quotes, and double each quote inside."
        ) from exc


def _find_delimiter(head: Sequence[str]) -> str:
    """The separator with which the first rows have as many cells as the header; of several, the first of DELIMITERS."""
    widths = {delimiter: _count_cells(head, delimiter) for delimiter in DELIMITERS}
    several = [delimiter for delimiter in DELIMITERS if widths[delimiter][:1] > [1]]
    even = [d for d in several if len(set(widths[d])) == 1]
    return (even or several or [","])[0]


def _count_cells(head: Sequence[str], delimiter: str) -> list[int]:
    """Cells of each record, without empty ones at its end; what cannot be read ends the list."""
    counts = []
    try:
        for values in csv.reader(head, delimiter=delimiter):
            filled = [place for place, value in enumerate(values, 1) if value.strip()]
            counts += filled[-1:]
    except csv.Error:
        pass
    return counts


def _all_spaced(header: str, delimiter: str) -> bool:
    """Whether a space follows each separator of the header: then it belongs to no cell."""
    return 0 < header.count(delimiter) == header.count(f"{delimiter} ")


def _split_old_line_ends(head: list[str]) -> list[str]:
    """A file whose lines end in a carriage return alone is one line so far."""
    if len(head) == 1 and "\r" in head[0].rstrip("\r\n"):
        return [line + "\n" for line in head[0].split("\r") if line.strip()]
    return head
