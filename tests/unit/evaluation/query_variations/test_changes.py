"""Queries made from a query: what is changed, what is kept, and questions that have to fit."""

import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from pada_agent.core.records import Example
from pada_agent.evaluation.query_variations.changes import COUNTED, LISTED, change_count, change_values, turn_end, vary
from pada_agent.evaluation.query_variations.columns import change_column
from pada_agent.evaluation.query_variations.places import Varied, find_named, names
from pada_agent.evaluation.sqlite.reader import Column, Table
from pada_agent.evaluation.task import ROUGH_QUESTION
from tests.unit.evaluation.test_tasks_sql import QUESTION, make_database, read, row, task

CITY = Table(
    name="city",
    columns=(
        Column(name="name", type="text", key=0, values=("austin", "boston", "st. john's")),
        Column(name="state", type="text", key=0, values=("texas", "massachusetts", "maine")),
        Column(name="population", type="int", key=0, values=(100, 2000, 30000)),
        Column(name="area", type="real", key=0, values=(1.5, 2.5)),
        Column(name="country", type="text", key=0, values=("usa",)),
    ),
)
ROWS = {("name", "state"): [("boston", "massachusetts")]}


def list_rows(table: str, columns: object) -> list[tuple[str, str]]:
    assert table == "city"
    return ROWS.get(tuple(columns), [])  # type: ignore[arg-type]


def values(sql: str, question: str, seed: int = 0) -> Varied | None:
    return change_values(sql, question, [CITY], list_rows=list_rows, rng=Random(seed))


def test_values_that_the_question_names_are_exchanged_for_others_of_the_column() -> None:
    sql = "SELECT population FROM city WHERE name = 'austin' AND population > 500"
    made = {found.sql for seed in range(20) if (found := values(sql, "how many people live in Austin?", seed))}
    assert made == {sql.replace("austin", "boston"), sql.replace("'austin'", "'st. john''s'")}


def test_a_value_that_comes_twice_stays_one_value() -> None:
    sql = "SELECT name FROM city WHERE area = (SELECT MAX(c.area) FROM city AS c WHERE c.state = 'texas') AND city.state = 'texas'"
    found = values(sql, "what is the largest city in texas")
    assert found and found.sql.count(f"'{found.changes[0][1]}'") == 2 and "texas" not in found.sql
    assert len(found.changes) == 1


def test_values_of_two_columns_come_from_one_row_of_their_table() -> None:
    found = values("SELECT area FROM city WHERE name = 'austin' AND state = 'texas'", "how large is austin texas")
    assert found and found.sql == "SELECT area FROM city WHERE name = 'boston' AND state = 'massachusetts'"
    assert found.changes == (("austin", "boston"), ("texas", "massachusetts"))


@pytest.mark.parametrize(
    ("sql", "question"),
    [
        ("SELECT name FROM city WHERE population > 500", "what are the major cities"),
        ("SELECT name FROM city", "name all cities"),
        ("SELECT name FROM city WHERE upper(name) = 'AUSTIN'", "is there an austin"),
        ("SELECT name FROM city WHERE name = 'austin", "an open quotation about austin"),
        ("SELECT name FROM city WHERE area > 2.5 LIMIT 2.5", "2.5 cities larger than 2.5"),
        ("SELECT name FROM city WHERE population > 2 GROUP BY name HAVING COUNT(*) > 2", "more than 2"),
        ("SELECT name FROM city WHERE state = 'texas' AND name LIKE '%texas%'", "texas in texas"),
        ("SELECT name FROM city WHERE state = 'name'", "the city in name"),
        ("SELECT name FROM city WHERE population > 20", "who lives there since 2000-01-20"),
    ],
)
def test_nothing_is_exchanged_that_the_question_does_not_name_or_no_column_holds(sql: str, question: str) -> None:
    assert values(sql, question) is None


@pytest.mark.parametrize(
    ("condition", "question", "changed"),
    [
        ("name IN ('austin', 'boston')", "austin or boston", {"austin", "boston"}),
        ("name NOT IN ('austin')", "all but austin", {"austin"}),
        ("population BETWEEN 100 AND 2000", "between 100 and 2000", {"100", "2000"}),
        (
            "c.population between 100 and 2000 AND name = 'austin'",
            "austin between 100 and 2000",
            {"100", "2000", "austin"},
        ),
        ("name IN (SELECT name FROM city LIMIT 3)", "3 of them", set()),
        ("population + 5 > 20 - 10", "5 and 10", set()),
    ],
)
def test_values_in_lists_and_ranges_are_compared_with_their_column(
    condition: str, question: str, changed: set[str]
) -> None:
    assert {place.text for place in find_named(f"SELECT area FROM city c WHERE {condition}", question)} == changed


def test_a_column_that_is_given_becomes_any_other_and_one_that_is_compared_one_of_its_kind() -> None:
    given = "SELECT population FROM city WHERE state = 'texas'"
    made = {change_column(given, "how many live in texas", [CITY], rng=Random(seed)) for seed in range(30)}
    assert {found.sql for found in made if found} == {
        given.replace("population", "area"),
        given.replace("population", "name"),
    }
    largest = "SELECT name FROM city WHERE city.area = (SELECT MAX(c.area) FROM city AS c)"
    made = {change_column(largest, "the city with most area", [CITY], rng=Random(seed)) for seed in range(30)}
    swapped = {found.sql for found in made if found}
    assert largest.replace("area", "population") in swapped
    assert not any("MAX(c.state)" in sql or "country" in sql for sql in swapped)


@pytest.mark.parametrize(
    ("question", "is_changed"),
    [
        ("Name all cities in texas", False),
        ("Please name the cities in texas", False),
        ("name of the cities in texas", True),
        ("what is the name of the cities in texas", True),
        ("which cities are in texas", True),  # the question then has no word to change
    ],
)
def test_no_column_is_exchanged_whose_name_is_a_verb_in_the_question(question: str, is_changed: bool) -> None:
    sql = "SELECT name FROM city WHERE state = 'texas'"
    made = [change_column(sql, question, [CITY], rng=Random(seed)) for seed in range(10)]
    assert any(made) == is_changed


@pytest.mark.parametrize(
    ("sql", "question", "columns"),
    [
        ("SELECT born FROM person WHERE name = 'Ann'", "when was Ann born", set()),
        ("SELECT born FROM person WHERE name = 'Ann'", "in what born was Ann", set()),
        ("SELECT town FROM person WHERE name = 'Ann'", "what is the town of Ann", {"country", "height"}),
        ("SELECT town FROM person WHERE name = 'Ann'", "in which town does Ann live", {"country"}),
        ("SELECT town FROM person WHERE name = 'Ann'", "which town called Ann", set()),
        ("SELECT MAX(born) FROM person", "what is the born of the youngest", set()),
        ("SELECT MAX(born) FROM person", "what is the largest born", {"height"}),
        ("SELECT MAX(height) FROM person", "what is the height of the best paid person", set()),
        ("SELECT height FROM person ORDER BY height LIMIT 1", "what is the height of the shortest person", set()),
        ("SELECT SUM(total) FROM person", "what is the total of all", set()),
        ("SELECT town FROM person WHERE name = 'Ann'", "who lives in the same town as Ann", set()),
        ("SELECT town FROM person WHERE name = 'Ann'", "what town does Ann live in?", {"country"}),
        (
            "SELECT born FROM person ORDER BY height LIMIT 1",
            "what is the born of the shortest person",
            {"town", "country"},
        ),
    ],
)
def test_a_column_is_exchanged_only_where_the_question_still_makes_sense(
    sql: str, question: str, columns: set[str]
) -> None:
    kinds: dict[str, tuple[str | int, ...]] = {"name": ("Ann", "Ben"), "town": ("x", "y"), "country": ("x", "y")}
    kinds |= {"born": (1970, 1980), "height": (150, 160), "total": (5, 6), "person_id": (1, 2), "is_new": (0, 1)}
    table = Table(name="person", columns=tuple(Column(name=n, type="", key=0, values=v) for n, v in kinds.items()))
    made = (change_column(sql, question, [table], rng=Random(seed)) for seed in range(60))
    assert {now for found in made if found for _, now in found.changes} - {"name", "total"} == columns


def test_no_column_is_exchanged_whose_name_is_part_of_another() -> None:
    columns = (*CITY.columns, Column(name="country_name", type="text", key=0, values=("usa", "canada")))
    table = CITY.model_copy(update={"columns": columns})
    sql = "SELECT name FROM city WHERE country_name = 'usa'"
    made = [change_column(sql, "cities of country name usa", [table], rng=Random(seed)) for seed in range(10)]
    assert not any(made)


def test_no_column_is_exchanged_whose_name_two_tables_share() -> None:
    other = CITY.model_copy(update={"name": "town"})
    assert change_column("SELECT area FROM city, town", "areas", [CITY, other], rng=Random(0)) is None


def test_no_column_is_exchanged_that_says_an_end_or_that_the_question_names_otherwise() -> None:
    columns = [Column(name=n, type="real", key=0, values=(1, 2)) for n in ("lowest_point", "highest_point", "density")]
    table = Table(name="place", columns=(*columns, Column(name="population", type="int", key=0, values=(1, 2))))

    def draw(sql: str, question: str) -> set[str]:
        made = (change_column(sql, question, [table], rng=Random(seed)) for seed in range(20))
        return {change for found in made if found for _, change in found.changes}

    lowest = "SELECT lowest_point FROM place ORDER BY lowest_point LIMIT 1"
    assert "highest point" in draw("SELECT lowest_point FROM place", "what is the lowest point")
    assert draw(lowest + " DESC", "what is the lowest point") == set()
    assert draw("SELECT density FROM place", "what is the population density") == set()
    assert "population" in draw("SELECT density FROM place", "how dense is it")


@pytest.mark.parametrize(
    ("sql", "turned"),
    [
        ("SELECT MAX(area) FROM city", "SELECT MIN(area) FROM city"),
        ("SELECT name FROM city ORDER BY area desc LIMIT 1", "SELECT name FROM city ORDER BY area ASC LIMIT 1"),
        ("SELECT name FROM city WHERE area < 5", "SELECT name FROM city WHERE area > 5"),
        ("SELECT name FROM city WHERE area <= 5", "SELECT name FROM city WHERE area >= 5"),
        ("SELECT name FROM city WHERE area <> 5", None),
        ("SELECT name FROM city WHERE 5 < area", "SELECT name FROM city WHERE 5 > area"),
        ("SELECT name FROM city WHERE area > -5", "SELECT name FROM city WHERE area < -5"),
        (
            "SELECT name FROM city WHERE population > 500 ORDER BY area DESC, name LIMIT 1",
            "SELECT name FROM city WHERE population > 500 ORDER BY area ASC, name LIMIT 1",
        ),
        ("SELECT name FROM city WHERE population > 500", None),
        ("SELECT name FROM city WHERE population >= 500", None),
        ("SELECT 'max' FROM city", None),
        ("SELECT max FROM city", None),
        ("SELECT data -> 'area' FROM city", None),
        ("SELECT name FROM city WHERE area < 5 ORDER BY population DESC", None),
        ("SELECT name FROM city WHERE area < 5 ORDER BY population", None),
        ("SELECT name FROM city WHERE area < 5 AND population > 500", None),
        ("SELECT name FROM city GROUP BY name HAVING COUNT(*) < 5 ORDER BY name DESC", None),
        ("SELECT name FROM city GROUP BY name ORDER BY COUNT(*) DESC, area DESC LIMIT 1", None),
        ("SELECT MAX(area), MIN(area) FROM city", None),
        ("SELECT name FROM city ORDER BY area LIMIT 1", "SELECT name FROM city ORDER BY area DESC LIMIT 1"),
        ("SELECT name FROM city ORDER BY MAX(1, area);", None),
        ("SELECT name FROM city ORDER BY abs(area - 5)", "SELECT name FROM city ORDER BY abs(area - 5) DESC"),
        (
            "SELECT * FROM (SELECT name FROM city ORDER BY area)",
            "SELECT * FROM (SELECT name FROM city ORDER BY area DESC)",
        ),
        ("SELECT name FROM city ORDER BY area, name LIMIT 1", None),
        ("SELECT name FROM city ORDER BY area NULLS LAST", None),
        ("SELECT name FROM city ORDER BY", None),
    ],
)
def test_one_end_becomes_the_other_if_the_query_has_no_further_one(sql: str, turned: str | None) -> None:
    found = turn_end(sql, "which cities are smaller than 5?")
    assert (found and found.sql) == turned


def test_equal_draws_give_equal_queries_and_all_is_told() -> None:
    sql = "SELECT MAX(population) FROM city WHERE state = 'texas'"
    first, again = (
        [
            vary(sql, "the largest population in texas", [CITY], list_rows=list_rows, rng=Random(seed))
            for seed in range(40)
        ]
        for _ in range(2)
    )
    assert first == again and len({found.sql for found in first if found}) > 5
    for found in filter(None, first):
        assert found.sql != sql and all(now in found.sql for _, now in found.changes)
    assert vary("SELECT 1", "one", [], list_rows=list_rows, rng=Random(0)) is None


def test_a_question_names_values_as_words_of_their_own() -> None:
    assert names("Is St.  John's large?", "st. john's") and names("more than 1,500 people", "1500")
    assert not names("who lives in arkansas", "kansas") and not names("in 15000 ways", "1500")


def test_a_made_answer_runs_and_a_wording_that_slips_gives_way_to_the_rough_question(tmp_path: Path) -> None:
    make_database(tmp_path / "books.sqlite")
    source, sql = read(tmp_path), task(tmp_path)
    varied = [sql.vary_answer(source, [source], Random(seed)) for seed in range(30)]
    assert "Which books are by Le Guin?" in {v.rough_question for v in varied}
    for made in varied:
        example = source.model_copy(update={"answer": made.fields["query"]})
        assert sql.verify_label(example).value == "correct"
    query = source.answer.replace("'Lem'", "'Le Guin'")

    def word(question: str, rough: str) -> str:
        given = {"query": query, ROUGH_QUESTION: rough}
        made = sql.compose({"question": question}, source=source, given=given, example_id="n")
        assert not isinstance(made, Example) or made.answer == query
        return made.reference["question"] if isinstance(made, Example) else made.reason

    rough = "Which books are by Le Guin?"
    assert word("What are the books that Le Guin wrote?", rough) == "What are the books that Le Guin wrote?"
    assert word("What are the books that Lem wrote?", rough) == rough
    assert word("What did Le Guin write?", rough) == rough
    oldest = "What is the oldest book by Le Guin?"
    assert word("What is the newest book by Le Guin?", oldest) == oldest
    query = source.answer
    assert word("What did Le Guin write?", QUESTION) == "the question has to name 'Lem', which the query looks for"


def test_a_query_with_two_ends_keeps_both_as_its_question_does(tmp_path: Path) -> None:
    make_database(tmp_path / "books.sqlite")
    question = "Show the titles of books with a price of more than 9, sorted by year in descending order"
    sql = "SELECT title FROM book WHERE price > 9 ORDER BY year DESC"
    source = task(tmp_path).read(row(tmp_path, question=question, sql=sql))
    varied = [task(tmp_path).vary_answer(source, [source], Random(seed)) for seed in range(20)]
    assert any(made.fields["query"] != sql for made in varied)
    for made in varied:
        if made.rough_question.startswith("Show"):  # the others are made from the tables alone
            assert "price > " in made.fields["query"] and made.fields["query"].endswith(" DESC")
            assert "more than" in made.rough_question and "descending" in made.rough_question


def test_a_query_with_nothing_to_change_is_asked_again_in_other_words(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "books.sqlite")) as database, database:
        database.executescript("CREATE TABLE log (day TEXT); INSERT INTO log VALUES ('2024-01-01');")
    fields = {"question": "how many days are there", "sql": "SELECT COUNT(*) FROM log"}
    varied = task(tmp_path).vary_answer(task(tmp_path).read(row(tmp_path, **fields)), [], Random(0))
    assert (varied.fields, varied.rough_question) == ({"query": fields["sql"]}, fields["question"])


def test_tables_can_be_left_out_of_the_prompt(tmp_path: Path) -> None:
    make_database(tmp_path / "books.sqlite")
    prompt = task(tmp_path, show_tables=False).read(row(tmp_path)).prompt
    assert "CREATE TABLE" not in prompt and prompt.endswith("Which books are by Lem?")


@pytest.mark.parametrize(
    ("counting", "listing"),
    [
        ("SELECT COUNT(name) FROM city WHERE state = 'texas'", "SELECT name FROM city WHERE state = 'texas'"),
        ("select count(DISTINCT state) from city", "select DISTINCT state from city"),
        ("SELECT COUNT(city.name) FROM city", "SELECT city.name FROM city"),
        (
            "SELECT COUNT(name) FROM city WHERE area > (SELECT MAX(area) FROM city)",
            "SELECT name FROM city WHERE area > (SELECT MAX(area) FROM city)",
        ),
    ],
)
def test_what_is_counted_can_be_listed_and_the_other_way_round(counting: str, listing: str) -> None:
    assert change_count(counting, [CITY]) == Varied(listing, ((COUNTED, LISTED),))
    back = change_count(listing, [CITY])
    assert back and back.sql.lower() == counting.lower() and back.changes == ((LISTED, COUNTED),)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) FROM city",
        "SELECT COUNT(population) FROM city",  # a list of numbers
        "SELECT COUNT(name), state FROM city",
        "SELECT COUNT(name) / 2 FROM city",
        "SELECT COUNT(name || state) FROM city",
        "SELECT name, state FROM city",
        "SELECT MAX(name) FROM city",
        "SELECT name FROM city LIMIT 3",
        "SELECT name FROM city ORDER BY area",
        "SELECT state FROM city GROUP BY state",
        "SELECT name FROM city UNION SELECT state FROM city",
        "SELECT unknown FROM city",
        "SELECT COUNT(name",
        "SELECT",
        "",
    ],
)
def test_queries_that_gather_rows_otherwise_are_left_as_they_are(sql: str) -> None:
    assert change_count(sql, [CITY]) is None


def test_things_in_joined_rows_are_not_counted() -> None:
    for joined in ("city JOIN visit ON visit.city = city.name", "city, visit"):
        assert change_count(f"SELECT city.name FROM {joined} WHERE area > 5", [CITY]) is None
        assert change_count(f"SELECT DISTINCT city.name FROM {joined}", [CITY])
        assert change_count(f"SELECT COUNT(city.name) FROM {joined}", [CITY])
    assert change_count("SELECT name FROM city WHERE state IN ('texas', 'maine')", [CITY])
