"""Text to SQL: rows and their databases, verdicts by execution, and rows written from the query."""

import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random
from threading import Barrier
from typing import Any

import pytest

from pada_agent.core import machine
from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import ConfigError, DatasetError
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example, Prediction
from pada_agent.evaluation.rows.reading import read_files
from pada_agent.evaluation.sqlite.reader import Failure, Result, SqliteReader
from pada_agent.evaluation.task import DraftProblem
from pada_agent.evaluation.tasks.sql import Sql
from tests.unit.evaluation.cases import answer, read_all

SCHEMA = """
CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE book (
  id INTEGER PRIMARY KEY, title TEXT DEFAULT '', author INT REFERENCES author (id), year INT, price REAL);
CREATE TABLE "order" (book INT REFERENCES book, "first day" TEXT, PRIMARY KEY (book, "first day"));
INSERT INTO author VALUES (1, 'Lem'), (2, 'Le Guin');
INSERT INTO book VALUES (1, 'Solaris', 1, 1961, 9.5), (2, 'Eden', 1, 1959, 8.25), (3, 'The Dispossessed', 2, 1974, 10.0);
"""
TABLES = """CREATE TABLE author (id integer primary key, name text);
CREATE TABLE book (id integer primary key, title text, author int references author(id), year int, price real);
CREATE TABLE "order" (book int references book, "first day" text, PRIMARY KEY (book, "first day"));"""
QUESTION = "Which books are by Lem?"
QUERY = "SELECT title FROM book JOIN author ON author.id = book.author WHERE name = 'Lem'"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_database(tmp_path / "books.sqlite")
    return tmp_path


def make_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as made, made:
        made.executescript(SCHEMA)
    made.close()


def row(folder: Path, *, number: int = 1, **fields: Any) -> RawRow:
    return RawRow(where=f"{folder / 'rows.jsonl'}:{number}", fields={"question": QUESTION, "sql": QUERY, **fields})


def task(folder: Path, **settings: Any) -> Sql:
    return Sql(TaskConfig(name="sql", **{"database": str(folder / "books.sqlite"), **settings}))


def read(folder: Path, **fields: Any) -> Example:
    return task(folder).read(row(folder, **fields))


def test_the_student_sees_tables_with_keys_and_the_question(folder: Path) -> None:
    example = read(folder)
    assert example.prompt == f"Write one SQLite query that answers the question.\n\n{TABLES}\n\n{QUESTION}"
    assert (example.answer, example.reference["question"]) == (QUERY, QUESTION)


def test_a_parse_tree_beside_the_query_is_passed_over_as_in_spiders_files(folder: Path) -> None:
    tree = {"select": [False, []], "from": {"conds": []}}
    rows = [row(folder, sql=tree, query=QUERY, number=n) for n in (1, 2)]
    (file,) = read_files(task(folder), [rows])
    assert ([example.answer for example in file.examples], file.problems) == ([QUERY, QUERY], ())
    assert file.understood.unused == ("sql",)


def test_one_object_among_queries_is_refused_alone(folder: Path) -> None:
    rows = [row(folder, sql=QUERY, number=1), row(folder, sql={"select": []}, number=2)]
    (file,) = read_files(task(folder), [rows])
    assert [example.answer for example in file.examples] == [QUERY]
    assert [problem.reason for problem in file.problems] == [
        "field 'sql' is {'select': []}, but expected text, not dict"
    ]


def test_values_are_shown_where_settings_ask_for_them(folder: Path) -> None:
    prompt = task(folder, sample_values=2, instruction="SQL!").read(row(folder)).prompt
    assert prompt.startswith(
        "SQL!\n\nCREATE TABLE author (id integer primary key, name text);\n-- id: 1, 2\n-- name: 'Le Guin', 'Lem'\n"
    )
    assert "-- title: 'Eden', 'The Dispossessed'\n" in prompt


@pytest.mark.parametrize(
    ("fields", "query"),
    [
        ({"question": "q?", "sql": "SELECT 1;"}, "SELECT 1"),
        ({"question": "q?", "query": "select 1 -- one", "db_id": "books"}, "select 1 -- one"),
        ({"question": "q?", "SQL": "VALUES (1)", "evidence": "x"}, "VALUES (1)"),
        ({"prompt": "q?", "completion": "SELECT 1"}, "SELECT 1"),
        ({"messages": [{"role": "user", "content": "q?"}, {"role": "assistant", "content": "SELECT 1;"}]}, "SELECT 1"),
    ],
)
def test_rows_come_in_the_forms_that_people_have(folder: Path, fields: dict[str, Any], query: str) -> None:
    example = task(folder).read(RawRow(where="rows.jsonl:1", fields=fields))
    assert (example.answer, example.reference["question"]) == (query, "q?")


@pytest.mark.parametrize("name", ["books.sqlite", "books", "sub/shop", "shop", "club", "{folder}/books.sqlite"])
def test_a_row_names_a_database_beside_its_file(folder: Path, name: str) -> None:
    (folder / "sub").mkdir()
    (folder / "shop").mkdir()
    (folder / "club").mkdir()
    make_database(folder / "sub" / "shop.db")
    make_database(folder / "club" / "club.db")
    make_database(folder / "shop" / "shop.sqlite")
    assert task(folder, database="").read(row(folder, database=name.format(folder=folder))).answer == QUERY
    if "{" not in name:
        assert task(folder, database=str(folder)).read(row(folder / "elsewhere", database=name)).answer == QUERY


@pytest.mark.parametrize(
    "name",
    ["books", "books.sqlite", "Books", "./books.sqlite", "{folder}/books.sqlite", "{folder.name}/books", "link", None],
)
def test_one_database_in_settings_holds_for_all_rows(folder: Path, name: str | None) -> None:
    (folder / "link.sqlite").symlink_to(folder / "books.sqlite")
    example = read(folder, database=name and name.format(folder=folder))
    assert example.reference["database"] == str(folder / "books.sqlite")


def test_a_changed_database_makes_other_examples(folder: Path) -> None:
    before = read(folder)
    with closing(sqlite3.connect(folder / "books.sqlite")) as changed, changed:
        changed.execute("DELETE FROM book WHERE title = 'Eden'")
    changed.close()
    assert read(folder).reference["database_sha256"] != before.reference["database_sha256"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"database": "nowhere"}, "rows.jsonl:7: field 'database' is 'nowhere', but there is no such file in {folder}"),
        ({"database": "x" * 5000}, "but there is no such file"),
        ({"database": "rows.jsonl"}, "rows.jsonl is not an SQLite database"),
        ({"database": "empty.sqlite"}, "empty.sqlite has no tables"),
        ({"database": "damaged.sqlite"}, "damaged.sqlite cannot be read: file is not a database"),
        ({"database": "open.sqlite"}, "has changes that are not yet in it (open.sqlite-wal). Close what has it open"),
        ({"database": None}, "rows.jsonl:7: no database. Set task.database to the SQLite file"),
        ({"database": "books", "sql": "SELECT titel FROM book"}, "books.sqlite it fails: no such column: titel"),
        (
            {"database": "books", "sql": "DELETE FROM book"},
            "field 'sql' is 'DELETE FROM book', but a query begins with SELECT",
        ),
        (
            {"database": "books", "sql": "SELECT title FROM book WHERE title ILIKE 'e%'"},
            'near "ILIKE": syntax error. It has to be in the dialect of SQLite 3.',
        ),
        ({"database": "books", "sql": "SELECT year::text FROM book"}, "It has to be in the dialect of SQLite 3."),
        ({"database": "books", "sql": "SELECT 1; SELECT 2"}, "it fails: You can only execute one statement"),
        (
            {"database": "books", "sql": "SELECT title FROM book ORDER BY random() LIMIT 1"},
            "random() gives something else",
        ),
        ({"database": "books", "sql": "```sql\nSELECT 1\n```"}, "VALUES. Write the query alone, without a fence"),
        ({"database": "books", "sql": "SQL: SELECT 1"}, "VALUES. Write the query alone, without a fence, a label"),
        ({"database": "books", "sql": "SELECT 1\n```"}, 'it fails: unrecognized token: "```". Write the query alone'),
        (
            {"database": "books", "sql": "SELECT title FROM book WHERE id = ?"},
            "it fails: a query cannot have parameters",
        ),
        ({"database": "books", "sql": "SELECT :id"}, "it fails: a query cannot have parameters (such as ? or :name)"),
        (
            {"database": "books", "sql": 'SELECT year, "titel" FROM book'},
            "gives the text 'titel' itself: no column has that name",
        ),
        ({"database": "books", "sql": ""}, "field 'sql' is empty"),
    ],
)
def test_a_row_that_cannot_be_checked_is_refused_with_its_place(
    folder: Path, fields: dict[str, Any], words: str
) -> None:
    (folder / "rows.jsonl").write_text("{}\n")
    sqlite3.connect(folder / "empty.sqlite").execute("VACUUM").connection.close()
    (folder / "damaged.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 2000)
    make_database(folder / "open.sqlite")
    (folder / "open.sqlite-wal").write_bytes(b"x")
    with pytest.raises(DatasetError) as caught:
        task(folder, database="").read(row(folder, number=7, **fields))
    assert words.format(folder=folder) in str(caught.value)


def test_a_row_cannot_leave_the_folder_of_settings(folder: Path) -> None:
    (folder / "inside").mkdir()
    (folder / "inside" / "link.sqlite").symlink_to(folder / "books.sqlite")
    for name in ("../books", "link", str(folder / "books.sqlite")):
        with pytest.raises(DatasetError, match=r"that lies outside .*inside, the folder in task.database"):
            task(folder, database=str(folder / "inside")).read(row(folder, database=name))


def test_a_database_in_settings_that_is_none_is_told_with_its_key(folder: Path) -> None:
    for name, words in (("nowhere", "is not a file"), ("rows.jsonl", "is not an SQLite database")):
        (folder / "rows.jsonl").write_text("{}\n")
        with pytest.raises(ConfigError, match=f"task.database: .*{name} {words}"):
            task(folder, database=str(folder / name)).read(row(folder))


def test_queries_without_rows_are_told(folder: Path) -> None:
    rows = [row(folder), row(folder, number=2, sql="SELECT title FROM book WHERE year = 1")]
    (read_in,) = read_all(task(folder), [rows])
    assert read_in.understood.notes == (
        "1 query returns no rows, so any query that returns none counts as right there",
    )
    assert read_in.understood.unused == ()


def test_queries_whose_first_row_is_an_arbitrary_one_are_told(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "books.sqlite")) as database, database:
        database.execute("INSERT INTO book VALUES (4, 'Fiasco', 1, 1974, NULL)")
    queries = [
        "SELECT title FROM book ORDER BY year DESC LIMIT 1",  # two books are of 1974
        "SELECT title FROM book ORDER BY year LIMIT 1",
        "SELECT title FROM book ORDER BY price LIMIT 1",  # one book has no price
        "SELECT title FROM book ORDER BY price DESC LIMIT 1",
        "SELECT title FROM book ORDER BY year DESC LIMIT 2",
        "SELECT year FROM book ORDER BY year DESC LIMIT 1",  # whichever comes first, the result is the same
        "SELECT title, year AS y FROM book ORDER BY y DESC LIMIT 1",
        "SELECT title, year FROM book ORDER BY 2 DESC LIMIT 1",
        "SELECT title FROM book ORDER BY 1 LIMIT 1",
        "WITH b AS (SELECT * FROM book) SELECT title FROM b ORDER BY year DESC LIMIT 1",
        "SELECT name FROM author WHERE id = (SELECT author FROM book ORDER BY price LIMIT 1)",  # no price
        "SELECT title FROM book LIMIT 2",
    ]
    rows = [row(folder, number=n, question=f"Question {n}", sql=sql) for n, sql in enumerate(queries)]
    (read_in,) = read_all(task(folder), [rows])
    assert read_in.understood.notes == (
        "7 queries return the first of several equal rows, or rows without a value to sort by ('Question 0'). Any other choice"
        " counts as wrong there",
    )


@pytest.mark.parametrize(
    ("sql", "response", "value", "reason"),
    [
        (QUERY, QUERY, "correct", ""),
        (
            QUERY,
            "```sql\nselect b.title from author a, book b where a.id = b.author and a.name = 'Lem' order by 1;\n```",
            "correct",
            "",
        ),
        (QUERY, "SQL: SELECT title FROM book WHERE author = 1; these are all", "correct", ""),
        (QUERY, "SELECT title FROM book", "wrong", "other number of rows (3, not 2)"),
        (QUERY, "SELECT title, year FROM book WHERE author = 1", "wrong", "other number of columns (2, not 1)"),
        (
            QUERY,
            "SELECT upper(title) FROM book WHERE author = 1",
            "wrong",
            "other values, such as 'SOLARIS' instead of 'Solaris'",
        ),
        (QUERY, "SELECT titel FROM book", "wrong", "no such column: titel"),
        (QUERY, "SELECT title FROM", "wrong", "incomplete input"),
        (QUERY, "DROP TABLE book", "wrong", "no query: a SELECT is expected"),
        (QUERY, "I do not know", "wrong", "no query: a SELECT is expected"),
        (QUERY, "", "wrong", "no query: a SELECT is expected"),
        (QUERY, "SELECT load_extension('x')", "wrong", "not allowed: FUNCTION load_extension"),
        (QUERY, "SELECT '\udc80'", "wrong", "the query contains an invalid character ('\\udc80')"),
        ("SELECT avg(price) FROM book", "SELECT sum(price) / 3 FROM book", "correct", ""),
        ("SELECT title FROM book ORDER BY year", "SELECT title FROM book ORDER BY year", "correct", ""),
        (
            "SELECT title FROM book ORDER BY year",
            "SELECT title FROM book ORDER BY id",
            "wrong",
            "the right rows in another order",
        ),
        (
            "SELECT title FROM (SELECT title FROM book ORDER BY year)",
            "SELECT title FROM book ORDER BY id",
            "correct",
            "",
        ),
    ],
)
def test_a_query_is_right_when_its_result_is(folder: Path, sql: str, response: str, value: str, reason: str) -> None:
    verdict = answer(task(folder), read(folder, sql=sql), response)
    assert (verdict.value, verdict.reason) == (value, reason)


def test_a_wrong_query_that_was_cut_off_says_so(folder: Path) -> None:
    verdict = answer(task(folder), read(folder), "SELECT title FROM book WHERE", truncated=True)
    assert verdict.reason == "incomplete input; the response was cut off"


def test_a_query_that_a_busy_machine_did_not_run_is_not_scored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example, own = read(folder), task(folder)
    run = SqliteReader.query
    busy = Failure(reason="the machine is too busy", is_undecided=True)
    monkeypatch.setattr(SqliteReader, "query", lambda self, path, sql: run(self, path, sql) if sql == QUERY else busy)
    verdict = answer(own, example, "SELECT title FROM book")
    assert (verdict.value, verdict.reason) == ("unscored", "the machine is too busy")


def test_what_cannot_be_compared_with_is_not_scored(folder: Path) -> None:
    example = read(folder)
    (folder / "books.sqlite").unlink()
    verdict = answer(task(folder), example, QUERY)
    assert (verdict.value, verdict.reason) == ("unscored", "the row's own query fails: unable to open database file")


def test_answers_are_not_scored_on_another_database_than_the_rows_were_read_with(folder: Path) -> None:
    """As when a run is resumed after the file was corrected: some of its models would be measured on either."""
    example = read(folder)
    assert answer(task(folder), example, QUERY).value == "correct"
    with closing(sqlite3.connect(folder / "books.sqlite")) as changed, changed:
        changed.execute("UPDATE book SET title = 'Fiasco' WHERE id = 1")
    changed.close()
    for is_fixed in (True, False):
        later = task(folder) if is_fixed else task(folder, database=str(folder))
        with pytest.raises(DatasetError, match=r"books.sqlite: the database has changed since its rows were read"):
            answer(later, example, QUERY)
        with pytest.raises(DatasetError, match="has changed"):
            later.verify_label(example)


def compose(folder: Path, query: str, question: str = "Which ones?") -> Example | DraftProblem:
    draft = {"query": query, "question": question}
    return task(folder).compose(draft, source=read(folder), given={}, example_id="syn-1")


def test_a_row_is_written_from_the_query(folder: Path) -> None:
    assert list(task(folder).draft_fields()) == ["query", "question"] == list(task(folder).show(read(folder)))
    made = compose(folder, "```sql\nSELECT name FROM author;\n```")
    assert isinstance(made, Example)
    assert (made.answer, made.prompt) == ("SELECT name FROM author", read(folder, question="Which ones?").prompt)


@pytest.mark.parametrize(
    ("query", "question", "reason"),
    [
        ("", "Which?", "field 'query' is missing or empty"),
        ("all authors", "Which?", "field 'query' is not a SELECT"),
        ("SELECT 1", "SELECT name FROM author", "field 'question' holds a query: ask in plain words"),
    ],
)
def test_a_draft_without_query_or_question_goes_back(folder: Path, query: str, question: str, reason: str) -> None:
    assert compose(folder, query, question) == DraftProblem(reason=reason)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT name FROM author", None),
        ("SELECT count(*) FROM book", None),
        ("SELECT nam FROM author", "the query: no such column: nam"),
        ("SELECT name FROM writer", "the query: no such table: writer"),
        (
            "SELECT title FROM book WHERE year = 1900",
            "the query: gives nothing: the values in it must be ones that the database has",
        ),
        (
            "SELECT max(year) FROM book WHERE author = 7",
            "the query: gives nothing: the values in it must be ones that the database has",
        ),
        (
            "SELECT count(*) FROM book WHERE author = 7",
            "the query: gives 0: the values in it must be ones that the database has",
        ),
        ("SELECT 'Lem'", "the query: reads no table"),
        ("SELECT 'Lem' FROM book WHERE year > 1960", "the query: gives what is written in it, nothing of the database"),
        ("SELECT random() FROM book", "the query: gives something else each time"),
        ('SELECT "titel" FROM book', "the query: gives the text 'titel' itself: no column has that name"),
        ('SELECT "title" FROM book WHERE title = "Solaris"', None),
    ],
)
def test_a_draft_whose_query_teaches_nothing_is_refused_with_the_reason(
    folder: Path, query: str, reason: str | None
) -> None:
    made = compose(folder, query)
    assert isinstance(made, Example)
    verdict = task(folder).verify_label(made)
    assert verdict.value == ("wrong" if reason else "correct")
    assert reason is None or verdict.reason == reason


def test_a_writer_is_told_the_tables_once_and_other_values_for_each_row(folder: Path) -> None:
    own, example = task(folder, description="Asked in a library."), read(folder)
    assert (
        own.about([example, example])
        == f"Asked in a library.\n\nThe tables of the database:\n{TABLES}"
        == own.about([])
    )
    assert own.asked(example) == QUESTION
    values = own.assign(example, (), Random(0))["values"]
    assert values.startswith("author.id: ") and "book.title: 'Solaris', " in values and "order" not in values
    assert values != own.assign(example, (), Random(1))["values"]
    assert task(folder, database="").about([]) == ""


def test_a_solver_sees_the_tables_and_agrees_by_its_result(folder: Path) -> None:
    own, example = task(folder), read(folder)
    posed = own.pose(example, Random(0))
    assert (posed.question, posed.options) == (QUESTION, ())
    assert own.agrees(example, "SELECT title FROM book WHERE author = 1", posed)
    assert not own.agrees(example, "SELECT title FROM book", posed)


def test_a_wrong_answer_keeps_the_question(folder: Path) -> None:
    own, other = task(folder), read(folder, question="Who wrote?", sql="SELECT name FROM author")
    assert own.misanswer(read(folder), other) == {"query": "SELECT name FROM author", "question": QUESTION}
    assert own.question_field == "question"


def test_predictions_are_verified_side_by_side_in_order_and_leave_no_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "count_cores", lambda: 3)
    own = task(folder)
    examples = [read(folder), read(folder, sql="SELECT name FROM author"), *[read(folder)] * 40]
    wordings = [QUERY, QUERY, "?", *[f"{QUERY} LIMIT {n}" for n in range(39)]]
    responses = [Prediction(example_id=e.id, response=r) for e, r in zip(examples, wordings, strict=True)]
    verdicts = own.verify_all(examples, responses)
    assert [reader._process for reader in own._readers._idle.queue] == [None] * 3
    assert [v.value for v in verdicts[:4]] == ["correct", "wrong", "wrong", "wrong"]
    assert verdicts == [own.verify(e, p) for e, p in zip(examples, responses, strict=True)]


def test_queries_run_at_the_same_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "count_cores", lambda: 2)
    both, own = Barrier(2, timeout=60), task(folder)
    query = SqliteReader.query

    def meet(reader: SqliteReader, database: Path, sql: str) -> Result | Failure:
        both.wait()  # broken if queries follow one another
        return query(reader, database, sql)

    example = read(folder)
    own.verify(example, Prediction(example_id="x", response=QUERY))
    monkeypatch.setattr(SqliteReader, "query", meet)
    responses = [Prediction(example_id="x", response=QUERY)] * 4
    assert [v.value for v in own.verify_all([example] * 4, responses)] == ["correct"] * 4


def test_earlier_turns_are_told_to_writers_and_solvers_and_kept(folder: Path) -> None:
    own = task(folder)
    turns = [
        *({"role": "user", "content": "Who wrote Eden?"}, {"role": "assistant", "content": "SELECT name FROM author"}),
        *({"role": "user", "content": "And Solaris?"}, {"role": "assistant", "content": "SELECT title FROM book"}),
    ]
    example = own.read(RawRow(where="rows.jsonl:1", fields={"messages": turns}))
    assert list(own.show(example)) == ["query", "question", "earlier_turns"]
    assert "Who wrote Eden?" in own.assign(example, (), Random(0))["earlier_turns"]
    for asked in (own.asked(example), own.pose(example, Random(0)).question):
        assert "Who wrote Eden?" in asked and asked.endswith("And Solaris?")
    draft = {"query": "SELECT year FROM book", "question": "When?"}
    made = own.compose(draft, source=example, given={}, example_id="syn-1")
    assert isinstance(made, Example) and made.history == example.history


@pytest.mark.parametrize(
    ("query", "changing"),
    [
        ("SELECT title FROM book WHERE year < strftime('%Y', 'now')", "'now'"),
        ("SELECT title FROM book ORDER BY random()", r"random\(\)"),
        ("SELECT CURRENT_TIMESTAMP, title FROM book", "current_timestamp"),
        ("SELECT title, date( ) FROM book", r"date\(\)"),
        ("SELECT title FROM book WHERE year < strftime('%Y')", r"strftime\(\)"),
        ("SELECT title, date('n' || 'OW') FROM book", "'now'"),
        ("SELECT title, time(x) FROM book, (SELECT 'now' AS x)", "'now'"),
        ("SELECT title FROM recent", "'now'"),
        ("SELECT ticket FROM lottery", r"random\(\)"),
    ],
)
def test_a_query_that_asks_chance_or_the_clock_is_refused(folder: Path, query: str, changing: str) -> None:
    with closing(sqlite3.connect(folder / "books.sqlite")) as changed, changed:
        changed.executescript(
            """CREATE VIEW recent AS SELECT title FROM book WHERE year > strftime('%Y', 'now') - 100;
            CREATE VIEW lottery AS SELECT title, random() AS ticket FROM book;"""
        )
    changed.close()
    with pytest.raises(DatasetError, match=f"{changing} gives something else each time.*Write a value in its place"):
        read(folder, sql=query)


def test_now_may_be_a_value_and_dates_may_be_written(folder: Path) -> None:
    assert read(folder, sql="SELECT date('2020-01-01', '+1 day'), title FROM book")
    assert read(folder, sql="SELECT title FROM book WHERE title <> 'now'")
    assert read(folder, sql="SELECT title FROM book WHERE title <> 'now' AND date(year, 'unixepoch') > '1960'")
    assert read(folder, sql="SELECT strftime('%Y', year), julianday(x'00'), date(NULL) FROM book")


def test_a_query_with_blank_lines_is_right_as_its_own_answer_and_as_a_draft(folder: Path) -> None:
    sql = "WITH old AS (\n  SELECT title FROM book WHERE year < 1970\n),\n\nlast AS (SELECT * FROM old)\n\nSELECT title FROM last"
    assert answer(task(folder), read(folder, sql=sql), sql).value == "correct"
    made = compose(folder, sql)
    assert isinstance(made, Example) and made.answer == sql
