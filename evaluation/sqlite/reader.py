"""Runs queries that a model wrote on SQLite databases, read-only and in a separate process."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, LifoQueue
from threading import Lock
from typing import Any

from pydantic import Field

from pada_agent.core.errors import SandboxError
from pada_agent.core.machine import count_at_once
from pada_agent.core.own_process import Ended, OwnProcess
from pada_agent.core.records import Record

MEMORY_BYTES = 512 * 2**20
MAX_ROWS = 10_000
MAX_CHARACTERS = 4 * 2**20
"""Limit for all texts in a result together."""
SECONDS_OF_GRACE = 1.0
"""When its processor time is up, a query is asked to end. This much later, it is killed."""
BUSY_SECONDS = 20.0
"""Time in addition to its own for which a query may wait for a disk, or for a processor that others use."""
SECONDS_TO_DESCRIBE = 60.0
_WORKER = "pada_agent.evaluation.sqlite.worker"

Value = str | int | float | bytes | None
Row = tuple[Value, ...]


class Result(Record):
    """What a query returned."""

    n_columns: int
    rows: tuple[Row, ...]
    tables: tuple[str, ...] = ()
    """Tables that the query reads."""
    functions: tuple[str, ...] = ()
    """Functions that the query calls."""


class Failure(Record):
    """Why a query returned nothing: SQLite's message, or the limit that it exceeded."""

    reason: str
    is_undecided: bool = False
    """Whether the machine was too busy to find out."""


class Column(Record):
    """A column of a table."""

    name: str
    type: str
    key: int
    """1-based position in the primary key. 0 if it is not part of it."""
    values: tuple[Value, ...] = ()
    """Some of the distinct values that it holds, in order."""


class Table(Record):
    """A table or view."""

    name: str
    columns: tuple[Column, ...]
    references: tuple[tuple[str, str, str | None], ...] = Field(default=())
    """Foreign keys: column, other table, and its column. If the last is None, it is that table's primary key."""


class Description(Record):
    """What a database contains."""

    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
    """Tables and views that cannot be read and are therefore left out, and columns without values, with the reason."""


class SqliteReader:
    """Runs anybody's queries on the user's databases, one at a time. Safe to use from several threads.

    SQLite's own authorizer lets a query read tables and call built-in functions. It cannot write, attach, set or load
    anything. The file is opened with `mode=ro&immutable=1`, so nothing is locked or written next to it. A progress
    handler ends the query after `seconds` of processor time, so that a right query does not fail on a busy machine; rows,
    characters, memory and the length of values are limited.

    In this process, these limits would not always hold. Measured on SQLite 3.40 with a limit of 2 s: a single `instr`
    of long texts runs for 17 s without looking at the clock; `randomblob` over a cross join runs for 55 s and takes 2.9
    GB; common table expressions that double at each step never finish compiling; and SQLite's hard memory limit applies
    to all connections of a process, including those for checkpoints. Queries therefore run in a child process that can
    write no file and start no process, and that is killed and replaced if it does not answer. It starts once for each
    new database, within about 50 ms; a query then takes a tenth of a millisecond longer than in this process.

    A bug in SQLite itself could give a query control over the child. If the kernel has Landlock and seccomp (see
    `sandbox`), the child can read the requested databases but reach no other file, process or network.
    """

    def __init__(self, *, seconds: float = 5) -> None:
        """Nothing is started yet.

        Args:
            seconds: limit of processor time for one query.
        """
        self._seconds = seconds
        self._lock = Lock()
        self._databases: dict[str, tuple[int, int]] = {}
        """What the child may read, and which file that was: another one of the same name needs another child."""
        self._process: OwnProcess | None = None

    def query(self, database: Path, sql: str) -> Result | Failure:
        """The result of one statement.

        Raises:
            SandboxError: the child process cannot be started.
        """
        if odd := next((c for c in sql if c == "\0" or "\ud800" <= c <= "\udfff"), None):
            return Failure(reason=f"the query contains an invalid character ({odd!r})")
        reply = self._ask({"database": str(database.absolute()), "sql": sql}, self._seconds)
        if "error" in reply:
            return Failure(reason=reply["error"], is_undecided=bool(reply.get("busy")))
        return Result.model_construct(  # unchecked: SQLite makes no other values, and there may be many
            n_columns=reply["n_columns"],
            rows=tuple(tuple(map(_read_value, row)) for row in reply["rows"]),
            tables=tuple(reply["tables"]),
            functions=tuple(reply["functions"]),
        )

    def find_clock(self, database: Path, sql: str) -> str | None:
        """What in a query asks SQLite for the current time: `'now'`, or a date function without a time. None if nothing does.

        The query is run on the data, so that what it computes, or reads through a view, counts as well.

        Raises:
            SandboxError: the child process cannot be started.
        """
        asked = self._ask({"database": str(database.absolute()), "sql": sql, "clock": True}, self._seconds).get("asked")
        return None if asked is None else str(asked)

    def describe(self, database: Path, *, n_values: int = 0) -> Description | Failure:
        """The tables of a database, with up to `n_values` values of each column.

        One that cannot be read does not keep the others from being described.

        Raises:
            SandboxError: the child process cannot be started.
        """
        request = {"database": str(database.absolute()), "n_values": n_values}
        reply = self._ask(request, SECONDS_TO_DESCRIBE)
        if "error" in reply:
            return Failure(reason=reply["error"])
        return Description.model_validate(reply)

    def close(self) -> None:
        """End the child. A later query starts a new one."""
        if self._process:
            self._process.close()
        self._process = None

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        with self._lock:
            is_known = self._know(request["database"])
            running = self._process if self._process and self._process.is_running else None
            process = running if running and is_known else self._start()
            reply = process.ask({**request, "seconds": seconds}, seconds + SECONDS_OF_GRACE + BUSY_SECONDS)
            if not isinstance(reply, Ended):
                return reply
            self.close()
            return _explain_end(reply.by, seconds)

    def _know(self, database: str) -> bool:
        """Whether the child may read this file. If not, the next child will."""
        try:
            status = Path(database).stat()
        except OSError:
            return True  # there is nothing to read
        file = (status.st_dev, status.st_ino)
        is_known = self._databases.get(database) == file
        self._databases[database] = file
        return is_known

    def _start(self) -> OwnProcess:
        self.close()
        limits = {
            "memory_bytes": MEMORY_BYTES,
            "seconds_of_grace": SECONDS_OF_GRACE,
            "max_rows": MAX_ROWS,
            "max_characters": MAX_CHARACTERS,
            "databases": list(self._databases),
        }
        try:
            self._process = OwnProcess(_WORKER, limits)
        except OSError as exc:
            raise SandboxError(f"a process for SQL queries could not be started: {exc}") from exc
        return self._process


class SqliteReaders:
    """As many readers as queries may run at the same time. Nothing is started until it is needed, and one thread needs one reader."""

    def __init__(self, *, seconds: float = 5) -> None:
        self._idle: LifoQueue[SqliteReader] = LifoQueue()
        for _ in range(count_at_once(MEMORY_BYTES)):
            self._idle.put(SqliteReader(seconds=seconds))

    def query(self, database: Path, sql: str) -> Result | Failure:
        """As `SqliteReader.query`."""
        with self._borrow() as reader:
            return reader.query(database, sql)

    def find_clock(self, database: Path, sql: str) -> str | None:
        """As `SqliteReader.find_clock`."""
        with self._borrow() as reader:
            return reader.find_clock(database, sql)

    def describe(self, database: Path, *, n_values: int = 0) -> Description | Failure:
        """As `SqliteReader.describe`."""
        with self._borrow() as reader:
            return reader.describe(database, n_values=n_values)

    def rest(self) -> None:
        """End the child processes of readers that are not in use. They start again when they are needed."""
        idle = []
        with suppress(Empty):
            while True:
                idle.append(self._idle.get_nowait())
        for reader in idle:
            reader.close()
            self._idle.put(reader)

    @contextmanager
    def _borrow(self) -> Iterator[SqliteReader]:
        reader = self._idle.get()
        try:
            yield reader
        finally:
            self._idle.put(reader)


def _explain_end(by: str, seconds: float) -> dict[str, Any]:
    """What a query gets whose process has ended, or was ended. The kernel ends one that is over its processor time."""
    if by == "time":
        return {"error": f"the machine is too busy: no result after {seconds + BUSY_SECONDS:g} s", "busy": True}
    return {"error": f"no result within {seconds:g} s" if by == "SIGXCPU" else f"SQLite crashed ({by})"}


def _read_value(value: Any) -> Value:
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value
