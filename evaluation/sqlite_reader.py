"""Runs queries that a model wrote on SQLite databases, read-only, in a process of their own."""

from pathlib import Path
from threading import Lock
from typing import Any

from pydantic import Field

from pada_agent.core.errors import SandboxError
from pada_agent.core.own_process import Ended, OwnProcess
from pada_agent.core.records import Record

MEMORY_BYTES = 512 * 2**20
MAX_ROWS = 10_000
MAX_CHARACTERS = 4 * 2**20
"""Of all texts in a result together."""
SECONDS_OF_GRACE = 2.0
"""After its time a query is asked to end; so much later it is ended."""
SECONDS_TO_DESCRIBE = 60.0
_WORKER = "pada_agent.evaluation.sqlite_worker"

Value = str | int | float | bytes | None
Row = tuple[Value, ...]


class Result(Record):
    """What a query gave."""

    n_columns: int
    rows: tuple[Row, ...]
    tables: tuple[str, ...] = ()
    """Tables that it reads."""
    functions: tuple[str, ...] = ()
    """Functions that it calls."""


class Failure(Record):
    """Why a query gave nothing: SQLite's own words, or the limit that it broke."""

    reason: str


class Column(Record):
    """A column of a table."""

    name: str
    type: str
    key: int
    """Place in the primary key, from 1; 0: not in it."""
    values: tuple[Value, ...] = ()
    """Some of the different values that it holds, in order."""


class Table(Record):
    """A table or view."""

    name: str
    columns: tuple[Column, ...]
    references: tuple[tuple[str, str, str | None], ...] = Field(default=())
    """Foreign keys: column, other table, its column; None is that table's primary key."""


class SqliteReader:
    """Queries of anybody on databases of the user's, one after the other; safe to use from several threads.

    A query can read tables and call SQLite's built-in functions, by SQLite's own authorizer; it cannot write, attach, set or
    load anything. The file is opened `mode=ro&immutable=1`, so nothing is locked or written beside it. A progress handler ends it after
    `seconds`; rows, characters, memory and the length of values are limited.

    All that would do in this process, if it held; it does not always. Measured on SQLite 3.40 with a limit of 2 s: one
    `instr` of long texts runs 17 s without a look at the clock, `randomblob` over a cross join 55 s with 2.9 GB, common tables that
    double at each step are never through with compiling, and SQLite's hard limit on memory holds for all connections of a
    process, checkpoints included. So the queries run in a child, which can write no file and start no process, and which
    is ended and replaced when it does not answer. It starts once for each new database, within about 50 ms; a query then takes a
    tenth of a millisecond more than in this process.

    A fault in SQLite itself would give a query the child: where the kernel has Landlock and seccomp (as for programs, see
    `sandbox`) it can read the databases that were asked for, and reach no other file, process or network.
    """

    def __init__(self, *, seconds: float = 5) -> None:
        """Start nothing yet.

        Args:
            seconds: what one query may take.
        """
        self._seconds = seconds
        self._lock = Lock()
        self._databases: dict[str, tuple[int, int]] = {}
        """What the child may read, and which file that was: another one of the same name needs another child."""
        self._process: OwnProcess | None = None

    def query(self, database: Path, sql: str) -> Result | Failure:
        """The rows of one statement.

        Raises:
            SandboxError: the child process cannot be started.
        """
        if odd := next((c for c in sql if c == "\0" or "\ud800" <= c <= "\udfff"), None):
            return Failure(reason=f"the query holds a character that no text has ({odd!r})")
        reply = self._ask({"database": str(database.absolute()), "sql": sql}, self._seconds)
        if "error" in reply:
            return Failure(reason=reply["error"])
        return Result.model_construct(  # unchecked: SQLite makes no other values, and there may be many
            n_columns=reply["n_columns"],
            rows=tuple(tuple(map(_read_value, row)) for row in reply["rows"]),
            tables=tuple(reply["tables"]),
            functions=tuple(reply["functions"]),
        )

    def describe(self, database: Path, *, n_values: int = 0) -> tuple[Table, ...] | Failure:
        """The tables of a database, each column with up to `n_values` of its values.

        Raises:
            SandboxError: the child process cannot be started.
        """
        request = {"database": str(database.absolute()), "n_values": n_values}
        reply = self._ask(request, SECONDS_TO_DESCRIBE)
        if "error" in reply:
            return Failure(reason=reply["error"])
        return tuple(Table.model_validate(table) for table in reply["tables"])

    def close(self) -> None:
        """End the child; a later query starts another."""
        if self._process:
            self._process.close()
        self._process = None

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        with self._lock:
            is_known = self._know(request["database"])
            running = self._process if self._process and self._process.is_running else None
            process = running if running and is_known else self._start()
            reply = process.ask(request, seconds + SECONDS_OF_GRACE)
            if not isinstance(reply, Ended):
                return reply
            self.close()
            return {
                "error": f"no result within {seconds:g} s" if reply.by == "time" else f"SQLite broke on it ({reply.by})"
            }

    def _know(self, database: str) -> bool:
        """Whether the child may read this file; the next one will."""
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
            "seconds": self._seconds,
            "max_rows": MAX_ROWS,
            "max_characters": MAX_CHARACTERS,
            "databases": list(self._databases),
        }
        try:
            self._process = OwnProcess(_WORKER, limits)
        except OSError as exc:
            raise SandboxError(f"a process for SQL queries could not be started: {exc}") from exc
        return self._process


def _read_value(value: Any) -> Value:
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value
