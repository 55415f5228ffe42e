"""Reads the rows of one file by what its name says, and refuses a file that is something else."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pada_agent.app.adapters.storage.csv_problems import doubt_header
from pada_agent.app.adapters.storage.csv_rows import read_csv
from pada_agent.app.adapters.storage.file_kinds import GZIP, HEAD_BYTES, FileKind, find_kind, guess_text
from pada_agent.app.adapters.storage.json_layouts import Placed
from pada_agent.app.adapters.storage.json_problems import ONE_A_LINE, spell_type
from pada_agent.app.adapters.storage.json_rows import read_json
from pada_agent.app.adapters.storage.table_rows import read_parquet
from pada_agent.app.adapters.storage.text_files import open_bytes, read_lines
from pada_agent.core.errors import DatasetError, RowError
from pada_agent.core.raw_rows import RawRow
from pada_agent.evaluation.rows.row_errors import tell_alike

JSON = (".jsonl", ".ndjson", ".json")
CSV = (".csv", ".tsv")
PARQUET = ".parquet"
_FORMATS = "use .jsonl, .json, .csv, .tsv or .parquet, each also as .gz"
_ALONE = f"The file is one object, and is read as one row. {ONE_A_LINE}"


def read_file(location: str, path: Path, max_bytes: int | None) -> Iterator[Placed]:
    """The values in a file that should be rows, one by one.

    Raises:
        DatasetError: the file is not what its name says, or cannot be read.
    """
    suffix = _take_suffix(path.name)
    _refuse_other_kinds(location, path, suffix, max_bytes)
    if suffix == PARQUET:
        return number_rows(read_parquet(location, path, max_bytes))
    lines = read_lines(location, path, max_bytes)
    if suffix in JSON:
        return read_json(location, lines, may_be_pretty=suffix == ".json")
    rows = read_csv(location, lines, delimiter="\t" if suffix == ".tsv" else None)
    return ((str(row.line), row.fields) for row in rows)


def make_rows(location: str, placed: Sequence[Placed]) -> list[RawRow]:
    """Turn values that should be rows into rows.

    Raises:
        DatasetError: one line for each fault, with the first places that have it.
    """
    problems = [problem for place, fields in placed if (problem := _find_problem(f"{location}:{place}", fields))]
    if problems:
        raise DatasetError("\n".join(tell_alike(problems)))
    doubt = _doubt(location, [fields for _, fields in placed])
    return [RawRow(where=f"{location}:{place}", fields=dict(fields), doubt=doubt) for place, fields in placed]


def number_rows(rows: Iterable[object]) -> Iterator[Placed]:
    """Each row with its number, from 1."""
    return ((str(n), fields) for n, fields in enumerate(rows, 1))


def _find_problem(where: str, fields: object) -> RowError | None:
    if isinstance(fields, RowError | Mapping):
        return fields if isinstance(fields, RowError) else None
    problem = f"expected an object with named fields, found {spell_type(fields)}. {ONE_A_LINE}"
    return RowError(where, problem, "no object", spell_type(fields))


def _doubt(location: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """What to say if a field is missing in rows of this file."""
    suffix = _take_suffix(location)
    if suffix in CSV and rows:
        return doubt_header(list(rows[0]), rows)
    return _ALONE if suffix in JSON and len(rows) == 1 else ""


def _take_suffix(name: str) -> str:
    """The suffix that tells the format, without that of a compressed file."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    return suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else "".join(suffixes[-1:])


def _refuse_other_kinds(location: str, path: Path, suffix: str, max_bytes: int | None) -> None:
    with open_bytes(location, path, max_bytes) as file:
        kind = find_kind(file)
        head = file.read(HEAD_BYTES).decode("utf-8", "ignore")
    if kind == GZIP and path.suffix.lower() == ".gz":
        raise DatasetError(f"{location}: is packed twice. Unpack it once, and keep its name")
    if suffix not in (*JSON, *CSV, PARQUET):
        problem = (
            f"unknown format {suffix!r}; {_FORMATS}"
            if suffix
            else f"its name does not say which format it has; {_FORMATS}"
        )
        raise DatasetError(f"{location}: {problem}. {_describe(kind, head)}".rstrip(" ."))
    if suffix == PARQUET and kind is None:
        raise DatasetError(f"{location}: not a readable Parquet file. {_describe(kind, head)}".rstrip(" ."))
    if kind is not None and kind.name.lower() != suffix.removeprefix("."):
        raise DatasetError(f"{location}: is {kind.name}, not {suffix.removeprefix('.')}. {kind.way_out}")


def _describe(kind: FileKind | None, head: str) -> str:
    """What the file is, if that is known."""
    if kind is not None:
        return f"It is {kind.name}. {kind.way_out}"
    text = guess_text(head)
    return f"It looks like {text.name}: if it is, name it {text.suffix}" if text else ""
