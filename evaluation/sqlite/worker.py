"""Reads SQLite databases for `reader`, in a separate process.

It answers each line of JSON with another until its input ends. It uses only the standard library, because it runs
without site-packages. SQLite's own authorizer decides what a query may do: read tables and call built-in functions. If
a bug in SQLite let a query get past it, the process could reach only the databases it was started for, if the kernel
has Landlock.
"""

import functools
import itertools
import json
import math
import os
import resource
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import quote

from pada_agent.evaluation.confinement import kernel, landlock, seccomp
from pada_agent.evaluation.sqlite.clock import watch_clock

ALLOWED = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE)
FORBIDDEN_FUNCTIONS = ("load_extension", "fts3_tokenizer")
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 16 * 2**20,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1000,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
STEPS_BETWEEN_LOOKS = 10_000
"""Number of steps of SQLite's virtual machine between two looks at the clock."""
MAX_STEPS_FOR_VALUES = 20_000_000
"""Limit for listing the values of one column, about 1 s. Steps, and not seconds, so that a busy machine lists the same."""
FAULTS = (sqlite3.Error, sqlite3.Warning, UnicodeError, OverflowError, MemoryError)
"""What may be raised because of what a database contains."""
ACTIONS = {
    value: name.removeprefix("SQLITE_").replace("_", " ")
    for name, value in vars(sqlite3).items()
    if name.startswith(("SQLITE_CREATE", "SQLITE_DROP", "SQLITE_ALTER"))
    or name in ("SQLITE_ATTACH", "SQLITE_DETACH", "SQLITE_PRAGMA", "SQLITE_INSERT", "SQLITE_UPDATE", "SQLITE_DELETE")
    or name in ("SQLITE_TRANSACTION", "SQLITE_SAVEPOINT", "SQLITE_REINDEX", "SQLITE_ANALYZE", "SQLITE_FUNCTION")
}
HIDDEN_COLUMN = 1
"""Value of `hidden` in `table_xinfo` for a virtual table's own columns. 2 and 3 are computed columns."""
Reply = dict[str, Any]


def main() -> None:
    limits = json.loads(sys.stdin.readline())
    confine(limits["memory_bytes"], limits["databases"])
    for line in sys.stdin:
        request = json.loads(line)
        limit_time(request["seconds"] + limits["seconds_of_grace"])
        try:
            reply = answer(request, {**limits, "seconds": request["seconds"]})
        except MemoryError:
            reply = {"error": f"needs more than {limits['memory_bytes'] // 2**20} MiB of memory"}
        print(json.dumps(reply), flush=True)


def confine(memory_bytes: int, databases: Sequence[str]) -> None:
    """Give up writing files, reading any but these databases, starting processes, and using more memory than this."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name, limit in (("FSIZE", 0), ("CORE", 0), ("NPROC", 0), ("AS", memory_bytes)):
        with suppress(ValueError, OSError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
    if kernel.IS_LINUX:
        readable = landlock.READ_FILE | landlock.READ_DIR
        places = [place for path in databases for place in landlock.open_place(path, readable)]
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        version = landlock.confine([*landlock.open_libraries(readable), *places])
        needs = seccomp.FilterNeeds(os.getpid(), refuse_truncate=version < landlock.CONFINES_TRUNCATE)
        seccomp.install_filter(needs)


def limit_time(seconds: float) -> None:
    """Have the kernel end this process after so much more processor time, in whole seconds."""
    with suppress(ValueError, OSError):
        most = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds), most))


def answer(request: Reply, limits: Reply) -> Reply:
    """The rows of a query, what in it asks for the current time, or a description of the database."""
    try:
        if request.get("clock"):
            return {"asked": find_clock(request["database"], request["sql"], limits)}
        database = open_database(request["database"])
        if "sql" in request:
            return run_query(database, request["sql"], limits)
        database.set_authorizer(None)
        database.set_progress_handler(None, 0)
        return describe(database, request["n_values"])
    except (sqlite3.Error, sqlite3.Warning, UnicodeError, OverflowError) as exc:
        return {"error": str(exc)}


@functools.lru_cache(maxsize=16)
def open_database(path: str) -> sqlite3.Connection:
    """Open read-only and without locks. Virtual tables are initialized now, because the authorizer would not allow it later.

    The schema is trusted (SQLite's default). Otherwise it could not call JSON functions, and an index on one would make
    the whole database unreadable. SQLite never lets a schema call the functions that reach outside, and the authorizer
    examines what views read and call.
    """
    database = sqlite3.connect(f"file:{quote(path)}?mode=ro&immutable=1", uri=True, isolation_level=None)
    database.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    for name, limit in LIMITS.items():
        database.setlimit(name, limit)
    database.execute("PRAGMA trusted_schema = ON")
    database.execute("PRAGMA temp_store = MEMORY")
    listed = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL%'"
    for table in ["json_each", "json_tree", *(name for (name,) in database.execute(listed).fetchall())]:
        with suppress(sqlite3.Error):
            database.execute(f"SELECT 1 FROM {quoted(table)} LIMIT 0")
    return database


def run_query(database: sqlite3.Connection, sql: str, limits: Reply) -> Reply:
    """At most `max_rows` rows, or the reason why there are none."""
    denied: list[str] = []
    tables: set[str] = set()
    functions: set[str] = set()

    def authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
        if action == sqlite3.SQLITE_READ:
            tables.add(str(first))
        if action == sqlite3.SQLITE_FUNCTION:
            functions.add(str(second).lower())
        if is_allowed(action, first, second):
            return sqlite3.SQLITE_OK
        denied.append(word_action(action, first, second))
        return sqlite3.SQLITE_DENY

    deadline = time.process_time() + limits["seconds"]
    database.set_authorizer(authorize)
    database.set_progress_handler(lambda: time.process_time() > deadline, STEPS_BETWEEN_LOOKS)
    try:
        cursor = database.execute(sql)
        rows = fetch(cursor, limits)
    except sqlite3.Error as exc:
        if denied:
            return {"error": f"not allowed: {denied[0]}"}
        if time.process_time() > deadline:
            return {"error": f"no result within {limits['seconds']:g} s"}
        if isinstance(exc, sqlite3.ProgrammingError) and "bindings" in str(exc):
            return {"error": "a query cannot have parameters (such as ? or :name)"}
        return {"error": str(exc)}
    if isinstance(rows, str):
        return {"error": rows}
    n_columns = len(cursor.description or ())
    return {"n_columns": n_columns, "rows": rows, "tables": sorted(tables), "functions": sorted(functions)}


def find_clock(path: str, sql: str, limits: Reply) -> str | None:
    """What in a query asks for the current time, on a connection of its own."""
    with closing(open_database.__wrapped__(path)) as database:
        asked = watch_clock(database)
        run_query(database, sql, limits)
    return asked[0] if asked else None


def is_allowed(action: int, first: str | None, second: str | None) -> bool:
    """Whether SQLite's authorizer allows this action."""
    if action == sqlite3.SQLITE_FUNCTION:
        return str(second).lower() not in FORBIDDEN_FUNCTIONS
    reads_version = action == sqlite3.SQLITE_PRAGMA and first == "data_version" and second is None
    return action in ALLOWED or reads_version  # full-text search asks for the version


def word_action(action: int, first: str | None, second: str | None) -> str:
    if action == sqlite3.SQLITE_UPDATE and first == "sqlite_master":
        return "a table made by a function"
    return " ".join([ACTIONS.get(action, f"action {action}"), *filter(None, [first or second])])


def fetch(cursor: sqlite3.Cursor, limits: Reply) -> list[list[object]] | str:
    """The rows, or a message on which limit they exceed."""
    rows: list[list[object]] = []
    n_characters = 0
    for row in cursor:
        if len(rows) == limits["max_rows"]:
            return f"gives more than {limits['max_rows']} rows"
        n_characters += sum(len(value) for value in row if isinstance(value, str | bytes))
        if n_characters > limits["max_characters"]:
            return f"gives more than {limits['max_characters']} characters"
        rows.append([{"hex": value.hex()} if isinstance(value, bytes) else value for value in row])
    return rows


def describe(database: sqlite3.Connection, n_values: int) -> Reply:
    """The tables and views that can be read, and notes on what cannot be read."""
    listed = "SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    shadows = {name for _, name, kind, *_ in database.execute("PRAGMA table_list") if kind == "shadow"}
    tables: list[Reply] = []
    notes: list[str] = []
    for kind, name in database.execute(listed).fetchall():
        if name in shadows:  # the parts of a virtual table, which nobody asks for
            continue
        try:
            table = describe_table(database, name)
        except FAULTS as exc:
            shown = name.encode("utf-8", "backslashreplace").decode()
            notes.append(f"the {kind} {shown} is left out: {word_fault(exc)}")
            continue
        tables.append(table)
        if n_values and (problem := add_values(database, table, n_values)):
            notes.append(f"the {kind} {name}: no values can be listed for {problem}")
    return {"tables": tables, "notes": notes}


def describe_table(database: sqlite3.Connection, table: str) -> Reply:
    """A table's columns and foreign keys, without values. Raises one of `FAULTS` if it cannot be read."""
    columns = database.execute(f"PRAGMA table_xinfo({quoted(table)})").fetchall()
    keys = database.execute(f"PRAGMA foreign_key_list({quoted(table)})").fetchall()
    found = {
        "name": table,
        "columns": [
            {"name": name, "type": kind, "key": place, "values": []}
            for _, name, kind, _, _, place, hidden in columns
            if hidden != HIDDEN_COLUMN
        ],
        "references": [[column, other, target] for _, _, other, column, target, *_ in keys],
    }
    json.dumps(found, ensure_ascii=False).encode()  # names in another encoding cannot be written in a query
    return found


def add_values(database: sqlite3.Connection, table: Reply, n_values: int) -> str | None:
    """Add values to each column. Returns the columns whose values cannot be listed, in words, or None."""
    problems: list[str] = []
    for column in table["columns"]:
        try:
            column["values"] = list_values(database, table["name"], column["name"], n_values)
        except FAULTS as exc:
            problems.append(f"{column['name']} ({word_fault(exc)})")
            if is_interruption(exc):
                return f"{problems[0]}, and later columns were not tried"
    more = f", nor for {len(problems) - 1} more" if len(problems) > 1 else ""
    return problems[0] + more if problems else None


def is_interruption(exc: Exception) -> bool:
    return getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT


def word_fault(exc: Exception) -> str:
    if isinstance(exc, UnicodeError):
        return "a name in it is not UTF-8"
    if isinstance(exc, MemoryError):
        return "not enough memory"
    return "too slow" if is_interruption(exc) else str(exc)


def list_values(database: sqlite3.Connection, table: str, column: str, n_values: int) -> list[object]:
    """Distinct values from the first rows, in order, spread over all of them. Long ones are left out, if possible unread."""
    name = quoted(column)
    short = f"CASE WHEN typeof({name}) IN ('integer', 'real', 'text') AND length({name}) <= 100 THEN {name} END"
    sql = (
        f"SELECT DISTINCT value FROM (SELECT {short} AS value FROM {quoted(table)} LIMIT 10000)"
        " WHERE value IS NOT NULL ORDER BY value"
    )
    with guard(database):
        values = [value for (value,) in database.execute(sql)]
    return values[:: -(-len(values) // n_values)] if values else []


@contextmanager
def guard(database: sqlite3.Connection) -> Iterator[None]:
    """Allow what queries may do, for `MAX_STEPS_FOR_VALUES`: views and computed columns run here, too."""

    def authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
        return sqlite3.SQLITE_OK if is_allowed(action, first, second) else sqlite3.SQLITE_DENY

    looks = itertools.count()
    database.set_authorizer(authorize)
    database.set_progress_handler(
        lambda: next(looks) >= MAX_STEPS_FOR_VALUES // STEPS_BETWEEN_LOOKS, STEPS_BETWEEN_LOOKS
    )
    try:
        yield
    finally:
        database.set_authorizer(None)
        database.set_progress_handler(None, 0)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
