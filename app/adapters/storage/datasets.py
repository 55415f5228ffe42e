"""Rows from files, the dataset hub, or memory."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pada_agent.app.adapters.storage.csv_rows import read_csv
from pada_agent.app.adapters.storage.json_rows import read_json
from pada_agent.app.adapters.storage.table_rows import draw_order, read_hub, read_parquet
from pada_agent.app.adapters.storage.text_files import read_lines
from pada_agent.core.errors import DatasetError
from pada_agent.core.ports import RawRow


class FileDatasets:
    """Implements `core.ports.DatasetSource`: files, the hub, and rows in memory.

    Files are `.jsonl`, `.json` (lines, an array, or an object with one list of rows), `.csv`, `.tsv` and `.parquet`, each
    also as `.gz`. Hub data sets are `hub:owner/name[@revision][:config]/split`, rows in memory `memory:NAME`.

    Args:
        memory: rows by the NAME of `memory:NAME`.
        workspace: paths are seen from this folder, and refused outside it; a server sets it, since its input comes
            from others. Without it they are seen from the working directory.
        max_rows: more than these are an error, unless `limit` takes fewer.
        max_file_bytes: larger files are not opened.
    """

    def __init__(
        self,
        memory: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        *,
        workspace: Path | None = None,
        max_rows: int | None = None,
        max_file_bytes: int | None = None,
    ) -> None:
        self._memory = memory or {}
        self._workspace = workspace
        self._max_rows = max_rows
        self._max_file_bytes = max_file_bytes

    def read(self, location: str, *, limit: int | None = None, shuffle: int | None = None) -> list[RawRow]:
        if location.startswith("hub:"):
            rows = (
                _make_row(location, str(n), row) for n, row in read_hub(location, self._count_wanted(limit), shuffle)
            )
            return self._check(location, list(rows))
        n_wanted = self._count_wanted(limit if shuffle is None else None)
        found = self._check(location, list(islice(self._open(location), n_wanted)))
        return [found[i] for i in draw_order(len(found), shuffle)[:limit]]

    def accept(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        location: str,
        limit: int | None = None,
        shuffle: int | None = None,
    ) -> list[RawRow]:
        n_bytes = len(json.dumps(rows, default=str)) if self._max_file_bytes is not None else 0
        if self._max_file_bytes is not None and n_bytes > self._max_file_bytes:
            raise DatasetError(f"{location}: rows of more than {self._max_file_bytes} bytes are not accepted here")
        wanted = rows[: self._count_wanted(limit if shuffle is None else None)]
        found = self._check(location, list(_place(location, wanted)))
        return [found[i] for i in draw_order(len(found), shuffle)[:limit]]

    def _count_wanted(self, limit: int | None) -> int | None:
        """One more than may be taken, so that too many show."""
        most = None if self._max_rows is None else self._max_rows + 1
        return min((n for n in (limit, most) if n is not None), default=None)

    def _check(self, location: str, rows: list[RawRow]) -> list[RawRow]:
        if not rows:
            raise DatasetError(f"{location}: has no rows")
        if self._max_rows is not None and len(rows) > self._max_rows:
            raise DatasetError(f"{location}: more than {self._max_rows} rows are not accepted here; set a limit")
        return rows

    def _open(self, location: str) -> Iterator[RawRow]:
        if location.startswith("memory:"):
            return self._read_memory(location)
        return _read_file(location, self._find(location), self._max_file_bytes)

    def _read_memory(self, location: str) -> Iterator[RawRow]:
        name = location.removeprefix("memory:")
        if name not in self._memory:
            raise DatasetError(f"{location}: no such rows; in memory there are: {', '.join(self._memory) or 'none'}")
        return _place(location, self._memory[name])

    def _find(self, location: str) -> Path:
        path = Path(location).expanduser() if self._workspace is None else self._find_inside(location, self._workspace)
        if not path.is_file():
            place = "in the workspace" if self._workspace else f"(looked from {Path.cwd()})"
            raise DatasetError(f"{location}: no such file {place}")
        if self._max_file_bytes is not None and path.stat().st_size > self._max_file_bytes:
            raise DatasetError(f"{location}: files larger than {self._max_file_bytes} bytes are not accepted here")
        return path

    def _find_inside(self, location: str, workspace: Path) -> Path:
        path = find_inside(location, workspace)
        if path is None:
            raise DatasetError(f"{location}: outside the workspace")
        return path


def find_inside(path: str, workspace: Path) -> Path | None:
    """The absolute path, links followed, as seen from the workspace; None when it leads out of it."""
    try:
        found = (workspace / path).resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, a loop of links
        return None
    return found if found.is_relative_to(workspace.resolve()) else None


def _read_file(location: str, path: Path, max_bytes: int | None) -> Iterator[RawRow]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else "".join(suffixes[-1:])
    if suffix == ".parquet":
        return _place(location, read_parquet(location, path, max_bytes))
    lines = read_lines(location, path, max_bytes)
    match suffix:
        case ".jsonl" | ".ndjson" | ".json":
            values = read_json(location, lines, may_be_pretty=suffix == ".json")
            return (_make_row(location, place, value) for place, value in values)
        case ".csv" | ".tsv":
            rows = read_csv(location, lines, delimiter="\t" if suffix == ".tsv" else None)
            return (_make_row(location, place, fields) for place, fields in rows)
        case _:
            raise DatasetError(
                f"{location}: unknown format {suffix!r}; use .jsonl, .json, .csv, .tsv or .parquet, each also as .gz"
            )


def _place(location: str, rows: Iterable[object]) -> Iterator[RawRow]:
    return (_make_row(location, str(n), fields) for n, fields in enumerate(rows, 1))


def _make_row(location: str, place: str, fields: object) -> RawRow:
    where = f"{location}:{place}"
    if not isinstance(fields, Mapping):
        raise DatasetError(f"{where}: expected an object with named fields, found {type(fields).__name__}")
    return RawRow(where=where, fields=dict(fields))
