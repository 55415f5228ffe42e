"""Queries in responses, and what can be told of a query without running it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pada_agent.evaluation.verifiers.sql_text import (
    FirstKeys,
    begins_as_query,
    extract_sql,
    find_first_keys,
    find_syntax_error,
    find_tokens,
    is_ordered,
    list_selects,
    selects_constants,
    tidy_sql,
)

QUERIES = [
    "WITH new AS (SELECT a, n FROM b WHERE d > '2019'), totals AS (SELECT a, count(*) AS c FROM new GROUP BY a)"
    " SELECT a, c FROM totals ORDER BY a DESC NULLS LAST LIMIT 3 OFFSET 1",
    "WITH RECURSIVE t(n) AS NOT MATERIALIZED (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT n FROM t",
    f"WITH t({', '.join(f'a_long_name_{i}' for i in range(40))}) AS (SELECT {', '.join('1' * 40)}) SELECT * FROM t",
    "SELECT DISTINCT CASE a WHEN 1 THEN 'x' ELSE CAST(b AS TEXT) END AS label, count(*) n, c = + 2 FROM b AS first INNER JOIN d"
    " USING (id) WHERE a NOT IN (1, 2) AND b LIKE 'x' ESCAPE '!' OR c BETWEEN 1 AND 2 AND d IS NOT NULL AND EXISTS (SELECT 1)",
    "SELECT a, sum(b) FILTER (WHERE c) OVER (PARTITION BY d ORDER BY e ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM b"
    " GROUP BY 1 HAVING c ISNULL INTERSECT VALUES (1, 2)",
    "select note from ev where ts COLLATE nocase in ('<think>', '```', ';', '--') -- it's; all",
    "WITH/*x*/ t AS/*y*/(SELECT 1)/*z*/SELECT * FROM t",
    "SELECT note FROM ev WHERE note LIKE '%</think>%' AND note <> '\n```\n'",
    'SELECT This,\n\nThe "a\n\nb", It [c;\nd] FROM `e\n\nf` Here',
]
"""What people write, in every part of which a blank line may stand."""


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
        ("SELECT a FROM b\n\n**Explanation:** it gives a", "SELECT a FROM b"),
        ("SELECT a\n\nFROM b\n\nIn this query, a is given", "SELECT a\n\nFROM b"),
        ("SELECT a\n\nFROM b\n\n- `a` is the state's name\n- b; c", "SELECT a\n\nFROM b"),
        ("SELECT a FROM b\n\nIt's all.", "SELECT a FROM b"),
        ("SELECT a FROM b -- c; d\n;\n-- done", "SELECT a FROM b -- c; d"),
        ("```SELECT\na FROM b```", "SELECT\na FROM b"),
        (
            "```sql\nSELECT a FROM b WHERE c LIKE '%<think>%' OR c = '```'\n```",
            "SELECT a FROM b WHERE c LIKE '%<think>%' OR c = '```'",
        ),
        (
            "SQL: WITH/*x*/ t AS (SELECT 1)\n\nSELECT * FROM t\n\nThat is it.",
            "WITH/*x*/ t AS (SELECT 1)\n\nSELECT * FROM t",
        ),
        ("```sql select a from b```", "select a from b"),
        ("~~~sql\nselect a from b\n~~~", "select a from b"),
        ("<sql>select a from b</sql>", "select a from b"),
        ("SELECT a FROM b WHERE c <d</s>", "SELECT a FROM b WHERE c <d"),
        ("SELECT a FROM b WHERE c = '</s>'<|im_end|>", "SELECT a FROM b WHERE c = '</s>'"),
        ("SELECT a FROM b WHERE c </d", "SELECT a FROM b WHERE c </d"),
        ("Here's the query: select a from b", "select a from b"),
        ("The answer is `select `a` from b`, and `b` is a table.", "select `a` from b"),
        ("SELECT a FROM b\nI used b, which has a.", "SELECT a FROM b"),
        ("SELECT a FROM b\n\nSELECT a FROM b\n\nSELECT a", "SELECT a FROM b"),
        ("SELECT a FROM b\nSELECT a FROM b", "SELECT a FROM b"),
        (
            "SELECT a FROM b UNION\nSELECT c FROM d\nWITH e AS (SELECT 1)\nSELECT 2",
            "SELECT a FROM b UNION\nSELECT c FROM d",
        ),
        ("WITH e AS (SELECT 1)\n\nSELECT a FRM b x", "WITH e AS (SELECT 1)\n\nSELECT a FRM b x"),
        ("DELETE FROM b;", "DELETE FROM b"),
        ("I cannot select that", "I cannot select that"),
        ("", ""),
    ],
)
def test_the_query_is_found_in_what_stands_around_it(response: str, sql: str) -> None:
    assert extract_sql(response) == sql


@pytest.mark.parametrize("query", QUERIES)
def test_a_complete_query_is_never_cut(query: str) -> None:
    assert find_syntax_error(query) is None
    gaps = [token.end for token in find_tokens(query) if query[token.end :][:1].isspace()]
    for end in gaps:
        spread = f"{query[:end]}\n\n{query[end:]}"
        for response in (spread, f"\n{spread}\n;\n", f"```sql\n{spread}\n;\n```"):
            assert extract_sql(response) == spread


@pytest.mark.parametrize(
    "rest", ["WHERE", "IN (1,", "IN ('x", "NOT", "AND d = ", "= 'x", "COLLATE", "UNION SELECT", "LIKE", "BETWEEN 1 AND"]
)
def test_a_query_whose_end_is_missing_does_not_become_another_query(rest: str) -> None:
    response = f"SELECT a FROM b WHERE c\n\n{rest}"
    assert extract_sql(response) == response.strip()
    assert find_syntax_error(response) is not None


def test_a_statement_ends_at_its_semicolon() -> None:
    for end in ("", ";", " ;; ", ";\n-- done", "; /* done"):
        assert tidy_sql(f"SELECT ';' -- all;\nFROM b{end}") == "SELECT ';' -- all;\nFROM b"
    assert tidy_sql("SELECT 1; SELECT 2;") == "SELECT 1; SELECT 2"


def test_parsing_looks_nothing_up() -> None:
    doubling = ", ".join(["t0 AS (SELECT 1)", *(f"t{i} AS (SELECT 1 FROM t{i - 1}, t{i - 1} b)" for i in range(1, 40))])
    assert find_syntax_error(f"WITH {doubling} SELECT * FROM t39") is None
    assert find_syntax_error("DELETE FROM b") is not None
    assert find_syntax_error("SELECT '\ud800'") is not None


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


@pytest.mark.parametrize(
    ("sql", "keys", "n"),
    [
        ("SELECT a FROM t ORDER BY b LIMIT 1", "SELECT a, b FROM t ORDER BY b LIMIT 51", 1),
        (
            "SELECT a FROM t WHERE c = 1 ORDER BY b DESC LIMIT 3;",
            "SELECT a, b FROM t WHERE c = 1 ORDER BY b DESC LIMIT 53",
            3,
        ),
        (
            "SELECT a, COUNT(*) AS n FROM t GROUP BY a ORDER BY n DESC NULLS LAST, x.a asc LIMIT 1",
            "SELECT a, COUNT(*) AS n, COUNT(*), x.a FROM t GROUP BY a ORDER BY n DESC NULLS LAST, x.a asc LIMIT 51",
            1,
        ),
        (
            'SELECT t.a, b + c "the sum" FROM t ORDER BY "the sum" LIMIT 1',
            'SELECT t.a, b + c "the sum", b + c FROM t ORDER BY "the sum" LIMIT 51',
            1,
        ),
        ("SELECT a + b, c FROM t ORDER BY 1 LIMIT 1", "SELECT a + b, c, a + b FROM t ORDER BY 1 LIMIT 51", 1),
        (
            "WITH t AS (SELECT 1 AS a LIMIT 9) SELECT a FROM t ORDER BY a LIMIT 1",
            "WITH t AS (SELECT 1 AS a LIMIT 9) SELECT a, a FROM t ORDER BY a LIMIT 51",
            1,
        ),
        ("SELECT a FROM t LIMIT 1", "SELECT a FROM t LIMIT 51", 1),
        ("SELECT DISTINCT a FROM t ORDER BY b LIMIT 1", None, 0),
        ("SELECT a FROM t ORDER BY b", None, 0),
        ("SELECT a FROM t ORDER BY b LIMIT 1 OFFSET 2", "SELECT a, b FROM t ORDER BY b LIMIT 53", 1),
        ("SELECT a FROM t ORDER BY b LIMIT 2, 1", "SELECT a, b FROM t ORDER BY b LIMIT 53", 1),
        ("SELECT a FROM t ORDER BY b LIMIT 1 + 1", None, 0),
        ("SELECT a FROM (SELECT a FROM t ORDER BY b LIMIT 1)", None, 0),
        ("SELECT 1 LIMIT 1", None, 0),
    ],
)
def test_what_decides_which_rows_come_first(sql: str, keys: str | None, n: int) -> None:
    found = find_first_keys(sql)
    assert (found and " ".join(found.sql.split()), found.n if found else 0) == (keys, n)


def test_queries_in_brackets_are_found() -> None:
    sql = "WITH x AS (SELECT (a) FROM b) SELECT (SELECT 1), ')' FROM x WHERE c IN (1, 2) AND d = (select (e"
    assert list_selects(sql) == [sql, "SELECT (a) FROM b", "SELECT 1", "select (e"]


@pytest.mark.parametrize(
    ("rows", "n", "arbitrary"),
    [
        ([("x", 3), ("y", 3), ("z", 1)], 1, True),
        ([("x", 3), ("x", 3), ("y", 1)], 1, False),  # whichever is taken, the result is the same
        ([("x", 3), ("x", 3), ("y", 3)], 1, True),
        ([("x", 3), ("y", 3), ("z", 1)], 2, False),
        ([("x", 3), ("y", 3)], 2, False),
        ([("x", None), ("y", 3)], 1, True),
        ([("x", 3), ("y", None)], 1, False),
        ([], 1, False),
    ],
)
def test_rows_that_could_come_first_just_as_well(rows: list[tuple[object, ...]], n: int, arbitrary: bool) -> None:
    assert FirstKeys("", n, 1).are_arbitrary(rows) == arbitrary
    assert not FirstKeys("", 1, 0).are_arbitrary([("x",), ("x",)]) and FirstKeys("", 1, 0).are_arbitrary(
        [("x",), ("y",)]
    )


@pytest.mark.parametrize(
    ("keys", "arbitrary"), [((3, 2, 1), False), ((3, 3, 1), True), ((3, 2, 2), True), ((None, 2, 1), True)]
)
def test_the_second_row_is_arbitrary_if_it_equals_the_first_or_the_third(
    keys: tuple[object, ...], arbitrary: bool
) -> None:
    found = find_first_keys("SELECT a FROM t ORDER BY b LIMIT 1 OFFSET 1")
    assert found and found.are_arbitrary([*zip("xyz", keys, strict=True)]) == arbitrary
