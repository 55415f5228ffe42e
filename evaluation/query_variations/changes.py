"""Derives queries from a query: other values, another column, the other end of a scale, a count. Pure functions; SQLite later says which of them run.

A small writer that is asked for a query of its own copies the one it sees or invents columns. Code changes one thing at
a time, uses only what the database has, and knows what it changed. The writer then only has to word the question.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise, takewhile
from random import Random

from pada_agent.evaluation.query_variations.columns import change_column
from pada_agent.evaluation.query_variations.english import TURNED
from pada_agent.evaluation.query_variations.places import (
    COMPARISONS,
    ListRows,
    Place,
    Varied,
    find_named,
    is_name,
    is_numeric,
    names,
    replace,
    says,
)
from pada_agent.evaluation.sqlite.reader import Table
from pada_agent.evaluation.verifiers.sql_text import Token, find_tokens

LISTED, COUNTED = "LIST", "COUNT"
"""What `change_count` was and is asked for: the things themselves, or their number."""
_GATHERS = frozenset(
    {"group", "order", "having", "limit", "offset", "union", "intersect", "except", "window", "with", "values"}
)
"""What may come behind a query's `FROM`, so that it does more than list what it finds."""
_ENDS_ORDER = frozenset({"limit", "offset", ";"})
SHARE_OF_MORE = 0.35
"""Probability that a query with one change gets a further kind of change, for each kind."""


def vary(sql: str, question: str, tables: Sequence[Table], *, list_rows: ListRows, rng: Random) -> Varied | None:
    """The query with one change, and sometimes more. None if there is nothing to change.

    Values that the question does not name are kept: "major" may stand for `length > 750`.

    Args:
        tables: the tables that the query reads.
    """
    ways: list[tuple[int, Callable[[str], Varied | None]]] = [
        (2, lambda q: change_values(q, question, tables, list_rows=list_rows, rng=rng)),
        (1, lambda q: change_column(q, question, tables, rng=rng)),
        (1, lambda q: turn_end(q, question, tables)),
        (1, lambda q: change_count(q, tables)),
    ]
    varied = Varied(sql, ())
    while ways:
        place = rng.choices(range(len(ways)), weights=[weight for weight, _ in ways])[0]
        _, change = ways.pop(place)
        if not varied.changes or rng.random() < SHARE_OF_MORE:
            more = change(varied.sql)
            varied = Varied(more.sql, (*varied.changes, *more.changes)) if more else varied
    return varied if varied.changes else None


def change_values(
    sql: str, question: str, tables: Sequence[Table], *, list_rows: ListRows, rng: Random
) -> Varied | None:
    """Replace the values that the question names by other values of the same columns. Columns of one table get values from the same row.

    None if the question could mean another part of the query, as in "the 20 people over 20" for `age > 20 LIMIT 20`.
    """
    places = find_named(sql, question)
    others = [token for token in find_tokens(sql) if token.start not in {p.start for p in places}]
    if any(says(token, place.text) for token in others for place in places):
        return None
    columns = list(dict.fromkeys(p.column.lower() for p in places))
    if not places or not all(columns):
        return None
    drawn = _draw_together(columns, tables, list_rows, rng) if len(columns) > 1 else {}
    exchanged: dict[tuple[str, str], str] = {}
    for place in places:
        key = (place.column.lower(), place.text)
        if key in exchanged:
            continue
        taken = {p.text.lower() for p in places} | {text.lower() for text in exchanged.values()}
        pool = [v for v in _list_values(place.column, tables, like=place.text) if v.lower() not in taken]
        new = drawn.pop(place.column.lower(), "") or (
            rng.choice(pool) if pool else ""
        )  # others of a list are drawn alone
        if not new or new.lower() == place.text.lower():
            return None
        exchanged[key] = new
    replaced = [(p, _quote(exchanged[p.column.lower(), p.text], like=sql[p.start])) for p in places]
    return Varied(replace(sql, replaced), tuple((was, now) for (_, was), now in exchanged.items()))


def turn_end(sql: str, question: str, tables: Sequence[Table] = ()) -> Varied | None:
    """The smallest in place of the largest, or fewer in place of more. None if several parts of the query could be meant.

    Also none if what has the fewest rows would be looked for among things that have any: a customer without orders is in
    no row of a join.

    A comparison with a value that the question does not name does not count beside `MAX`, `MIN` or `ORDER BY`: "major"
    may stand for `length > 750`.
    """
    tokens = list(find_tokens(sql))
    ends = [place for place in range(len(tokens)) if _is_end(tokens, place)]
    compared = [place for place in ends if tokens[place].text in COMPARISONS]
    worded = [place for place in ends if place not in compared or _compares_named(tokens, place, question)]
    if len(worded) != 1 or (worded[0] in compared and len(compared) > 1):
        return None
    token = tokens[worded[0]]
    if token.text.lower() == "order":
        end = _find_end_of_key(tokens, worded[0])
        return Varied(f"{sql[:end]} DESC{sql[end:]}", (("ASC", "DESC"),)) if end else None
    turned = TURNED.get(token.text.lower())
    if turned is None or (turned in ("ASC", "MIN", "<") and _leaves_out_none(tokens, tables)):
        return None
    return Varied(replace(sql, [(Place(token.start, token.end, token.text), turned)]), ((token.text.upper(), turned),))


def change_count(sql: str, tables: Sequence[Table]) -> Varied | None:
    """List what a query counts, or count what it lists. None if that is not one column of texts, or if rows are gathered in another way.

    Numbers are left alone: `SELECT COUNT(id)` counts rows, and nobody wants a list of their numbers.
    """
    tokens = list(find_tokens(sql))
    texts = [token.text.lower() for token in tokens]
    if texts[:1] != ["select"] or not _GATHERS.isdisjoint(t.text.lower() for t in tokens if not t.depth):
        return None
    is_count = texts[1:3] == ["count", "("]
    end_of_asked = next((i for i, text in enumerate(texts) if text == (")" if is_count else "from")), 0)
    asked = tokens[3 if is_count else 1 : end_of_asked]
    if not _is_column(asked) or (is_count and texts[end_of_asked + 1 : end_of_asked + 2] != ["from"]):
        return None
    outer = [text for token, text in zip(tokens, texts, strict=True) if not token.depth][end_of_asked:]
    if not is_count and asked[0].text.lower() != "distinct" and not {"join", ","}.isdisjoint(outer):
        return None  # a join repeats rows, and the question counts things
    column = asked[-1].text.strip('"`[]').lower()
    found = [c for table in tables for c in table.columns if c.name.lower() == column]
    if not found or any(map(is_numeric, found)):
        return None
    text = sql[asked[0].start : asked[-1].end]
    rest = sql[tokens[end_of_asked].end if is_count else asked[-1].end :]
    made = text if is_count else f"COUNT({text})"
    changes = ((COUNTED, LISTED) if is_count else (LISTED, COUNTED),)
    return Varied(f"{sql[: tokens[1].start]}{made}{rest}", changes)


def _draw_together(columns: Sequence[str], tables: Sequence[Table], list_rows: ListRows, rng: Random) -> dict[str, str]:
    """Values that belong together. Empty if no table has all of the columns."""
    for table in tables:
        if set(columns) <= {column.name.lower() for column in table.columns}:
            rows = [
                r for r in list_rows(table.name, tuple(columns)) if all(isinstance(v, str | int | float) for v in r)
            ]
            return dict(zip(columns, map(str, rng.choice(rows)), strict=True)) if rows else {}
    return {}


def _list_values(column: str, tables: Sequence[Table], *, like: str) -> list[str]:
    """Values of the columns with that name, in the tables where they contain the old value, if there are any."""
    columns = [c for table in tables for c in table.columns if c.name.lower() == column.lower()]
    holding = [c for c in columns if like.lower() in {str(v).lower() for v in c.values}]
    values = {str(v): None for c in holding or columns for v in c.values if isinstance(v, str | int | float)}
    return [text for text in values if 0 < len(text) <= 40 and text.isprintable()]


def _is_end(tokens: Sequence[Token], place: int) -> bool:
    """Whether a token chooses an end of a scale: `MAX(`, `<`, `DESC`, or the `ORDER` of an `ORDER BY` without `ASC` or `DESC`."""
    text = tokens[place].text.lower()
    before, after = (tokens[i].text.lower() if 0 <= i < len(tokens) else "" for i in (place - 1, place + 1))
    if text in ("<", ">"):
        return before not in ("<", ">", "-") and after not in ("<", ">")  # not <>, << or ->
    if text in ("max", "min"):
        return after == "("
    if text == "order":
        rest = takewhile(lambda token: token.depth >= tokens[place].depth, tokens[place:])
        return not any(t.depth == tokens[place].depth and t.text.lower() in ("asc", "desc") for t in rest)
    return text in TURNED


def _leaves_out_none(tokens: Sequence[Token], tables: Sequence[Table]) -> bool:
    """Whether rows are counted or added up for each of several things, of which those without rows are missing."""
    texts = [token.text.lower() for token in tokens]
    groups = [i + 2 for i, pair in enumerate(pairwise(texts)) if pair == ("group", "by")]
    if not groups or {"count", "sum"}.isdisjoint(texts) or not {"left", "right", "full"}.isdisjoint(texts):
        return False
    keys = {texts[i].strip('"`[]') for start in groups for i in (start, start + 2) if i < len(texts)}
    referring = {own.lower() for table in tables for own, _, _ in table.references}
    return len(tables) > 1 or "join" in texts or not keys.isdisjoint(referring)


def _find_end_of_key(tokens: Sequence[Token], order: int) -> int | None:
    """Where the only sort key of an `ORDER BY` ends. None if there are several keys, or something unusual behind it."""
    depth = tokens[order].depth
    key = list(
        takewhile(
            lambda t: t.depth > depth or (t.depth == depth and t.text.lower() not in _ENDS_ORDER), tokens[order + 2 :]
        )
    )
    is_one = bool(key) and not any(t.depth == depth and t.text.lower() in (",", "collate", "nulls") for t in key)
    return key[-1].end if is_one else None


def _compares_named(tokens: Sequence[Token], place: int, question: str) -> bool:
    """Whether the question names the values before and after a comparison. True if both are columns or queries."""
    after = place + 1
    while after < len(tokens) and tokens[after].text in ("=", "-", "+"):
        after += 1
    sides = [tokens[i].text for i in (place - 1, after) if 0 <= i < len(tokens)]
    return all(names(question, text.strip("'")) for text in sides if text[0] == "'" or text[0].isdigit())


def _is_column(tokens: Sequence[Token]) -> bool:
    """Whether tokens are `name`, `table.name` or `DISTINCT name`, and nothing else."""
    rest = [token for place, token in enumerate(tokens) if place or token.text.lower() != "distinct"]
    return len(rest) in (1, 3) and all(is_name(t) if place % 2 == 0 else t.text == "." for place, t in enumerate(rest))


def _quote(value: str, *, like: str) -> str:
    return "'" + value.replace("'", "''") + "'" if like == "'" else value
