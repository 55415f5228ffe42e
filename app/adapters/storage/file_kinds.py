"""Finds out what a file really is, whatever its name says."""

import io
import re
import zipfile
from contextlib import suppress
from typing import IO, NamedTuple

HEAD_BYTES = 4096
"""Number of bytes that are examined."""


class FileKind(NamedTuple):
    """A format in words, and what to do to use its rows."""

    name: str
    way_out: str


GZIP = FileKind("gzip", "Add .gz to its name")
_PACKED = "Unpack it, and name the file inside"
_SHEET = "Save the sheet as CSV (UTF-8)"
_TABLE = "Export the table as CSV, JSON Lines or Parquet"

_BEGINNINGS: tuple[tuple[str, FileKind], ...] = (
    (r"PAR1", FileKind("Parquet", "Name it .parquet")),
    (r"\x1f\x8b", GZIP),
    (r"ARROW1|FEA1", FileKind("Arrow or Feather", "Save it as Parquet")),
    (r"SQLite format 3\x00", FileKind("an SQLite database", _TABLE)),
    (r"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FileKind("an old Excel or Word file", _SHEET)),
    (r"BZh\d1AY&SY", FileKind("bzip2", _PACKED)),
    (r"\xfd7zXZ\x00", FileKind("xz", _PACKED)),
    (r"\x28\xb5\x2f\xfd", FileKind("zstd", _PACKED)),
    (r"7z\xbc\xaf\x27\x1c", FileKind("a 7z archive", _PACKED)),
    (r"Rar!\x1a\x07", FileKind("a RAR archive", _PACKED)),
    (r"(?s:.{257})ustar", FileKind("a tar archive", _PACKED)),
    (r"%PDF-", FileKind("a PDF", _TABLE)),
    (r"\x89PNG|\xff\xd8\xff|GIF8", FileKind("an image", "Name a file that contains rows")),
    (r"\{\\rtf", FileKind("a text with formatting (RTF)", "Save it as plain text")),
    (r"\x93NUMPY", FileKind("a NumPy array", _TABLE)),
    (r"\x80[\x02-\x05]", FileKind("a Python pickle, which may run code", _TABLE)),
    (r"version https://git-lfs", FileKind("a pointer of Git LFS, not the data", "Fetch the data: git lfs pull")),
    (r"(?i)(\xef\xbb\xbf)?\s*<(!doctype html|html)", FileKind("a web page", "Fetch the file itself, not the page that shows it")),
    (r"(\xef\xbb\xbf)?\s*<\?xml", FileKind("XML", _TABLE)),
)  # fmt: skip


def find_kind(file: IO[bytes]) -> FileKind | None:
    """The format that the first bytes reveal, unless it is read as text. The file is left at its beginning."""
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        kind = _look_into_zip(file)
        file.seek(0)
        return kind
    return next((kind for begin, kind in _BEGINNINGS if re.match(begin.encode("latin-1"), head)), None)


def _look_into_zip(file: IO[bytes]) -> FileKind:
    names: list[str] = []
    with suppress(zipfile.BadZipFile, OSError, ValueError, NotImplementedError), zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    if any(name.startswith("xl/") for name in names):
        return FileKind("an Excel workbook", _SHEET)
    if "mimetype" in names and "content.xml" in names:
        return FileKind("an OpenDocument file", _SHEET)
    listed = f" ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})" if names else ""
    return FileKind("a ZIP archive", f"{_PACKED}{listed}")


class TextKind(NamedTuple):
    """A text format in words, and the suffix of its files."""

    name: str
    suffix: str


def guess_text(text: str) -> TextKind | None:
    """Which of the text formats this looks like the beginning of. None if it looks like none."""
    first = next((line for line in io.StringIO(text) if line.strip()), "").strip()
    if first.startswith("{"):
        return TextKind("JSON Lines", ".jsonl")
    if re.match(r"\[\s*([{\[]|$)", first):
        return TextKind("JSON", ".json")
    return next((kind for separator, kind in _SEPARATED if _is_even(text, separator)), None)


_SEPARATED = ((",", TextKind("CSV", ".csv")), (";", TextKind("CSV", ".csv")), ("\t", TextKind("TSV", ".tsv")))


def _is_even(text: str, separator: str) -> bool:
    """Whether the header and most lines after it contain the separator equally often."""
    lines = [line for line in io.StringIO(text) if line.strip()][:20]
    counts = [_UNQUOTED.sub("", line).count(separator) for line in lines]
    return bool(counts) and counts[0] > 0 and 2 * counts.count(counts[0]) > len(counts)


_UNQUOTED = re.compile(r'"[^"]*"')
