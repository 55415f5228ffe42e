"""Rows from files, the dataset hub, or memory."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pada_agent.core.errors import DatasetError
from pada_agent.core.ports import RawRow

_HUB = re.compile(r"hub:(?P<repo>[^/:]+/[^/:]+)(?::(?P<config>[^/]+))?/(?P<split>[^/]+)")
_EXTRA = "needs an extra package: pip install 'pada-agent[data]'"


class FileDatasets:
    """Implements `core.ports.DatasetSource`: `.jsonl`, `.json`, `.csv`, `.parquet`, `hub:owner/name[:config]/split`, `memory:NAME`.

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

    def read(self, location: str, *, limit: int | None = None) -> list[RawRow]:
        n_wanted = self._count_wanted(limit)
        return self._check(location, list(islice(self._open(location, n_wanted), n_wanted)))

    def accept(self, rows: Sequence[Mapping[str, Any]], *, location: str, limit: int | None = None) -> list[RawRow]:
        n_bytes = len(json.dumps(rows, default=str)) if self._max_file_bytes is not None else 0
        if self._max_file_bytes is not None and n_bytes > self._max_file_bytes:
            raise DatasetError(f"{location}: rows of more than {self._max_file_bytes} bytes are not taken here")
        wanted = rows[: self._count_wanted(limit)]
        return self._check(location, [_make_row(location, n, fields) for n, fields in enumerate(wanted, 1)])

    def _count_wanted(self, limit: int | None) -> int | None:
        """One more than may be taken, so that too many show."""
        most = None if self._max_rows is None else self._max_rows + 1
        return min((n for n in (limit, most) if n is not None), default=None)

    def _check(self, location: str, rows: list[RawRow]) -> list[RawRow]:
        if not rows:
            raise DatasetError(f"{location}: has no rows")
        if self._max_rows is not None and len(rows) > self._max_rows:
            raise DatasetError(f"{location}: more than {self._max_rows} rows are not taken here; set a limit")
        _check_ids(rows)
        return rows

    def _open(self, location: str, limit: int | None) -> Iterator[RawRow]:
        if location.startswith("memory:"):
            return self._read_memory(location)
        if location.startswith("hub:"):
            return _read_hub(location, limit)
        return _read_file(location, self._find(location))

    def _read_memory(self, location: str) -> Iterator[RawRow]:
        name = location.removeprefix("memory:")
        if name not in self._memory:
            raise DatasetError(f"{location}: no such rows; in memory are: {', '.join(self._memory) or 'none'}")
        return (_make_row(location, n, fields) for n, fields in enumerate(self._memory[name], 1))

    def _find(self, location: str) -> Path:
        path = Path(location).expanduser() if self._workspace is None else self._find_inside(location, self._workspace)
        if not path.is_file():
            place = "in the workspace" if self._workspace else f"(looked from {Path.cwd()})"
            raise DatasetError(f"{location}: no such file {place}")
        if self._max_file_bytes is not None and path.stat().st_size > self._max_file_bytes:
            raise DatasetError(f"{location}: files above {self._max_file_bytes} bytes are not taken here")
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


def _read_file(location: str, path: Path) -> Iterator[RawRow]:
    match path.suffix.lower():
        case ".jsonl" | ".json":
            return _read_json_lines(location, path)
        case ".csv":
            return _read_csv(location, path)
        case ".parquet":
            return _read_parquet(location, path)
        case suffix:
            raise DatasetError(f"{location}: unknown format '{suffix}'; use .jsonl, .json, .csv or .parquet")


def _read_json_lines(location: str, path: Path) -> Iterator[RawRow]:
    for number, line in enumerate(_decode_lines(location, path), 1):
        if line.strip():
            yield _make_row(location, number, _parse_json(f"{location}:{number}", line))


def _parse_json(where: str, line: str) -> Any:
    try:
        value = json.loads(line)
        if "\\ud" in line.lower():  # an escaped half of a surrogate pair parses, but no tokenizer or file takes it
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as exc:
        raise DatasetError(f"{where}: not valid JSON: {exc}. Each line holds one object.") from exc
    return value


def _read_csv(location: str, path: Path) -> Iterator[RawRow]:
    reader = csv.reader(_decode_lines(location, path), strict=True)
    cells = _split_cells(location, reader)
    _, columns = next(cells, (0, []))
    if repeated := {c for c in columns if columns.count(c) > 1}:
        raise DatasetError(f"{location}:1: column named twice: {', '.join(sorted(repeated))}")
    for number, values in cells:
        if len(values) != len(columns):
            raise DatasetError(f"{location}:{number}: {len(values)} values for {len(columns)} columns")
        yield _make_row(location, number, dict(zip(columns, values, strict=True)))


def _split_cells(location: str, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Non-empty records, each with the number of its last line (a quoted cell may hold line breaks)."""
    try:
        for values in reader:
            if values:
                yield reader.line_num, values
    except csv.Error as exc:
        raise DatasetError(f"{location}:{reader.line_num}: not valid CSV: {exc}") from exc


def _decode_lines(location: str, path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as exc:
                raise DatasetError(f"{location}:{number}: not UTF-8 ({exc.reason} at byte {exc.start + 1})") from exc


def _read_parquet(location: str, path: Path) -> Iterator[RawRow]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as exc:
        raise DatasetError(f"{location}: Parquet {_EXTRA}") from exc
    try:
        batches = parquet.ParquetFile(path).iter_batches()
        rows = (fields for batch in batches for fields in batch.to_pylist())
        yield from (_make_row(location, n, fields) for n, fields in enumerate(rows, 1))
    except (OSError, pyarrow.ArrowException) as exc:
        raise DatasetError(f"{location}: not a readable Parquet file: {exc}") from exc


def _read_hub(location: str, limit: int | None) -> Iterator[RawRow]:
    parts = _HUB.fullmatch(location)
    if parts is None:
        raise DatasetError(f"{location}: expected hub:owner/name/split or hub:owner/name:config/split")
    rows = _load_hub(location, parts)
    chosen = rows if limit is None else rows.select(range(min(limit, len(rows))))
    return (_make_row(location, n, fields) for n, fields in enumerate(chosen, 1))


def _load_hub(location: str, parts: re.Match[str]) -> Any:
    try:
        import datasets
        import httpx
    except ImportError as exc:
        raise DatasetError(f"{location}: the dataset hub {_EXTRA}") from exc
    try:
        return datasets.load_dataset(parts["repo"], parts["config"], split=parts["split"])
    except (OSError, ValueError, httpx.HTTPError) as exc:
        raise DatasetError(f"{location}: cannot be loaded: {exc}. Check the name and the network.") from exc


def _make_row(location: str, number: int, fields: object) -> RawRow:
    where = f"{location}:{number}"
    if not isinstance(fields, Mapping):
        raise DatasetError(f"{where}: expected an object with named fields, found {type(fields).__name__}")
    return RawRow(where=where, fields=dict(fields))


def _check_ids(rows: Iterable[RawRow]) -> None:
    seen: dict[str, str] = {}
    for row in rows:
        name = row.fields.get("id")
        if name is None:
            continue
        if str(name) in seen:
            raise DatasetError(f"{row.where}: id {name!r} stands also at {seen[str(name)]}; ids must differ")
        seen[str(name)] = row.where
