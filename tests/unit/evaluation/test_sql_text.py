"""Queries in responses, and what can be told of a query without running it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pada_agent.evaluation.verifiers.sql_text import begins_as_query, extract_sql, is_ordered, selects_constants


@pytest.mark.parametrize(
    ("response", "sql"),
    [
        ("SELECT a FROM b", "SELECT a FROM b"),
        ("  select a from b ;  ", "select a from b"),
        ("```sql\nSELECT a\nFROM b;\n```\nThis gives a.", "SELECT a\nFROM b"),
        ("```\nSELECT a FROM b\n```", "SELECT a FROM b"),
        ("```SELECT a FROM b```", "SELECT a FROM b"),
        ("```sqlite\nSELECT a FROM b", "SELECT a FROM b"),
        ("SELECT a FROM b\n```", "SELECT a FROM b"),
        ("```sql\nCREATE TABLE b (a)\n```\nso\n```sql\nSELECT a FROM b\n```", "SELECT a FROM b"),
        ("First\n```sql\nSELECT x FROM b\n```\nbetter\n```sql\nSELECT a FROM b\n```", "SELECT a FROM b"),
        ("SQL: SELECT a FROM b;\nIt gives a.", "SELECT a FROM b"),
        ("SQLite query: SELECT a FROM b", "SELECT a FROM b"),
        ("**SQL:** SELECT a FROM b", "SELECT a FROM b"),
        ("The query is:\n\nSELECT a FROM b\n\nThat's a state's a", "SELECT a FROM b"),
        ("SELECT a FROM b\nThis query gives all a.", "SELECT a FROM b"),
        ("Sure! SELECT a FROM b WHERE c = 'x;y'; as you asked", "SELECT a FROM b WHERE c = 'x;y'"),
        ("With this schema we write `SELECT a FROM b` for it.", "SELECT a FROM b"),
        ("Answer: `SELECT `a` FROM b`", "SELECT `a` FROM b"),
        ("SELECT `a` FROM `b`", "SELECT `a` FROM `b`"),
        ("WITH t AS (SELECT 1) SELECT * FROM t", "WITH t AS (SELECT 1) SELECT * FROM t"),
        ("SELECT a\n\nFROM b\n\n-- of c\nWHERE c", "SELECT a\n\nFROM b\n\n-- of c\nWHERE c"),
        ("SELECT (\n\nx\n\n) FROM y", "SELECT (\n\nx\n\n) FROM y"),
        ("SELECT a FROM b WHERE c = 'one\n\ntwo'", "SELECT a FROM b WHERE c = 'one\n\ntwo'"),
        ("SELECT a,\nIt FROM b", "SELECT a,\nIt FROM b"),
        ("-- all of it\nSELECT a FROM b", "-- all of it\nSELECT a FROM b"),
        ("<think>SELECT x</think>SELECT a FROM b", "SELECT a FROM b"),
        ("DELETE FROM b;", "DELETE FROM b"),
        ("I cannot select that", "I cannot select that"),
        ("", ""),
    ],
)
def test_the_query_is_found_in_what_stands_around_it(response: str, sql: str) -> None:
    assert extract_sql(response) == sql


@given(st.text(alphabet="SELECTwith aFROMb'\"`;()-/*\n[]:", max_size=60))
def test_whatever_a_response_holds_a_text_is_found(response: str) -> None:
    found = extract_sql(response)
    assert found in response
    if begins_as_query(found):
        assert extract_sql(found) == found


@pytest.mark.parametrize(
    ("sql", "ordered"),
    [
        ("SELECT a FROM b ORDER BY a", True),
        ("SELECT a FROM b order\n by a LIMIT 3", True),
        ("SELECT a FROM b ORDER/* here */BY a", True),
        ("SELECT a FROM b UNION SELECT a FROM c ORDER BY 1", True),
        ("WITH t AS (SELECT a FROM b) SELECT a FROM t ORDER BY a", True),
        ("WITH t AS (SELECT a FROM b ORDER BY a) SELECT a FROM t", False),
        ("SELECT a FROM (SELECT a FROM b ORDER BY a)", False),
        ("SELECT rank() OVER (ORDER BY a) FROM b", False),
        ("SELECT a FROM b WHERE a IN (SELECT c FROM d ORDER BY c LIMIT 1)", False),
        ("SELECT 'ORDER BY a' FROM b -- ORDER BY a", False),
        ('SELECT a AS "order" FROM b', False),
    ],
)
def test_only_the_outermost_query_orders(sql: str, ordered: bool) -> None:
    assert is_ordered(sql) == ordered


@pytest.mark.parametrize(
    ("sql", "constant"),
    [
        ("SELECT 1", True),
        ("SELECT 'yes' AS answer FROM city WHERE population > 5", True),
        ("SELECT DISTINCT 2.5, NULL FROM city", True),
        ("SELECT name FROM city", False),
        ('SELECT "name" FROM city', False),
        ("SELECT * FROM city", False),
        ("SELECT count(*) FROM city", False),
        ("SELECT (SELECT name FROM city)", False),
        ("VALUES (1)", False),
    ],
)
def test_a_query_that_gives_back_what_is_written_in_it_is_known(sql: str, constant: bool) -> None:
    assert selects_constants(sql) == constant
