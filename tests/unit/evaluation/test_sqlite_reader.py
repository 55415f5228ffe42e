"""What a query can do to a database, and to the machine: read, within limits."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from pada_agent.core.own_process import OwnProcess
from pada_agent.evaluation.confinement import landlock
from pada_agent.evaluation.sqlite import reader as reading
from pada_agent.evaluation.sqlite.reader import Failure, Result, SqliteReader

COUNT = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
DOUBLING = "WITH t0 AS (SELECT 1 x)" + "".join(
    f", t{i} AS (SELECT 1 x FROM t{i - 1} p, t{i - 1} q)" for i in range(1, 30)
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("a folder?&#") / "a %20 b.sqlite"
    with closing(sqlite3.connect(path)) as made, made:
        made.executescript(
            """CREATE TABLE town (id INTEGER PRIMARY KEY, name TEXT, people INT, share REAL, seal BLOB);
            INSERT INTO town VALUES (1, 'Aachen', 250, 0.5, x'00ff'), (2, 'Bonn', 330, NULL, NULL);
            CREATE TABLE "order" (town INT REFERENCES town(id), "the day" TEXT, PRIMARY KEY (town, "the day"));
            CREATE VIEW large AS SELECT name FROM town WHERE people > 300;
            CREATE VIRTUAL TABLE words USING fts5(t);
            INSERT INTO words VALUES ('hello world');"""
        )
    made.close()
    return path


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, queries still have to come to their own end."""
    monkeypatch.setattr(reading, "BUSY_SECONDS", 300.0)


@pytest.fixture(scope="module")
def reader() -> Iterator[SqliteReader]:
    reader = SqliteReader(seconds=1)
    yield reader
    reader.close()


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT * FROM town WHERE id = 1", ((1, "Aachen", 250, 0.5, b"\x00\xff"),)),
        ("SELECT upper(name), round(avg(people), 1) FROM town GROUP BY name", (("AACHEN", 250.0), ("BONN", 330.0))),
        ("SELECT name FROM large", (("Bonn",),)),
        ("SELECT t FROM words WHERE t MATCH 'hello'", (("hello world",),)),
        ("SELECT value FROM json_each('[1, 2]')", ((1,), (2,))),
        (f"{COUNT} SELECT x FROM c LIMIT 2", ((1,), (2,))),
        ("SELECT 9e999, 'ä', -9223372036854775808", ((float("inf"), "ä", -(2**63)),)),
        ("SELECT name FROM town WHERE id = 9", ()),
        ("SELECT cast(x'ff41' AS TEXT)", (("\udcffA",),)),
    ],
)
def test_tables_are_read_and_functions_called(reader: SqliteReader, database: Path, sql: str, rows: object) -> None:
    found = reader.query(database, sql)
    assert isinstance(found, Result), found
    assert found.rows == rows


def test_a_result_says_what_was_read_and_called(reader: SqliteReader, database: Path) -> None:
    found = reader.query(database, 'SELECT Random() FROM town JOIN "order" ON town = id')
    assert isinstance(found, Result)
    assert (found.n_columns, found.tables, found.functions) == (1, ("order", "town"), ("random",))


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT nam FROM town", "no such column: nam"),
        ("SELECT name FROM tow", "no such table: tow"),
        ("SELECT name FROM town WHERE", "incomplete input"),
        ("SELECT 1; SELECT 2", "You can only execute one statement at a time."),
        ("SELECT writefile('x', 'y')", "no such function: writefile"),
        ("SELECT '\0'", "the query contains an invalid character ('\\x00')"),
        ("SELECT '\ud800'", "the query contains an invalid character ('\\ud800')"),
        ("SELECT 1" + " + 1" * 5000, "Expression tree is too large (maximum depth 1000)"),
        ("SELECT load_extension('x')", "not allowed: FUNCTION load_extension"),
        ("SELECT LOAD_EXTENSION('x')", "not allowed: FUNCTION load_extension"),
        ("DELETE FROM town", "not allowed: DELETE town"),
        ("WITH t AS (SELECT 1) DELETE FROM town", "not allowed: DELETE town"),
        ("INSERT INTO town (name) VALUES ('x')", "not allowed: INSERT town"),
        ("UPDATE town SET name = 'x'", "not allowed: UPDATE town"),
        ("CREATE TEMP TABLE x (a)", "not allowed: INSERT sqlite_temp_master"),
        ("DROP TABLE town", "not allowed: DELETE sqlite_master"),
        ("ATTACH '/tmp/x' AS y", "not allowed: ATTACH /tmp/x"),
        ("VACUUM INTO '/tmp/pada-vacuum'", "not allowed: ATTACH /tmp/pada-vacuum"),
        ("PRAGMA table_info(town)", "not allowed: PRAGMA table_info"),
        ("PRAGMA writable_schema = 1", "not allowed: PRAGMA writable_schema"),
        ("BEGIN", "not allowed: TRANSACTION BEGIN"),
        (f"{COUNT} SELECT count(*) FROM c", "no result within 1 s"),
        (
            "SELECT instr(hex(zeroblob(990000)), substr(hex(zeroblob(900000)), 1, 500000) || '1')",
            "no result within 1 s",
        ),
        (f"{COUNT} SELECT x FROM c", "gives more than 10000 rows"),
        (f"{COUNT} SELECT zeroblob(1000000) FROM c", "gives more than 4194304 characters"),
        ("SELECT zeroblob(900000000)", "string or blob too big"),
    ],
    ids=lambda value: str(value).encode("ascii", "backslashreplace").decode()[:40],
)
def test_a_query_that_fails_is_a_value_with_a_reason_and_the_next_one_is_answered(
    reader: SqliteReader, database: Path, sql: str, reason: str
) -> None:
    before = database.read_bytes()
    assert reader.query(database, sql) == Failure(reason=reason)
    assert isinstance(reader.query(database, "SELECT 1"), Result)
    assert database.read_bytes() == before and sorted(p.name for p in database.parent.iterdir()) == [database.name]


def test_a_table_that_a_function_makes_is_not_read(reader: SqliteReader, database: Path) -> None:
    found = reader.query(database, "SELECT * FROM pragma_table_info('town')")
    asked = ("a table made by a function", "PRAGMA table_info")  # by version of SQLite
    assert isinstance(found, Failure) and found.reason in [f"not allowed: {what}" for what in asked]


def test_a_query_that_is_never_through_with_compiling_is_ended(reader: SqliteReader, database: Path) -> None:
    found = reader.query(database, f"{DOUBLING} SELECT * FROM t29")
    assert isinstance(found, Failure) and found.reason in (
        "no result within 1 s",
        "needs more than 512 MiB of memory",
    )
    assert isinstance(reader.query(database, "SELECT 1"), Result)


def test_memory_is_limited(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MEMORY_BYTES", 64 * 2**20)
    reader = SqliteReader(seconds=60)
    for _ in range(2):
        found = reader.query(database, f"{COUNT} SELECT x, zeroblob(9000000) z FROM c ORDER BY z, x")
        assert found == Failure(reason="needs more than 64 MiB of memory")
    assert isinstance(reader.query(database, "SELECT 1"), Result)
    reader.close()


def test_a_crash_is_a_value(reader: SqliteReader, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader.query(database, "SELECT 1")
    process = reader._process
    assert process is not None
    monkeypatch.setattr(OwnProcess, "_send", lambda own, _: own._process.kill())
    assert reader.query(database, "SELECT 1") == Failure(reason="SQLite crashed (SIGKILL)")
    monkeypatch.undo()
    assert isinstance(reader.query(database, "SELECT 1"), Result) and reader._process is not process


def test_time_in_which_a_query_cannot_run_does_not_count(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = SqliteReader(seconds=0.1)
    reader.query(database, "SELECT 1")
    assert reader._process is not None
    pid = reader._process._process.pid
    with ThreadPoolExecutor(1) as pool:
        os.kill(pid, signal.SIGSTOP)
        asked = pool.submit(reader.query, database, "SELECT name FROM town")
        time.sleep(0.1 + reading.SECONDS_OF_GRACE + 0.2)
        os.kill(pid, signal.SIGCONT)
        assert isinstance(asked.result(), Result)
        monkeypatch.setattr(reading, "BUSY_SECONDS", -reading.SECONDS_OF_GRACE)
        os.kill(pid, signal.SIGSTOP)
        found = reader.query(database, "SELECT name FROM town")
    assert isinstance(found, Failure) and found.is_undecided and "the machine is too busy" in found.reason
    reader.close()


def test_the_child_ends_with_its_reader(database: Path) -> None:
    reader = SqliteReader()
    reader.query(database, "SELECT 1")
    assert reader._process is not None
    child = reader._process._process
    assert child.poll() is None
    del reader
    assert child.poll() is not None


def test_a_database_is_described_with_keys_and_values(reader: SqliteReader, database: Path) -> None:
    found = reader.describe(database, n_values=2)
    assert not isinstance(found, Failure)
    tables = {table.name: table for table in found.tables}
    assert [(c.name, c.type, c.key, c.values) for c in tables["town"].columns] == [
        ("id", "INTEGER", 1, (1, 2)),
        ("name", "TEXT", 0, ("Aachen", "Bonn")),
        ("people", "INT", 0, (250, 330)),
        ("share", "REAL", 0, (0.5,)),
        ("seal", "BLOB", 0, ()),
    ]
    assert tables["order"].references == (("town", "town", "id"),)
    assert [c.name for c in tables["large"].columns] == ["name"]


@pytest.mark.parametrize(("content", "reason"), [(None, "unable to open"), ("x" * 2000, "not a database")])
def test_what_is_no_database_is_a_value(reader: SqliteReader, tmp_path: Path, content: str | None, reason: str) -> None:
    path = tmp_path / "x"
    if content:
        path.write_text(content)
    for found in (reader.query(path, "SELECT 1"), reader.describe(path)):
        assert isinstance(found, Failure) and reason in found.reason


REACH = """
import os, socket, sqlite3, sys
from pada_agent.evaluation.sqlite.worker import confine
known, other = sys.argv[1:]
confine(512 * 2**20, [known])
assert sqlite3.connect(f"file:{known}?mode=ro", uri=True).execute("SELECT 1").fetchall() == [(1,)]
attempts = {
    "read": lambda: open(other, "rb"),
    "list": lambda: os.listdir(os.path.dirname(other)),
    "write": lambda: open(known, "ab"),
    "shorten": lambda: os.truncate(known, 0),
    "parent": lambda: open(f"/proc/{os.getppid()}/environ"),
    "run": lambda: os.execv("/bin/true", ["true"]),
    "socket": lambda: socket.socket(),
    "signal": lambda: os.kill(os.getppid(), 0),
}
for name, attempt in attempts.items():
    try:
        attempt()
        print(name)
    except OSError:
        pass
print("done")
"""


@pytest.mark.skipif(not landlock.find_version(), reason="this kernel has no Landlock")
def test_the_child_reaches_its_databases_and_nothing_else(tmp_path: Path) -> None:
    known, other = tmp_path / "known.sqlite", tmp_path / "other.sqlite"
    for path in (known, other):
        made = sqlite3.connect(path)
        made.execute("CREATE TABLE t (a)")
        made.close()
    ran = subprocess.run(
        [sys.executable, "-c", REACH, known, other], capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert ran.stdout == "done\n", ran.stdout + ran.stderr


def test_each_database_is_read_also_after_another_took_its_place(reader: SqliteReader, tmp_path: Path) -> None:
    for text in ("one", "two"):
        for name in ("a", "b"):
            fresh = tmp_path / f"{name}-{text}"
            made = sqlite3.connect(fresh)
            made.executescript(f"CREATE TABLE t (x); INSERT INTO t VALUES ('{name}-{text}')")
            made.close()
            fresh.replace(tmp_path / name)
            found = reader.query(tmp_path / name, "SELECT x FROM t")
            assert isinstance(found, Result) and found.rows == ((f"{name}-{text}",),)


def test_tables_are_described_without_their_inner_parts_and_with_computed_columns(
    reader: SqliteReader, tmp_path: Path
) -> None:
    path = tmp_path / "odd.sqlite"
    with closing(sqlite3.connect(path)) as made, made:
        made.executescript(
            """CREATE TABLE item (price INT, doubled INT GENERATED ALWAYS AS (2 * price));
            INSERT INTO item (price) VALUES (3);
            CREATE VIRTUAL TABLE words USING fts5(t);
            CREATE VIEW cheap AS SELECT price FROM item WHERE price < 10;
            CREATE VIEW broken AS SELECT gone FROM item;"""
        )
    made.close()
    found = reader.describe(path, n_values=1)
    assert not isinstance(found, Failure)
    assert {table.name: [column.name for column in table.columns] for table in found.tables} == {
        "item": ["price", "doubled"],
        "words": ["t"],
        "cheap": ["price"],
    }
    assert [column.values for column in found.tables[0].columns] == [(3,), (6,)]
    assert found.notes == ("the view broken is left out: no such column: gone",)
