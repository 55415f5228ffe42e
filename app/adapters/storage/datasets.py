"""Rows from files or the Hugging Face hub."""

import json
import stat
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pada_agent.app.adapters.storage.given_rows import to_plain
from pada_agent.app.adapters.storage.json_layouts import Placed
from pada_agent.app.adapters.storage.missing_files import find_other_form, suggest_location
from pada_agent.app.adapters.storage.row_files import make_rows, number_rows, read_file
from pada_agent.app.adapters.storage.slices import split_slice
from pada_agent.app.adapters.storage.table_rows import draw_order, read_hub
from pada_agent.core.errors import DatasetError
from pada_agent.core.raw_rows import RawRow

_LONG_PATH = 200


class FileDatasets:
    """Implements `core.ports.DatasetSource`: files and the hub.

    Files are `.jsonl`, `.json` (lines, an array, or an object with one list of rows), `.csv`, `.tsv` and `.parquet`,
    each also as `.gz`. Hub data sets are `hub:owner/name[@revision][:config]/split`. Each may end with a slice of its
    rows (`rows.csv[:80%]`), which is taken after shuffling.

    Args:
        workspace: paths are relative to this folder and refused outside it. A server sets it, because its input comes
            from others. None: paths are relative to the working directory.
        max_rows: more rows than this are an error, unless `limit` takes fewer.
        max_file_bytes: larger files are not opened.
    """

    def __init__(
        self,
        *,
        workspace: Path | None = None,
        max_rows: int | None = None,
        max_file_bytes: int | None = None,
    ) -> None:
        self._workspace = workspace
        self._max_rows = max_rows
        self._max_file_bytes = max_file_bytes

    def read(self, location: str, *, limit: int | None = None, shuffle: int | None = None) -> list[RawRow]:
        if location.startswith("hub:"):
            rows = read_hub(location, self._count_wanted(limit), shuffle)
            return self._check(location, make_rows(location, [(str(n), row) for n, row in rows]))
        file, cut = split_slice(location)
        n_wanted = self._count_wanted(limit if shuffle is None and cut is None else None)
        placed = list(islice(self._open(file), n_wanted))
        found = self._check(file, make_rows(file, placed))
        order = draw_order(len(found), shuffle)
        if cut is not None and not (order := cut.take(order)):
            raise DatasetError(f"{location}: the slice is empty, because the file has {len(found)} rows")
        return [found[i] for i in order[:limit]]

    def accept(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        location: str,
        limit: int | None = None,
        shuffle: int | None = None,
    ) -> list[RawRow]:
        rows = [to_plain(row) for row in rows]
        n_bytes = len(json.dumps(rows, default=str)) if self._max_file_bytes is not None else 0
        if self._max_file_bytes is not None and n_bytes > self._max_file_bytes:
            raise DatasetError(f"{location}: rows of more than {self._max_file_bytes} bytes are not accepted here")
        wanted = rows[: self._count_wanted(limit if shuffle is None else None)]
        found = self._check(location, make_rows(location, list(number_rows(wanted))))
        return [found[i] for i in draw_order(len(found), shuffle)[:limit]]

    def _count_wanted(self, limit: int | None) -> int | None:
        """One more than allowed, so that too many rows are noticed."""
        most = None if self._max_rows is None else self._max_rows + 1
        return min((n for n in (limit, most) if n is not None), default=None)

    def _check(self, location: str, rows: list[RawRow]) -> list[RawRow]:
        if not rows:
            raise DatasetError(f"{location}: has no rows")
        if self._max_rows is not None and len(rows) > self._max_rows:
            raise DatasetError(
                f"{location}: more than {self._max_rows} rows are not accepted here. Set a limit (without data.shuffle and"
                " slices, which need all rows of a file), or give a smaller file"
            )
        return rows

    def _open(self, location: str) -> Iterator[Placed]:
        return read_file(location, self._find(location), self._max_file_bytes)

    def _find(self, location: str) -> Path:
        path = self._resolve(location)
        try:
            status = path.stat()
        except (OSError, ValueError) as exc:
            if not str(path).isascii() and (other := find_other_form(path)) is not None and other != path:
                return self._find(str(other))
            place = "in the workspace" if self._workspace else f"(in {Path.cwd()})"
            is_short = len(location) <= _LONG_PATH
            hint = suggest_location(location, path, may_look=self._workspace is None) if is_short else ""
            shown = location if is_short else f"{location[:_LONG_PATH]}…"
            shown = shown if shown == shown.strip() else repr(shown)
            raise DatasetError(f"{shown}: no such file {place}{hint and f'.{hint}'}") from exc
        if not stat.S_ISREG(status.st_mode):
            raise DatasetError(
                f"{location}: is {'a folder' if path.is_dir() else 'not an ordinary file'}. Name a file in it"
            )
        if not status.st_size:
            raise DatasetError(f"{location}: is empty")
        if self._max_file_bytes is not None and status.st_size > self._max_file_bytes:
            raise DatasetError(f"{location}: files larger than {self._max_file_bytes} bytes are not accepted here")
        return path

    def _resolve(self, location: str) -> Path:
        if self._workspace is not None:
            return self._find_inside(location, self._workspace)
        try:
            return Path(location).expanduser()
        except RuntimeError as exc:
            raise DatasetError(f"{location}: no such user, so there is no home folder to look in") from exc

    def _find_inside(self, location: str, workspace: Path) -> Path:
        path = find_inside(location, workspace)
        if path is None:
            raise DatasetError(f"{location}: outside the workspace")
        return path


def find_inside(path: str, workspace: Path) -> Path | None:
    """The absolute path below the workspace, with links followed. None if it leads out of the workspace."""
    try:
        found = (workspace / path).resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, a loop of links
        return None
    return found if found.is_relative_to(workspace.resolve()) else None
