"""Puts a query in place of a value in another query, and its question in place of that value's name. Pure functions.

"What is the capital of Texas" and "which state borders the most states" give "what is the capital of the state that
borders the most states", with the queries joined in the same way. This is data recombination (Jia and Liang 2016, arXiv
1606.03622). It makes kinds of questions that no training row has.
"""

import re
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from pada_agent.evaluation.sqlite_reader import Table, Value
from pada_agent.evaluation.tasks.sql_variations import ListRows, Place, Varied, find_named, names, replace
from pada_agent.evaluation.verifiers.sql_text import find_tokens

MAX_CHARACTERS = 450
"""Maximum length of a joined query, because a small student's answers are cut after `max_new_tokens`."""
VERBS = (
    "is|are|was|were|has|have|had|does|do|borders?|contains?|crosse?s?|flows?|runs?|traverses?|passe?s|lies?|holds?|lives?|works?"
    "|plays?|owns?|sells?|buys?|costs?|earns?|pays?|wrote|writes?|won|wins?|made|makes?|took|takes?|gave|gives?|produces?|uses?"
)
"""Verbs after "which state": what follows can be said of "the state that"."""
PREPOSITIONS = frozenset({"of", "in", "with", "to", "from", "on", "at", "for", "by", "through"})
"""A question that ends with one of these has a different word order."""
_OF_WHICH = re.compile(rf"(?:what|which) (?P<what>\w+) (?P<said>(?:{VERBS}) .+)", re.IGNORECASE)
_IS_THE = re.compile(
    r"(?:what|which|who) (?:is|are|was|were) (?P<what>the .+)|(?:name|list|show|give me|tell me|show me) (?P<named>the .+)",
    re.IGNORECASE,
)
_ASKS_FOR_AMOUNT = re.compile(r"\s*(?:how|what is the (?:total|average|number))\b", re.IGNORECASE)


class Phrase(NamedTuple):
    """What a question asks for, worded so that another question can contain it, and the query that returns it."""

    text: str
    sql: str
    values: tuple[str, ...]
    """What the query returns, in lower case."""


def word_as_phrase(question: str) -> str | None:
    """Turn "which state borders the most states" into "the state that borders the most states". None for other forms and other languages."""
    asked = " ".join(question.split()).rstrip(" ?.!")
    if asked.rpartition(" ")[2].lower() in PREPOSITIONS:
        return None
    if found := _OF_WHICH.fullmatch(asked):
        return f"the {found['what']} that {found['said']}"
    if found := _IS_THE.fullmatch(asked):
        return re.sub(r"(?i)^the names? of ", "", found["what"] or found["named"])
    return None


def make_phrase(question: str, sql: str, rows: Sequence[tuple[Value, ...]]) -> Phrase | None:
    """The phrase for a question whose query returns `rows`. None if these are not texts of one column, or if the question cannot be reworded."""
    values = tuple(row[0].lower() for row in rows if len(row) == 1 and isinstance(row[0], str))
    text = word_as_phrase(question)
    if not values or len(values) != len(rows) or text is None:
        return None
    return Phrase(text, sql.strip().rstrip(";"), values)


def nest(
    sql: str, question: str, phrases: Sequence[Phrase], tables: Sequence[Table], *, list_rows: ListRows, rng: Random
) -> Varied | None:
    """The query with one of `phrases` in place of the value that its question names. None if none fits.

    A phrase fits if the column contains everything that the phrase's query returns, and one of the two columns contains
    all values of the other. A city therefore never replaces a state. If the question names several values, such as a
    city and its state, none is replaced.

    Args:
        tables: the tables of the database.
    """
    places = find_named(sql, question)
    if len({(p.column.lower(), p.text.lower()) for p in places}) != 1 or not all(p.text[-1:].isalpha() for p in places):
        return None
    operators = [_find_operator(sql, place) for place in places]
    pool = _hold(places[0].column, tables, list_rows, like=places[0].text)
    for phrase in rng.sample(phrases, len(phrases)):
        is_one = len(phrase.values) == 1
        fits = (
            None not in operators
            and places[0].text.lower() not in phrase.values
            and not names(phrase.text, places[0].text)
            and _is_of(phrase, pool, tables, list_rows)
            and (is_one or not _ASKS_FOR_AMOUNT.match(question))
        )
        if not fits:
            continue
        inner = f"({phrase.sql})"
        made = replace(
            sql,
            [
                (
                    Place(operator.start if operator and not is_one else p.start, p.end, p.text),
                    inner if is_one else f"IN {inner}",
                )
                for p, operator in zip(places, operators, strict=True)
            ],
        )
        if len(made) <= MAX_CHARACTERS:
            return Varied(made, ((_find_name(question, places[0], tables), phrase.text),))
    return None


def _find_operator(sql: str, place: Place) -> Place | None:
    """The equals sign before a value."""
    before = [token for token in find_tokens(sql) if token.end <= place.start]
    return Place(before[-1].start, before[-1].end, "=") if before and before[-1].text == "=" else None


def _is_of(phrase: Phrase, pool: frozenset[str], tables: Sequence[Table], list_rows: ListRows) -> bool:
    """Whether the phrase's query returns the same kind of thing as the column whose values are in `pool`, judged by what both columns contain."""
    given = re.match(r"(?is)select\s+(?:distinct\s+)?(?:\w+\.)?(\w+)\s+from\b", phrase.sql)
    if given is None or not pool.issuperset(phrase.values):
        return False
    column = _hold(given[1], tables, list_rows, like=phrase.values[0])
    return bool(column) and (pool <= column or column <= pool)


def _hold(column: str, tables: Sequence[Table], list_rows: ListRows, *, like: str) -> frozenset[str]:
    """Values, in lower case, of the columns with that name, in the tables where they contain `like`."""
    names_of = [(t.name, c.name) for t in tables for c in t.columns if c.name.lower() == column.lower()]
    held = [frozenset(str(row[0]).lower() for row in list_rows(table, (name,))) for table, name in names_of]
    return frozenset().union(*(values for values in held if like.lower() in values))


def _find_name(question: str, place: Place, tables: Sequence[Table]) -> str:
    """The value in the question's words, including what says its kind: "the state of Texas", "the Mississippi river"."""
    kinds = "|".join(
        {re.escape(t.name) for t in tables} | {re.escape(re.sub(r"(?i)_?(?:name|id)$", "", place.column)) or "-"}
    )
    value = r"\s+".join(map(re.escape, place.text.split()))
    found = re.search(
        rf"(?<!\w)(?:(?:(?:the|an?)\s+)?(?:{kinds})\s+(?:of\s+|named\s+|called\s+)?{value}|(?:the\s+)?{value}(?:\s+(?:{kinds}))?)(?!\w)",
        question,
        re.IGNORECASE,
    )
    return found.group() if found else place.text
