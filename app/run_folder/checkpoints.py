"""Lets a checkpointer save the state, and reads the last checkpoint."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from pydantic import BaseModel, TypeAdapter

import pada_agent.graph.state  # noqa: F401  its records count among the subclasses
from pada_agent.app.adapters.llm.response_cache import open_unchanged
from pada_agent.app.adapters.storage.artifacts import RESUME, ROWS, FileArtifactStore
from pada_agent.app.adapters.storage.given_rows import make_storable
from pada_agent.app.run_folder import layout
from pada_agent.app.run_folder.versions import tell_other
from pada_agent.core.config import Settings
from pada_agent.core.damage import refuse_unread, word_damage
from pada_agent.core.errors import ArtifactError
from pada_agent.core.records import BatchReport, Record, Ref
from pada_agent.graph.batch_rounds import BatchRound
from pada_agent.graph.state import RunState

THREAD_ID = "run"
"""LangGraph thread of the one run in a folder's checkpoints."""


_ODD = (ArithmeticError, AttributeError, EOFError, ImportError, LookupError, NotImplementedError, TypeError, ValueError)
"""What decoders raise on bytes that they did not write."""


_OUT_OF_REACH = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)
"""What SQLite says of a file that it may not open or write, whole or not."""


class DamagedCheckpoint(ArtifactError):
    """A checkpoint that this version cannot read, wherever it is kept."""


class _Serializer(JsonPlusSerializer):
    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        return super().dumps_typed(make_storable(obj))

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        try:
            return super().loads_typed(data)
        except (*_ODD, RecursionError) as exc:
            raise DamagedCheckpoint(f"a value in the checkpoint cannot be read ({exc})") from exc


def make_serializer() -> JsonPlusSerializer:
    """A serializer for any checkpointer (`serde=`). It restores the state's records and settings, and no other class that a file may name."""
    return _Serializer(allowed_msgpack_modules=[*_subclasses(Record), *_subclasses(Settings)])


@contextmanager
def open_checkpoints(path: Path) -> Iterator[SqliteSaver]:
    """The checkpoints of the one run in `path`.

    Raises:
        ArtifactError: the file is damaged or kept busy, or another version wrote it, or the disk is full. Also raised for
            what happens inside the `with` block.
    """
    with _explained(path), SqliteSaver.from_conn_string(str(path)) as saver:
        saver.serde = make_serializer()
        read_values(saver)
        yield saver


def read_state(path: Path) -> RunState:
    """The outer graph's state in the last checkpoint, without the updates of running nodes. Empty if there is none.

    The file is not written to, so it may be in a folder that only others may change.

    Raises:
        ArtifactError: the file is damaged or kept busy by the run, or another version wrote it.
    """
    if not path.is_file():
        return {}
    with _explained(path), closing(open_unchanged(path)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'checkpoints'").fetchone():
            return {}
        saver = SqliteSaver(database, serde=make_serializer())
        saver.is_setup = True  # it would write
        return read_values(saver)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except DamagedCheckpoint as exc:
        advice = tell_other(path.parent / layout.MANIFEST) or f"If the file is damaged, {_start_over(path)}"
        raise ArtifactError(f"{path}: {exc}. {advice}") from exc
    except sqlite3.Error as exc:
        if getattr(exc, "sqlite_errorcode", None) in _OUT_OF_REACH:
            raise ArtifactError(f"{path}: {exc}. Check its permissions and its disk, then try again.") from exc
        raise ArtifactError(
            f"{path}: {exc}. If the run is still active, try again; if the disk is full, free some space. If the file is"
            f" damaged, {_start_over(path)}"
        ) from exc


def _start_over(path: Path) -> str:
    return f"delete it, then `{layout.word_resume(path.parent)}`: finished work is reused from objects/."


def read_values(saver: SqliteSaver) -> RunState:
    """The state of the outer graph. Empty if there is none.

    Raises:
        DamagedCheckpoint: this is not the state of a run.
    """
    outer: RunnableConfig = {"configurable": {"thread_id": THREAD_ID, "checkpoint_ns": ""}}
    try:
        found = saver.get_tuple(outer)
        values = found.checkpoint["channel_values"] if found else {}
        read = TypeAdapter(RunState).validate_python(values)
    except _ODD as exc:
        raise DamagedCheckpoint(f"the checkpoint is not the state of a run ({word_damage(exc)})") from exc
    if not _has_records_of(read, values):
        raise DamagedCheckpoint("the checkpoint holds values that are not the records of a run")
    return cast(RunState, values)


def check_objects(values: object, objects: Path) -> None:
    """Check that all rows that the state points to exist: an empty file, or one cut at the end of a line, would read as fewer rows.

    Raises:
        ArtifactError: names the first object with missing rows.
    """
    store = FileArtifactStore(objects)
    for ref in _find_refs(values):
        _check_rows(ref, objects)
    for batches in _find_rounds(values):
        if store.has(batches.reports.key):
            for ref in _find_refs(store.read_rows(batches.reports.key, BatchReport)):
                _check_rows(ref, objects)


def _check_rows(ref: Ref, objects: Path) -> None:
    path = objects / ref.key / ROWS
    try:
        found = path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return  # told when it is read
    except OSError as exc:
        raise refuse_unread(path, exc) from exc
    if found != ref.rows:
        raise ArtifactError(
            f"{path}: damaged ({found} rows in place of {ref.rows}). Delete the folder {path.parent}. {RESUME}"
        )


def _find_rounds(values: object) -> list[BatchRound]:
    batches = values.get("batches", {}) if isinstance(values, dict) else {}
    return [b for b in batches.values() if isinstance(b, BatchRound)]


def _find_refs(value: object) -> Iterator[Ref]:
    if isinstance(value, Ref):
        yield from [value] * bool(value.rows)
    elif isinstance(value, BaseModel):
        for _, inner in value:
            yield from _find_refs(inner)
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _find_refs(inner)


def _has_records_of(read: Any, found: Any) -> bool:
    """Whether every record that can be restored from a value was already a record."""
    if isinstance(read, BaseModel):
        return type(found) is type(read)
    if isinstance(read, dict):
        return all(_has_records_of(value, found.get(key)) for key, value in read.items())
    if isinstance(read, list):
        return all(map(_has_records_of, read, found))
    return True


def _subclasses(base: type[BaseModel]) -> list[type]:
    return [kind for child in base.__subclasses__() for kind in [child, *_subclasses(child)]]
