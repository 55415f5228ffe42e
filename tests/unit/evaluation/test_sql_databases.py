"""Databases of which a part cannot be read, and schemas that call functions."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import ConfigError, DatasetError
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example
from pada_agent.evaluation.sqlite import worker
from pada_agent.evaluation.sqlite.reader import Description, Failure, Result, SqliteReader, SqliteReaders, Table
from pada_agent.evaluation.tasks.sql import Sql
from pada_agent.evaluation.tasks.sql_databases import MAX_NOTES, Databases
from tests.unit.evaluation.cases import read_all

PLAIN = "CREATE TABLE t (a TEXT, j TEXT); INSERT INTO t VALUES ('x', '{\"k\": 1}');"
SLOW = "CREATE TABLE n (i); WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 100) INSERT INTO n SELECT x FROM c;"


@pytest.fixture(scope="module")
def reader() -> Iterator[SqliteReader]:
    reader = SqliteReader(seconds=5)
    yield reader
    reader.close()


def make(path: Path, script: str, *, forced: str = "") -> Path:
    """A database. `forced` changes its schema in ways that SQLite would not have accepted."""
    made = sqlite3.connect(path, isolation_level=None)
    made.executescript(script)
    made.executescript(f"PRAGMA writable_schema = ON; {forced}")
    made.close()
    return path


def describe(reader: SqliteReader, path: Path) -> Description:
    found = reader.describe(path, n_values=5)
    assert isinstance(found, Description), found
    return found


def values(found: Description) -> dict[str, list[tuple[object, ...]]]:
    return {table.name: [column.values for column in table.columns] for table in found.tables}


@pytest.mark.parametrize(
    ("schema", "query", "rows"),
    [
        ("CREATE VIEW v AS SELECT json_extract(j, '$.k') AS k FROM t", "SELECT k FROM v", ((1,),)),
        ("CREATE VIEW v AS SELECT t.a, value FROM t, json_each(t.j)", "SELECT value FROM v", ((1,),)),
        (
            "CREATE TABLE g (j, k AS (json_extract(j, '$.k'))); INSERT INTO g VALUES ('{\"k\": 2}')",
            "SELECT k FROM g",
            ((2,),),
        ),
        ("CREATE INDEX i ON t (json_extract(j, '$.k'))", "SELECT a FROM t WHERE json_extract(j, '$.k') = 1", (("x",),)),
        (
            "CREATE VIRTUAL TABLE f USING fts5(b); INSERT INTO f VALUES ('hello');"
            "CREATE VIEW v AS SELECT highlight(f, 0, '<', '>') AS h FROM f WHERE f MATCH 'hello'",
            "SELECT h FROM v",
            (("<hello>",),),
        ),
    ],
)
def test_a_schema_may_call_built_in_functions(
    reader: SqliteReader, tmp_path: Path, schema: str, query: str, rows: object
) -> None:
    path = make(tmp_path / "d", PLAIN + schema)
    found = reader.query(path, query)
    assert isinstance(found, Result) and found.rows == rows, found
    assert describe(reader, path).notes == ()


@pytest.mark.parametrize(
    "call", ["load_extension(a)", "fts3_tokenizer(a)", "fts3_tokenizer(a, x'00')", "readfile(a)", "writefile(a, a)"]
)
@pytest.mark.parametrize(
    "schema",
    [
        "CREATE VIEW v AS SELECT upper(a) AS b FROM t",
        "CREATE TABLE v (a, b AS (upper(a))); INSERT INTO v VALUES ('x')",
        "CREATE VIEW w AS SELECT * FROM (SELECT upper(a) AS b FROM t); CREATE VIEW v AS SELECT b FROM w",
    ],
)
def test_a_schema_reaches_nothing_outside(reader: SqliteReader, tmp_path: Path, schema: str, call: str) -> None:
    quoted = call.replace("'", "''")
    path = make(
        tmp_path / "d",
        PLAIN + schema,
        forced=f"UPDATE sqlite_master SET sql = replace(sql, 'upper(a)', '{quoted}')",
    )
    found, shown = reader.query(path, "SELECT b FROM v"), reader.describe(path, n_values=5)
    assert isinstance(found, Failure)
    assert isinstance(shown, Failure) or values(shown).get("v", [()])[-1] == ()


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        ("SELECT * FROM pragma_table_info('t')", "not allowed: PRAGMA table_info"),
        ("SELECT * FROM pragma_function_list", "not allowed: PRAGMA function_list"),
    ],
)
def test_a_view_of_settings_is_not_read(reader: SqliteReader, tmp_path: Path, view: str, reason: str) -> None:
    path = make(tmp_path / "d", f"{PLAIN} CREATE VIEW v AS {view}")
    found = describe(reader, path)
    assert not any(values(found)["v"])
    assert found.notes[0].startswith("the view v: no values can be listed for ")
    for query in ("SELECT * FROM v", view):
        assert reader.query(path, query) == Failure(reason=reason)


def test_what_cannot_be_read_is_left_out_and_told(reader: SqliteReader, tmp_path: Path) -> None:
    path = make(
        tmp_path / "d",
        f"""{PLAIN} CREATE VIEW lost AS SELECT own(a) FROM t; CREATE TABLE bytes (a, NAME);
        CREATE TABLE big (a, photo, b); CREATE VIEW bad AS SELECT json(a) AS p, json(a) AS q FROM t;
        INSERT INTO big VALUES ('y', zeroblob(17 * 1048576), 'z'), ('w', 'short', 'z')""",
        forced="""INSERT INTO sqlite_master VALUES ('table', 'map', 'map', 0, 'CREATE VIRTUAL TABLE map USING Spatial()');
        UPDATE sqlite_master SET sql = replace(sql, 'NAME', cast(x'ff' AS TEXT))""",
    )
    found = describe(reader, path)
    assert values(found) == {
        "t": [("x",), ('{"k": 1}',)],
        "big": [("w", "y"), ("short",), ("z",)],
        "bad": [(), ()],
    }
    assert found.notes == (
        "the view lost is left out: no such function: own",
        "the table bytes is left out: a name in it is not UTF-8",
        "the view bad: no values can be listed for p (malformed JSON), nor for 1 more",
        "the table map is left out: no such module: Spatial",
    )
    assert isinstance(reader.query(path, "SELECT a FROM big"), Result)


def test_a_column_in_the_order_of_an_application_has_values(reader: SqliteReader, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "d")) as made, made:
        made.create_collation("OWN", lambda a, b: (a > b) - (a < b))
        made.executescript("CREATE TABLE t (a TEXT COLLATE OWN); INSERT INTO t VALUES ('y'), ('x'), ('y')")
    made.close()
    assert values(describe(reader, tmp_path / "d")) == {"t": [("x", "y")]}


def test_a_slow_view_has_no_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MAX_STEPS_FOR_VALUES", 100_000)
    view = "CREATE VIEW v AS SELECT p.i, q.i AS j FROM n p, n q, n r, n s WHERE p.i + q.i + r.i + s.i < 0;"
    made = sqlite3.connect(make(tmp_path / "d", SLOW + view))
    found = Description.model_validate(worker.describe(made, 2))
    assert values(found) == {"n": [(1, 51)], "v": [(), ()]}
    assert found.notes == ("the view v: no values can be listed for i (too slow), and later columns were not tried",)
    assert made.execute("PRAGMA user_version").fetchall() == [(0,)]  # the limits hold for values only
    made.close()


def test_without_values_a_database_is_still_described(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(name="t", columns=())

    def answer(*_: object, n_values: int = 0) -> Description | Failure:
        return Failure(reason="no result within 60 s") if n_values else Description(tables=(table,))

    monkeypatch.setattr(SqliteReaders, "describe", answer)
    databases = Databases("", SqliteReaders())
    assert databases.tables(Path("d")) == (table,)
    assert databases.notes(Path("d")) == ["d: no values can be listed: no result within 60 s"]


def row(**fields: str) -> RawRow:
    return RawRow(where="rows.jsonl:1", fields={"question": "q?", "sql": "SELECT a FROM t", **fields})


def read(path: Path, **fields: str) -> tuple[Sql, Example]:
    task = Sql(TaskConfig(name="sql", database=str(path)))
    return task, task.read(row(**fields))


def test_what_is_left_out_is_told_once_per_database(tmp_path: Path) -> None:
    views = "".join(f"CREATE VIEW v{i} AS SELECT own(a) FROM t;" for i in range(MAX_NOTES + 3))
    task, example = read(make(tmp_path / "d", PLAIN + views))
    told = task.list_doubts([example, example])
    assert told[0] == "d: the view v0 is left out: no such function: own"
    assert told[MAX_NOTES:] == ["d: … and 3 more of this kind"]


def test_a_database_of_which_nothing_can_be_read_is_refused_with_the_reasons(tmp_path: Path) -> None:
    path = make(tmp_path / "d", "CREATE VIEW v AS SELECT a FROM gone")
    with pytest.raises(ConfigError, match="has no tables that can be read: the view v is left out: no such table"):
        read(path)


@pytest.mark.parametrize("ending", ["-wal", "-journal"])
def test_changes_beside_the_file_that_a_link_leads_to_are_found(tmp_path: Path, ending: str) -> None:
    (tmp_path / "far").mkdir()
    far = make(tmp_path / "far" / "d.sqlite", PLAIN)
    (tmp_path / "near").symlink_to(far)
    (tmp_path / "link").symlink_to("near")
    assert read(tmp_path / "link")[1].answer == "SELECT a FROM t"
    Path(f"{far}{ending}").write_bytes(b"x")
    with pytest.raises(ConfigError, match=f"link has changes that are not yet in it .d.sqlite{ending}."):
        read(tmp_path / "link")


@pytest.mark.parametrize("name", ["shop", "another", "other/books", "books.db", "book", "..", "x" * 5000, "a\0b"])
def test_a_row_about_another_database_than_the_one_in_settings_is_refused(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / "books.sqlite", PLAIN)
    make(tmp_path / "shop.sqlite", PLAIN)
    words = r"rows.jsonl:1: field 'db_id' is .*, but task.database is the file books.sqlite for all rows"
    with pytest.raises(DatasetError, match=words):
        read(path, db_id=name)
    unnamed = Sql(TaskConfig(name="sql", database=str(path), columns={"database": ()}))
    assert unnamed.read(row(db_id=name)).reference["database"] == str(path)


def test_rows_about_several_databases_are_refused_if_their_tables_are_not_shown(tmp_path: Path) -> None:
    for name in ("books", "shop"):
        make(tmp_path / f"{name}.sqlite", PLAIN)
    task = Sql(TaskConfig(name="sql", database=str(tmp_path), show_tables=False))
    with pytest.raises(DatasetError, match=r"task.show_tables is false, .* \(books.sqlite, shop.sqlite\)"):
        read_all(task, [[row(db_id="books")], [row(db_id="shop"), row(db_id="nowhere")]])
    (alone,) = read_all(task, [[row(db_id="books"), row(db_id="books.sqlite")]])
    assert alone.examples[0].prompt.endswith("\n\nq?") and "CREATE" not in alone.examples[0].prompt
