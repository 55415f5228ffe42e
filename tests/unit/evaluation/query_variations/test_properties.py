"""Another property of what a question finds."""

from random import Random

import pytest

from pada_agent.evaluation.query_variations.english import pluralize
from pada_agent.evaluation.query_variations.properties import ask_for_another
from pada_agent.evaluation.sqlite.reader import Column, Table, Value

BOOK = Table(
    name="book",
    columns=(
        Column(name="title", type="text", key=1, values=("Moss", "Snow")),
        Column(name="author", type="text", key=0, values=("Ann", "Ben")),
        Column(name="year", type="int", key=0, values=(1987, 2011)),
        Column(name="n_pages", type="int", key=0, values=(96, 148)),
        Column(name="language", type="text", key=0, values=("en",)),
    ),
    references=(("author", "author", "name"),),
)
AUTHOR = Table(
    name="author",
    columns=(
        Column(name="name", type="text", key=1, values=("Ann", "Ben")),
        Column(name="country", type="text", key=0, values=("Norway", "Ghana")),
    ),
)
ONE: list[tuple[Value, ...]] = [("Moss",)]
TWO: list[tuple[Value, ...]] = [("Moss",), ("Snow",)]


def draw(sql: str, question: str, rows: list[tuple[Value, ...]], *tables: Table) -> set[tuple[str, str]]:
    made = (ask_for_another(sql, question, tables or (BOOK,), rows=rows, rng=Random(seed)) for seed in range(60))
    return {found for found in made if found}


def test_one_thing_is_asked_for_each_of_its_other_columns() -> None:
    sql = "SELECT title FROM book ORDER BY year DESC LIMIT 1"
    assert draw(sql, "What is our newest book?", ONE) == {
        ("what is the author of our newest book", "SELECT author FROM book ORDER BY year DESC LIMIT 1"),
        ("what is the year of our newest book", "SELECT year FROM book ORDER BY year DESC LIMIT 1"),
        ("what is the n pages of our newest book", "SELECT n_pages FROM book ORDER BY year DESC LIMIT 1"),
    }


def test_a_list_is_also_asked_for_what_can_be_computed_over_it_but_years_are_not_added_up() -> None:
    sql = "SELECT book.title FROM book WHERE author = 'Ann'"
    made = draw(sql, "which books are by Ann?", TWO)
    rest = "FROM book WHERE author = 'Ann'"
    assert {query for _, query in made} == {
        *(f"SELECT {given} {rest}" for given in ("book.year", "book.n_pages")),
        *(f"SELECT {f}(book.year) {rest}" for f in ("AVG", "MIN", "MAX")),
        *(f"SELECT {f}(book.n_pages) {rest}" for f in ("AVG", "MIN", "MAX", "SUM")),
    }
    assert ("what is the total n pages of the books that are by Ann", f"SELECT SUM(book.n_pages) {rest}") in made
    assert ("what are the years of the books that are by Ann", f"SELECT book.year {rest}") in made


@pytest.mark.parametrize(
    "sql", ["SELECT title FROM book WHERE year > 1980 ORDER BY year", "SELECT title FROM book LIMIT 2"]
)
def test_nothing_is_computed_over_rows_that_are_sorted_or_cut(sql: str) -> None:
    assert draw(sql, "which books are new", TWO)
    assert not any("(" in query for _, query in draw(sql, "which books are new", TWO))


def test_nothing_is_computed_over_rows_that_repeat() -> None:
    made = draw("SELECT title FROM book", "which books are there", [("Moss",), ("Moss",)])
    assert made and not any("(" in query for _, query in made)


def test_who_is_named_after_the_table() -> None:
    sql = "SELECT name FROM author WHERE country = 'Ghana'"
    assert draw(sql, "who comes from Ghana", [("Ben",)], AUTHOR) == set()  # all other columns are looked for
    sql = "SELECT name FROM author WHERE name IN (SELECT author FROM book)"
    assert draw(sql, "who wrote a book", TWO, AUTHOR) == {
        ("what are the countries of the authors who wrote a book", sql.replace("SELECT name", "SELECT country"))
    }


@pytest.mark.parametrize(
    ("sql", "question"),
    [
        (
            "SELECT author FROM book WHERE title = 'Moss'",
            "what is the author of Moss",
        ),  # of the author, not of the book
        ("SELECT title FROM book WHERE year = 1987", "what is the title from 1987"),
        ("SELECT title, author FROM book", "which books are there"),
        ("SELECT DISTINCT title FROM book", "which books are there"),
        ("SELECT COUNT(title) FROM book", "which books are there"),
        ("SELECT title FROM book GROUP BY title HAVING COUNT(*) > 1", "which books are there twice"),
        ("SELECT title FROM book UNION SELECT name FROM author", "what are the names"),
        ("SELECT title FROM book WHERE year = 1987", "find books from 1987"),
        ("SELECT title FROM loan WHERE day = 7", "what are the books of day 7"),
    ],
)
def test_nothing_else_is_asked_where_that_would_be_about_something_else(sql: str, question: str) -> None:
    assert draw(sql, question, TWO) == set()


@pytest.mark.parametrize(
    ("noun", "plural"),
    [
        *(
            ("year", "years"),
            ("country", "countries"),
            ("day", "days"),
            ("branch", "branches"),
            ("address", "addresses"),
        ),
        *(("pages", "pages"), ("highest elevation", "highest elevations")),
    ],
)
def test_plurals_of_columns(noun: str, plural: str) -> None:
    assert pluralize(noun) == plural
