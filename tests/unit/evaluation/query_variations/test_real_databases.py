"""What is made from the databases that people have: codes, plurals, capitals, missing values, double quotes."""

import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from pada_agent.core.config import TaskConfig
from pada_agent.evaluation.query_variations.changes import change_values, turn_end
from pada_agent.evaluation.query_variations.columns import change_column
from pada_agent.evaluation.query_variations.english import pluralize, singularize
from pada_agent.evaluation.query_variations.nesting import find_noun, identifies, make_phrase
from pada_agent.evaluation.query_variations.places import as_words, find_named, is_amount, list_known, single_quote
from pada_agent.evaluation.sqlite.reader import Column, Table
from pada_agent.evaluation.tasks.registry import make_task
from tests.unit.evaluation.test_tasks_sql import row

SHOP = """
CREATE TABLE CUSTOMERS (CUSTOMER_ID INTEGER PRIMARY KEY, NAME TEXT, CITY TEXT, SIGNED_UP TEXT, BIRTH_YEAR INTEGER);
INSERT INTO CUSTOMERS VALUES (1, 'Ann', 'Bonn', '2024-01-02', 1950), (2, 'Ben', 'Bonn', '2024-03-04', NULL),
    (3, 'Cleo', 'Ulm', NULL, 1990), (4, 'Dan', 'Graz', '2024-05-06', 1970), (5, 'Eve', 'Graz', '2024-05-07', 1980);
"""


def make(tmp_path: Path, question: str, sql: str, n: int = 60) -> dict[str, str]:
    """Questions and queries made from one row about the shop."""
    path = tmp_path / "shop.sqlite"
    if not path.exists():
        with closing(sqlite3.connect(path)) as database, database:
            database.executescript(SHOP)
    task = make_task(TaskConfig(name="sql", database=str(path)))
    source = task.read(row(tmp_path, question=question, sql=sql))
    made = [task.vary_answer(source, [], Random(seed)) for seed in range(n)]
    return {v.rough_question: v.fields["query"] for v in made if v and v.fields["query"] != sql}


@pytest.mark.parametrize(
    ("question", "value", "is_named"),
    [
        ("How many customers live in India?", "IN", False),
        ("Show us all American customers", "US", False),
        ("how many customers are in the us", "US", False),
        ("How many customers are in the US?", "US", True),
        ("HOW MANY CUSTOMERS LIVE IN INDIA", "IN", False),
        ("Can you list the Canadian players?", "CAN", False),
        ("Can you list the players of CAN?", "CAN", True),
        ("how many patients have a rare blood type", "A", False),
        ("How many patients have blood type A?", "A", True),
        ("A list of the best students", "A", False),
        ("patients with no insurance", "No", False),
        ("how many users speak it", "it", False),
        ("what will it cost", "Will", False),
        ("what did Will write", "Will", True),
        ("what does tea cost", "Tea", True),
        ("what does Tea cost", "tea", True),
        ("北京有多少客户", "北京", True),
        ("2020年北京大学有多少学生", "北京", True),
        ("เชียงใหม่มีลูกค้ากี่คน", "เชียงใหม่", True),
        ("Berliner Kunden", "Berlin", False),
    ],
)
def test_a_code_is_not_seen_in_a_small_word_nor_a_word_in_a_longer_one(
    question: str, value: str, is_named: bool
) -> None:
    assert bool(find_named(f"SELECT a FROM t WHERE b = '{value}'", question)) == is_named


def test_a_chinese_value_is_exchanged_but_not_inside_a_longer_one() -> None:
    table = Table(name="客户", columns=(Column(name="城市", type="text", key=0, values=("北京", "上海")),))

    def exchange(sql: str) -> str | None:
        made = change_values(sql, "北京有多少客户", [table], list_rows=lambda *_: [], rng=Random(0))
        return made and made.sql

    assert exchange("SELECT COUNT(*) FROM 客户 WHERE 城市 = '北京'") == "SELECT COUNT(*) FROM 客户 WHERE 城市 = '上海'"
    assert exchange("SELECT COUNT(*) FROM 客户 WHERE 城市 = '北京' AND 大学 = '北京大学'") is None


def test_the_values_of_a_list_stay_different_if_the_question_names_another_column_too() -> None:
    names = ("Bonn", "Ulm", "Graz", "Linz")
    columns = (
        Column(name="city", type="text", key=0, values=names),
        Column(name="tier", type="text", key=0, values=("gold", "basic")),
    )
    sql = "SELECT name FROM t WHERE tier = 'gold' AND city IN ('Bonn', 'Ulm')"
    for seed in range(20):
        made = change_values(
            sql,
            "which gold customers live in Bonn or Ulm",
            [Table(name="t", columns=columns)],
            list_rows=lambda *_: [("basic", "Graz"), ("basic", "Linz")],
            rng=Random(seed),
        )
        assert made is None or len({now for _, now in made.changes}) == 3


def test_a_count_of_values_is_listed_only_if_they_name_the_things_counted(tmp_path: Path) -> None:
    made = make(tmp_path, "how many customers have signed up", "SELECT COUNT(SIGNED_UP) FROM CUSTOMERS")
    assert made and not any("SELECT SIGNED_UP" in query and "WHERE" not in query for query in made.values())
    made = make(tmp_path, "how many customers live in Bonn", "SELECT COUNT(CITY) FROM CUSTOMERS WHERE CITY = 'Bonn'")
    assert made and not any(question.startswith("which customers") for question in made)
    made = make(tmp_path, "how many customers live in Bonn", "SELECT COUNT(NAME) FROM CUSTOMERS WHERE CITY = 'Bonn'")
    assert made["which customers live in Bonn"] == "SELECT NAME FROM CUSTOMERS WHERE CITY = 'Bonn'"


def test_a_list_that_repeats_things_is_not_counted(tmp_path: Path) -> None:
    sql = "SELECT CITY FROM CUSTOMERS WHERE BIRTH_YEAR > 1960"  # Graz comes twice
    made = make(tmp_path, "which cities have customers born after 1960", sql)
    assert made and not any(query.startswith("SELECT COUNT(CITY)") for query in made.values())
    sql = "SELECT NAME FROM CUSTOMERS WHERE BIRTH_YEAR > 1960"
    made = make(tmp_path, "which customers were born after 1960", sql)
    assert made["how many customers were born after 1960"] == sql.replace("NAME", "COUNT(NAME)", 1)


def test_tables_in_capitals_and_in_the_plural_are_asked_for_in_english_and_a_job_title_names_nobody(
    tmp_path: Path,
) -> None:
    made = make(tmp_path, "how many customers are there", "SELECT COUNT(*) FROM CUSTOMERS", 150)
    assert any(question.startswith("which customer ") for question in made)
    assert all(word.islower() for question in made for word in question.split() if word.upper() == "CUSTOMERS")
    assert not any("customerss" in question for question in made)
    staff = Table(
        name="staff",
        columns=tuple(Column(name=n, type="text", key=0) for n in ("first_name", "last_name", "title")),
    )
    assert not identifies(staff, "title")
    assert identifies(Table(name="books", columns=(Column(name="title", type="text", key=0),)), "title")
    assert identifies(Table(name="books", columns=(Column(name="book_title", type="text", key=0),)), "book_title")
    assert find_noun("SELECT name FROM ORDER_ITEMS WHERE a = 1") == "order item"
    assert as_words("BIRTH_YEAR") == as_words("BirthYear") == "birth year"


def test_a_job_is_not_left_out_of_a_phrase_as_the_title_of_a_book_is() -> None:
    columns = tuple(Column(name=n, type="text", key=0) for n in ("title", "last_name"))
    employee, book = Table(name="employee", columns=columns), Table(name="book", columns=columns[:1])

    def phrase(question: str, table: str) -> str | None:
        made = make_phrase(question, f"SELECT title FROM {table}", [("x",)], [employee, book])
        return made and made.text

    assert phrase("What is the title of the newest book?", "book") == "the newest book"
    assert phrase("What is the title of the oldest employee?", "employee") == "the title of the oldest employee"
    assert phrase("What is the title of Jane Park?", "employee") == "the title of Jane Park"


@pytest.mark.parametrize(
    ("question", "columns"),
    [
        ("How many seats are there at Dock?", {"desks"}),
        ("What is the number of seats of Dock?", {"desks"}),
        ("What is the total seats of Dock?", {"desks", "area"}),
        ("How much seats has Dock?", {"desks", "area"}),
        ("What are the seats of Dock?", {"desks", "area", "town", "month"}),
    ],
)
def test_an_amount_gives_way_only_to_another_one(question: str, columns: set[str]) -> None:
    held: dict[str, tuple[int | str, ...]] = {"seats": (3, 4), "desks": (5, 6), "area": (7, 8), "month": (1, 2)}
    branch = Table(
        name="branch",
        columns=tuple(
            Column(name=n, type="", key=0, values=v)
            for n, v in {**held, "town": ("Ely", "Ulm"), "name": ("Dock",)}.items()
        ),
    )
    sql = "SELECT seats FROM branch WHERE name = 'Dock'"
    made = {
        found.changes[0][1] for seed in range(60) if (found := change_column(sql, question, [branch], rng=Random(seed)))
    }
    assert made == columns


def test_the_earliest_of_rows_without_a_value_is_not_asked_for_under_another_name(tmp_path: Path) -> None:
    sql = "SELECT NAME, BIRTH_YEAR AS born FROM CUSTOMERS ORDER BY born DESC LIMIT 1"
    made = make(tmp_path, "who is the youngest customer", sql)
    assert made and not any("oldest" in question for question in made), "the one without a year of birth comes first"


@pytest.mark.parametrize(
    ("sql", "is_turned"),
    [
        ("SELECT c.name FROM c JOIN o ON o.c = c.id GROUP BY c.id ORDER BY COUNT(*) DESC LIMIT 1", False),
        ("SELECT c.name FROM c JOIN o ON o.c = c.id GROUP BY c.id HAVING COUNT(*) > 3", False),
        ("SELECT c.name FROM c JOIN o ON o.c = c.id GROUP BY c.id ORDER BY SUM(o.n) DESC LIMIT 1", False),
        ("SELECT c FROM o GROUP BY c ORDER BY COUNT(*) DESC LIMIT 1", False),
        ("SELECT c.name FROM c JOIN o ON o.c = c.id GROUP BY c.id ORDER BY COUNT(*) ASC LIMIT 1", True),
        ("SELECT c.name FROM c LEFT JOIN o ON o.c = c.id GROUP BY c.id ORDER BY COUNT(o.c) DESC LIMIT 1", True),
        ("SELECT kind FROM o GROUP BY kind ORDER BY COUNT(*) DESC LIMIT 1", True),
        ("SELECT c.name FROM c JOIN o ON o.c = c.id ORDER BY o.n DESC LIMIT 1", True),
    ],
)
def test_the_fewest_are_not_looked_for_where_those_with_none_are_missing(sql: str, is_turned: bool) -> None:
    table = Table(name="o", columns=(Column(name="c", type="int", key=0),), references=(("c", "c", None),))
    assert (turn_end(sql, "which c has the most o", [table]) is not None) == is_turned


@pytest.mark.parametrize(
    ("name", "values", "is_known", "is_sum"),
    [
        ("productid", (1, 2), False, True),
        ("id_cliente", (1, 2), False, True),
        ("amount_paid", (1, 2), True, True),
        ("room_number", (1, 2), False, True),
        ("number_of_rooms", (1, 2), True, True),
        ("created_at", (1_700_000_000, 1_700_000_001), False, True),
        ("order_date", (20240131, 20240201), False, True),
        ("playing_time", (30, 90), True, True),
        ("month", (1, 2), True, False),
    ],
)
def test_numbers_that_things_go_by_are_no_amounts(
    name: str, values: tuple[int, ...], is_known: bool, is_sum: bool
) -> None:
    column = Column(name=name, type="int", key=0, values=values)
    assert bool(list_known(Table(name="t", columns=(column,)))) == is_known and is_amount(column) == is_sum


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        *(("countries", "country"), ("matches", "match"), ("houses", "house")),
        *(("movies", "movie"), ("people", "person"), ("staff", "staff"), ("order_items", "order_item")),
        *(("boxes", "box"), ("addresses", "address")),
    ],
)
def test_one_of_many(plural: str, singular: str) -> None:
    assert (singularize(plural), pluralize(singular), singularize(singular)) == (singular, plural, singular)


def test_texts_in_double_quotes_are_values_where_nothing_is_called_so(tmp_path: Path) -> None:
    sql = 'SELECT "a" FROM t WHERE "b" = "it\'s" AND c IN ("x", "y") AND t."d" = "b" ORDER BY "z"'
    assert single_quote(sql, {"a", "b", "d"}) == (
        'SELECT "a" FROM t WHERE "b" = \'it\'\'s\' AND c IN (\'x\', \'y\') AND t."d" = "b" ORDER BY "z"'
    )
    named = 'SELECT COUNT(*) AS "n" FROM t HAVING 3 < 4 AND x > "n"'
    assert single_quote(named, set()) == named
    made = make(tmp_path, "which customers live in Bonn", 'SELECT NAME FROM CUSTOMERS WHERE CITY = "Bonn"')
    assert made["which customers live in Graz"] == "SELECT NAME FROM CUSTOMERS WHERE CITY = 'Graz'"


def test_nothing_is_added_up_over_rows_that_repeat_with_another_value(tmp_path: Path) -> None:
    path = tmp_path / "league.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(
            "CREATE TABLE team (id INTEGER PRIMARY KEY, name TEXT, seats INTEGER);"
            "CREATE TABLE game (team_id INTEGER, season INTEGER);"
            "INSERT INTO team VALUES (1, 'Rovers', 10), (2, 'United', 30);"
            "INSERT INTO game VALUES (1, 2020), (2, 2020), (1, 2021), (1, 2021), (2, 2021);"
        )
    task = make_task(TaskConfig(name="sql", database=str(path)))
    sql = "SELECT team.name FROM team JOIN game ON game.team_id = team.id WHERE season = 2020"
    source = task.read(row(tmp_path, question="which teams played in 2020", sql=sql))
    made = [task.vary_answer(source, [], Random(seed)) for seed in range(150)]
    queries = {v.fields["query"] for v in made if v}
    summed = {query for query in queries if query.startswith(("SELECT SUM(team", "SELECT AVG(team"))}
    assert summed and not any("2021" in query for query in summed), "Rovers would count twice"
