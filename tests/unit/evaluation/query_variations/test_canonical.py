"""Queries made from the tables alone, and questions in plain words that ask for exactly that."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from pada_agent.core.config import TaskConfig
from pada_agent.evaluation.query_variations.canonical import Style, find_style, make_canonical
from pada_agent.evaluation.query_variations.english import are_english
from pada_agent.evaluation.sqlite.reader import Column, Table
from pada_agent.evaluation.tasks.registry import make_task
from tests.unit.evaluation.test_tasks_sql import row

STYLE = Style(counts_rows=True, sorts=True)
AUTHOR = Table(
    name="author",
    columns=(
        Column(name="name", type="text", key=1, values=("Ann", "Ben", "O'Neil")),
        Column(name="capital", type="text", key=0, values=("x", "y", "z")),
        Column(name="born", type="int", key=0, values=(1950, 1980)),
        Column(name="country", type="text", key=0, values=("Norway", "Ghana")),
    ),
)
BOOK = Table(
    name="book",
    columns=(
        Column(name="title", type="text", key=1, values=("Moss", "Snow", "Ice")),
        Column(name="author", type="text", key=0, values=("Ann", "O'Neil")),
        Column(name="pages", type="int", key=0, values=(96, 148)),
    ),
    references=(("author", "author", "name"),),
)
LOAN = Table(
    name="loan",
    columns=(
        Column(name="book", type="text", key=0, values=("Moss", "Snow")),
        Column(name="day", type="text", key=0, values=("2024-01-01", "2024-01-02")),
    ),
    references=(("book", "book", None),),
)
TABLES = (AUTHOR, BOOK, LOAN)


def draw(*tables: Table, style: Style = STYLE, is_true: Callable[[str], bool] = lambda _: True) -> dict[str, str]:
    made = (make_canonical(tables, TABLES, style, Random(seed), is_true=is_true) for seed in range(3000))
    return {asked.question: asked.sql for asked in made if asked}


@pytest.mark.parametrize(
    ("column", "did"), [("joined", "join"), ("year_joined", "join"), ("left", "leave"), ("died", "die")]
)
def test_what_people_do_themselves_is_said_in_the_active(column: str, did: str) -> None:
    said = column.removeprefix("year_")
    member = Table(
        name="member",
        columns=(AUTHOR.columns[0], Column(name=column, type="int", key=0, values=(2001, 2015, 2019))),
    )
    made = draw(member)
    assert made[f"when did Ann {did}"] == f"SELECT {column} FROM member WHERE name = 'Ann'"
    assert made[f"which member {said} last"] == f"SELECT name FROM member ORDER BY {column} DESC LIMIT 1"
    assert made[f"list the members that {said} after 2015"] == f"SELECT name FROM member WHERE {column} > 2015"
    assert not any(f"was {said}" in question or "SUM" in sql for question, sql in made.items())


def test_what_is_asked_about_one_table() -> None:
    made = draw(AUTHOR)
    assert made == made | {
        "how many authors are there": "SELECT COUNT(*) FROM author",
        "how many authors with country Ghana are there": "SELECT COUNT(*) FROM author WHERE country = 'Ghana'",
        "list the authors born after 1950": "SELECT name FROM author WHERE born > 1950",
        "what are the authors with country Norway": "SELECT name FROM author WHERE country = 'Norway'",
        "what is the country of O'Neil": "SELECT country FROM author WHERE name = 'O''Neil'",
        "when was Ann born": "SELECT born FROM author WHERE name = 'Ann'",
        "which author was born first": "SELECT name FROM author ORDER BY born LIMIT 1",
        "which author with country Ghana was born last": (
            "SELECT name FROM author WHERE country = 'Ghana' ORDER BY born DESC LIMIT 1"
        ),
        "how many authors are there for each country": "SELECT country, COUNT(*) FROM author GROUP BY country",
        "which country has the fewest authors": (
            "SELECT country FROM author GROUP BY country ORDER BY COUNT(*) LIMIT 1"
        ),
    }
    assert not any("capital" in q for q in made if not q.startswith("what is the capital of")), "each has its own"
    assert not any("SUM(born)" in sql or "AVG(born)" in sql for sql in made.values()), "nobody adds up years"


def test_what_refers_to_another_table_is_asked_for_by_what_is_there() -> None:
    made = draw(BOOK)
    assert made["list the books whose author is one of the authors born after 1950"] == (
        "SELECT title FROM book WHERE author IN (SELECT name FROM author WHERE born > 1950)"
    )
    assert made["which book has the largest pages"] == "SELECT title FROM book ORDER BY pages DESC LIMIT 1"
    assert made["what is the total pages of the books"] == "SELECT SUM(pages) FROM book"
    assert made["which author has the most books"] == (
        "SELECT author FROM book GROUP BY author ORDER BY COUNT(*) DESC LIMIT 1"
    )


def test_rows_without_names_are_asked_about_by_what_they_refer_to() -> None:
    made = draw(LOAN)
    assert made["how many loans are there for each book"] == "SELECT book, COUNT(*) FROM loan GROUP BY book"
    assert not any("2024" in question for question in made), "a date is no name"
    assert not any(question.startswith(("when was", "which loan")) for question in made)


def test_names_that_several_rows_share_and_columns_with_gaps_give_no_wrong_questions() -> None:
    made = draw(AUTHOR, is_true=lambda sql: "DISTINCT" not in sql)
    begins = {" ".join(question.split()[:2]) for question in made}
    assert begins == {"list the", "what are", "what is", "when was"}, "a count of rows would be no count of authors"
    made = draw(AUTHOR, is_true=lambda sql: "DISTINCT" in sql)
    assert not any("born first" in question for question in made), "sorted upwards, NULL would come first"
    assert any("born last" in question for question in made)
    checked = Column(name="verified", type="int", key=0, values=(0, 1))
    made = draw(AUTHOR.model_copy(update={"columns": (AUTHOR.columns[0], checked)}))
    assert set(made) == {"how many authors are there"}, "nobody was verified in the year 1"


def test_queries_are_written_as_the_user_writes_them() -> None:
    other = Style(counts_rows=False, sorts=False)
    made = draw(AUTHOR, style=other)
    assert made["how many authors are there"] == "SELECT COUNT(name) FROM author"
    assert made["which author with country Ghana was born last"] == (
        "SELECT name FROM author WHERE born = (SELECT MAX(born) FROM author WHERE country = 'Ghana') AND country = 'Ghana'"
    )
    assert find_style(["SELECT count( *) FROM t", "SELECT a FROM t\nORDER  BY b LIMIT 1"]) == Style(True, True)
    assert find_style(["SELECT COUNT(a) FROM t", "SELECT a FROM t WHERE b = (SELECT MAX(b) FROM t)"]) == other


@pytest.mark.parametrize(
    "table",
    [
        Table(name="log", columns=(Column(name="day", type="text", key=0, values=("2024-01-01", "2024-01-02")),)),
        Table(name="my table", columns=AUTHOR.columns),
        Table(name="log", columns=(Column(name="name", type="text", key=0, values=('{"a": 1}', "<b>x</b>")),)),
        Table(name="author", columns=(Column(name="name", type="text", key=1, values=(1, 2)),)),
    ],
)
def test_nothing_is_asked_where_nothing_has_a_name(table: Table) -> None:
    assert draw(table) == {}


def test_all_that_is_made_for_a_real_database_runs_and_gives_something(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(
            """
            CREATE TABLE shop (name TEXT PRIMARY KEY, "floor area" REAL, town TEXT, opened INTEGER);
            CREATE TABLE sale (shop TEXT REFERENCES shop, product TEXT, amount INTEGER, price REAL);
            INSERT INTO shop VALUES ('Old Mill', 12.5, 'Ely', 1990), ('New Mill', 99.25, 'Bath', 2001), ('Dock', 3, 'Bath', NULL);
            INSERT INTO sale VALUES ('Dock', 'tea', 3, 0.123456789012), ('Dock', 'jam', 4, 2.5), ('Old Mill', 'tea', 9, 7);
            """
        )
    task = make_task(TaskConfig(name="sql", database=str(path)))
    source = task.read(row(tmp_path, question="what does tea cost", sql="SELECT price FROM sale WHERE product = 'tea'"))
    made = [task.vary_answer(source, [source], Random(seed)) for seed in range(80)]
    queries = {varied.fields["query"] for varied in made if varied}
    assert len(queries) > 20
    with closing(sqlite3.connect(path)) as database:
        assert all(database.execute(query).fetchall() for query in queries)
    assert not any("0.123456789012" in query or "floor area" in query for query in queries)


def test_a_part_of_a_reference_a_code_and_a_number_that_is_no_year_are_not_asked_for() -> None:
    course = Table(
        name="course",
        columns=tuple(Column(name=n, type="text", key=k, values=("a", "b")) for k, n in ((1, "dept"), (2, "number"))),
    )
    numbers = ("zip", "weight", "verified", "author_id")
    columns = [Column(name=n, type="int", key=0, values=(0, 1) if n == "verified" else (1500, 1600)) for n in numbers]
    taken = Table(
        name="enrollment",
        columns=(
            Column(name="name", type="text", key=0, values=("x", "y", "z")),
            Column(name="dept", type="text", key=0, values=("a", "b")),
            *columns,
        ),
        references=(("dept", "course", "dept"),),
    )
    made = (make_canonical([taken], [course], STYLE, Random(seed), is_true=lambda _: True) for seed in range(500))
    text = " ".join(asked.question for asked in made if asked)
    assert "weight over 1500" in text and "weight after" not in text
    assert not any(word in text for word in ("zip", "verified", "author id", "courses"))


@pytest.mark.parametrize(
    ("question", "sql"),
    [
        ("which shop is the largest", "SELECT name FROM shop ORDER BY size DESC LIMIT 1"),  # the smallest has no size
        ("which shop has the most floors", "SELECT name FROM shop ORDER BY floors DESC LIMIT 1"),  # two have the fewest
    ],
)
def test_the_first_of_several_equal_rows_is_no_answer(tmp_path: Path, question: str, sql: str) -> None:
    path = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(
            "CREATE TABLE shop (name TEXT, size INTEGER, floors INTEGER);"
            "INSERT INTO shop VALUES ('Dock', 9, 1), ('Mill', NULL, 1), ('Hill', 30, 3);"
        )
    task = make_task(TaskConfig(name="sql", database=str(path)))
    source = task.read(row(tmp_path, question=question, sql=sql))
    made = [task.vary_answer(source, [source], Random(seed)) for seed in range(60)]
    queries = {varied.fields["query"] for varied in made if varied}
    assert len(queries) > 3
    assert not {
        query for query in queries if query.endswith("LIMIT 1") and "WHERE" not in query and "DESC" not in query
    }


def test_rows_in_another_language_get_no_english_questions(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript("CREATE TABLE shop (name TEXT, town TEXT); INSERT INTO shop VALUES ('Dock', 'Ely');")
    task = make_task(TaskConfig(name="sql", database=str(path)))
    fields = {"question": "wie viele Läden gibt es", "sql": "SELECT COUNT(*) FROM shop"}
    source = task.read(row(tmp_path, **fields))
    made = [task.vary_answer(source, [source], Random(seed)) for seed in range(20)]
    assert {varied.rough_question for varied in made if varied} == {fields["question"]}
    assert are_english(["What is it?", "die Städte", "list all"]) and not are_english(
        ["was ist das", "what", "wo", "x"]
    )
