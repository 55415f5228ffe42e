"""The object store in a run's directory: `objects/<key>/rows.jsonl` or `value.json`."""

import errno
import hashlib
import json
import os
import shutil
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from pada_agent.core.damage import FREE_SPACE, refuse_unread
from pada_agent.core.errors import ArtifactError, ConfigError
from pada_agent.core.json_lines import read_json_lines
from pada_agent.core.records import Record

if TYPE_CHECKING:
    import numpy as np

R = TypeVar("R", bound=Record)

ROWS = "rows.jsonl"
VALUE = "value.json"
MATRIX = "matrix.npy"
RESUME = (
    "To redo what is missing and reuse the rest: delete the run's checkpoints.sqlite, then `pada resume` it; in an"
    " application or on a server, start it again on the same thread."
)
"""The way out for the command line, whose runs have that file, and for graphs with another checkpointer."""
_OTHER_VERSION = (
    "If another version of pada-agent wrote it, use that one; the run's manifest.json names it. Otherwise: "
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
SCRATCH = ".export-"
"""How the names of folders begin in which exports are made."""
MAX_KEPT_ROWS = 200_000
"""Number of rows kept in memory, over all objects. Short rows take about 1 KB each."""


class FileArtifactStore:
    """Implements `core.ports.ArtifactStore` with files. Safe for several threads and processes, because writers replace whole files."""

    def __init__(self, objects_folder: Path) -> None:
        self._objects = objects_folder
        self._kept: OrderedDict[tuple[str, type[Record]], tuple[tuple[int, int] | None, tuple[Any, ...]]] = (
            OrderedDict()
        )
        self._lock = Lock()

    def key(self, kind: str, *inputs: object) -> str:
        text = json.dumps(inputs, default=_dump_record, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return f"{kind}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"

    def has(self, key: str) -> bool:
        """Whether rows or a value are stored. Other files in the folder do not count."""
        return any((self._locate(key) / name).is_file() for name in (ROWS, VALUE))

    def folder(self, key: str) -> Path:
        """The object's folder. Created if it does not exist."""
        path = self._locate(key)
        return make_folder(path)

    def write_rows(self, key: str, rows: Sequence[Record]) -> Path:
        text = "".join(_to_json(row.model_dump()) + "\n" for row in rows)
        return write_atomically(self.folder(key) / ROWS, text)

    def read_rows(self, key: str, kind: type[R]) -> list[R]:
        """Rows are kept in memory for the next reader, because stored objects never change and some are needed for every batch."""
        path = self.rows_path(key)
        found = stamp(path)
        with self._lock:
            kept = self._kept.get((key, kind))
            if kept and kept[0] == found:
                self._kept.move_to_end((key, kind))
                return list(kept[1])
        rows = read_json_lines(
            path, kind, if_missing=RESUME, if_damaged=_repair(path), if_unfit=f"{_OTHER_VERSION}{_repair(path)}"
        )
        with self._lock:
            self._kept[key, kind] = (found, tuple(rows))
            while len(self._kept) > 1 and sum(len(kept[1]) for kept in self._kept.values()) > MAX_KEPT_ROWS:
                self._kept.popitem(last=False)
        return rows

    def rows_path(self, key: str) -> Path:
        return self._locate(key) / ROWS

    def write_json(self, key: str, value: Mapping[str, Any]) -> Path:
        return write_atomically(self.folder(key) / VALUE, _to_json(dict(value)))

    def read_json(self, key: str) -> dict[str, Any]:
        path = self._locate(key) / VALUE
        try:
            value = json.loads(_read(path))
        except ValueError as exc:
            raise _damaged(path, str(exc)) from exc
        if not isinstance(value, dict):
            raise _damaged(path, f"expected an object, found {type(value).__name__}")
        return value

    def write_matrix(self, key: str, matrix: "np.ndarray") -> Path:
        import numpy as np

        buffer = BytesIO()
        np.save(buffer, matrix, allow_pickle=False)
        return write_atomically(self.folder(key) / MATRIX, buffer.getbuffer())

    def read_matrix(self, key: str) -> "np.ndarray | None":
        """Memory-mapped, so pages that nobody reads take no memory."""
        import numpy as np

        path = self._locate(key) / MATRIX
        try:
            matrix: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise refuse_unread(path, exc) from exc
        except ValueError as exc:
            raise _damaged(path, str(exc)) from exc
        return matrix

    def _locate(self, key: str) -> Path:
        """A run's state can be edited by whoever holds its thread, so a key must be a plain name and never leads out of the folder."""
        if not key or key.startswith(".") or "/" in key or "\0" in key:
            raise ArtifactError(f"{self._objects}: {key!r} is not the name of an object")
        return self._objects / key


def write_atomically(path: Path, content: str | memoryview) -> Path:
    """Write a file that readers see as a whole or not at all, with the permissions that the umask gives.

    Raises:
        ArtifactError: the disk is full, or the folder is not writable.
    """
    with explain_writing(path):
        temporary = path.with_name(f".{path.name}-{uuid4().hex[:12]}")
        try:
            with temporary.open("xb") as file:
                file.write(content.encode("utf-8") if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    return path


def make_folder(path: Path) -> Path:
    """The folder, with those above it, made if it does not exist.

    Raises:
        ArtifactError: it cannot be made.
    """
    with explain_writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def check_new(out: Path) -> None:
    """Check that a user's new folder does not exist yet, or is empty but for what a killed export left.

    Raises:
        ConfigError: it exists.
        ArtifactError: nobody can say.
    """
    with explain_writing(out):
        if out.exists() and (not out.is_dir() or _holds_something(out)):
            raise _refuse_existing(out)


@contextmanager
def making_beside(out: Path) -> Iterator[Path]:
    """A folder of the caller's own for what will be moved to `out` by `move` when it is complete. Removed in any case.

    It is next to `out`, or in it if that exists: an empty folder may be a link or a mount, and so on another disk.
    """
    beside = f"{SCRATCH}{uuid4().hex[:12]}"
    scratch = make_folder(out / beside if out.is_dir() else out.parent / beside)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def move(made: Path, out: Path) -> None:
    """Give a complete folder its place.

    Raises:
        ConfigError: something was put there meanwhile.
        ArtifactError: it cannot be there.
    """
    with explain_writing(out):
        if not out.is_dir():
            made.replace(out)
            return
        if _holds_something(out):
            raise _refuse_existing(out)
        for member in list(made.iterdir()):  # an empty folder stays: it may be a link, a mount or the working folder
            member.replace(out / member.name)


def _holds_something(out: Path) -> bool:
    return any(not member.name.startswith(SCRATCH) for member in out.iterdir())


def _refuse_existing(out: Path) -> ConfigError:
    return ConfigError(f"{out}: already exists. Choose another --out.")


@contextmanager
def explain_writing(path: Path) -> Iterator[None]:
    """Raise errors of writing there as `ArtifactError`."""
    try:
        yield
    except OSError as exc:
        raise ArtifactError(f"{path}: {tell_why_unwritten(exc)}") from exc


def is_disk_full(error: OSError | sqlite3.Error) -> bool:
    """SQLite has a number of its own for it; `shutil.copytree` tells it in words."""
    if isinstance(error, shutil.Error):
        return any(f"[Errno {number}]" in str(error) for number in _FULL)
    return getattr(error, "errno", None) in _FULL or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def tell_why_unwritten(error: OSError | sqlite3.Error) -> str:
    """Why something could not be written, and the way out, which exists whether or not a run's folder is kept."""
    if is_disk_full(error):
        return f"the disk is full. {FREE_SPACE}"
    return f"cannot be written ({getattr(error, 'strerror', None) or error}). Change its permissions, or choose another place."


def _dump_record(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"an object's address needs JSON-able inputs, got {type(value).__name__}")


def _to_json(value: object) -> str:
    # json keeps infinite log-likelihoods, which pydantic would write as null.
    return json.dumps(value, ensure_ascii=False, default=to_jsonable_python)


def stamp(path: Path) -> tuple[int, int] | None:
    """Changes when the file is written again. None if it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError as exc:
        raise ArtifactError(f"{path}: missing. {RESUME}") from exc
    except OSError as exc:
        raise refuse_unread(path, exc) from exc
    except UnicodeDecodeError as exc:
        raise _damaged(path, str(exc)) from exc


def _damaged(path: Path, what: str) -> ArtifactError:
    return ArtifactError(f"{path}: damaged ({what}). {_repair(path)}")


def _repair(path: Path) -> str:
    return f"Delete the folder {path.parent}. {RESUME}"
