"""Derives a query that reads another column of the same table. Pure functions."""

import re
from collections.abc import Sequence
from random import Random

from pada_agent.evaluation.query_variations.english import ENDS_OF_SCALES, EXTREMES, TURNED, VERBS, pluralize
from pada_agent.evaluation.query_variations.places import (
    Place,
    Varied,
    as_pattern,
    as_words,
    find_values,
    is_amount,
    is_numeric,
    is_sayable,
    list_known,
    names,
    replace,
    says,
)
from pada_agent.evaluation.sqlite.reader import Column, Table
from pada_agent.evaluation.verifiers.sql_text import Token, find_tokens

_BEFORE_NOUNS = frozenset(
    {
        "the",
        "a",
        "an",
        "its",
        "their",
        "his",
        "her",
        "our",
        "all",
        "each",
        "every",
        "and",
        "or",
        "what",
        "which",
        "many",
        "much",
    }
    | {
        "average",
        "total",
        "mean",
        "of",
        "by",
        "in",
        "with",
        "for",
        "per",
        "show",
        "list",
        "name",
        "me",
        "different",
    }
)
_AMOUNTS = frozenset({"total", "sum", "count", "number", "amount", "average", "mean"})
"""Columns whose names are also words for what is computed."""


def change_column(sql: str, question: str, tables: Sequence[Table], *, rng: Random) -> Varied | None:
    """Replace a column that is not compared with a value by another column of the same table.

    A column that is only returned, as in `SELECT capital FROM`, may become one of any kind; otherwise a number stays a
    number. If a query looks for an end of a scale, a column such as `lowest_point` is kept, because its question
    expresses both in one word. A column is also kept if its name may be a verb, as in "name all cities", or is part of
    another name or text in the query, if the question says what is done by it ("which author wrote"), or where in it ("in
    what year"), and if it is an amount ("how many seats") only another one takes its place, and if an end of a scale is not said of its name: "the highest salary", but not "the salary of the best
    paid". None if the question names a column that the query does not use, as in "population density" for `density`.
    """
    tokens = list(find_tokens(sql))
    words = {token.text.lower() for token in tokens if token.is_word}
    has_end = not words.isdisjoint({*TURNED, "order"})
    if any(c.name.lower() not in words and names(question, as_words(c.name)) for t in tables for c in t.columns):
        return None
    compared = {p.column.lower() for p in find_values(sql)}
    options = []
    for table, column in _list_columns(tables):
        places = [token for token in tokens if token.is_word and token.text.lower() == column.name.lower()]
        if not places or column.name.lower() in compared:
            continue
        said = as_words(column.name)
        if _asks_to(said, question) or any(says(token, said) for token in tokens if token not in places):
            continue
        is_given = len(places) == 1 and _is_given(places[0], tokens)
        is_measured = has_end and not is_given and not _is_said_most(said, question)
        if said.lower() in _AMOUNTS or not _is_noun(said, question) or _does(said, question) or is_measured:
            continue
        is_text = _is_where(said, question)
        is_number, is_many = _is_amount_of(said, question), _is_many(said, question)
        options += [
            (column, other, places)
            for other in list_known(table)
            if other.name.lower() not in words
            and is_sayable(other)
            and not (has_end and (_says_end(column.name) or _says_end(other.name)))
            and (is_given or is_numeric(other) == is_numeric(column))
            and not (is_text and (is_numeric(column) or is_numeric(other)))
            and not (is_number and not is_amount(other))
            and not (is_many and as_words(other.name) != pluralize(as_words(other.name)))
        ]
    if not options:
        return None
    column, other, places = rng.choice(options)
    replaced = [(Place(p.start, p.end, p.text), other.name) for p in places]
    return Varied(replace(sql, replaced), ((column.name, as_words(other.name)),))


def _list_columns(tables: Sequence[Table]) -> list[tuple[Table, Column]]:
    """The columns whose names occur in only one table."""
    every = [(table, column) for table in tables for column in table.columns]
    n = [column.name.lower() for _, column in every]
    return [(table, column) for table, column in every if n.count(column.name.lower()) == 1]


def _asks_to(verb: str, question: str) -> bool:
    """Whether a question begins a request with this word, as in "name all cities". In "name of all cities" it is a noun."""
    begins = r"(?:^|[.:;!?,]|\b(?:please|you|to|and|then)\b)\s*"
    return re.search(rf"{begins}{as_pattern(verb)}(?!\s+(?:of|for)\b)", question, re.IGNORECASE) is not None


def _is_said_most(noun: str, question: str) -> bool:
    """Whether a word for an end of a scale stands directly before a column's name, as in "the highest salary"."""
    words = "|".join(sorted({word for pair in EXTREMES for word in pair}))
    return re.search(rf"(?<!\w)(?:{words})\s+{as_pattern(noun)}", question, re.IGNORECASE) is not None


def _is_noun(word: str, question: str) -> bool:
    """Whether a question uses a column's name as a noun, or not at all: "the year of", but not "when was Ann born"."""
    if not names(question, word):
        return True
    before = "|".join(sorted(_BEFORE_NOUNS | ENDS_OF_SCALES))
    used = rf"(?:(?:^|[,.:;!?]|(?<!\w)(?:{before}))\s*{as_pattern(word)}|{as_pattern(word)}\s+of\b)"
    return re.search(used, question, re.IGNORECASE) is not None


def _does(noun: str, question: str) -> bool:
    """Whether a question asks who did something, as in "which author wrote it". What a thing is or has is another matter."""
    asked = rf"(?:which|what)\s+{as_pattern(noun)}\s+(?!(?:is|are|was|were|has|have|had|do|does|did)\b)(?:{VERBS})\b"
    return re.search(asked, question, re.IGNORECASE) is not None


def _is_where(noun: str, question: str) -> bool:
    """Whether a question asks in, from or since which of these something is. A number does not fit in place of a town, nor a town for a year."""
    before = rf"(?:in|from|since|by|on|at|to|of)\s+(?:which|what)\s+{as_pattern(noun)}"
    asked = rf"{before}|(?:which|what)\s+{as_pattern(noun)}\s.*\b(?:in|from|on|at|to)\W*$"
    return re.search(asked, question, re.IGNORECASE) is not None


def _is_many(noun: str, question: str) -> bool:
    """Whether a question asks how many of these there are. A noun in the singular does not fit in their place."""
    return re.search(rf"(?:how\s+many|numbers?\s+of)\s+{as_pattern(noun)}", question, re.IGNORECASE) is not None


def _is_amount_of(noun: str, question: str) -> bool:
    """Whether a question asks for an amount of these, so that neither a name nor a month fits in their place."""
    words = r"how\s+(?:many|much)|(?:numbers?|amounts?|sum|average|mean)\s+of(?:\s+the)?|total|average|mean|combined"
    return re.search(rf"(?<!\w)(?:{words})\s+{as_pattern(noun)}", question, re.IGNORECASE) is not None


def _says_end(column: str) -> bool:
    return not ENDS_OF_SCALES.isdisjoint(column.lower().split("_"))


def _is_given(token: Token, tokens: Sequence[Token]) -> bool:
    """Whether a column is returned unchanged: listed after SELECT and outside any function."""
    place = tokens.index(token)
    if place >= 2 and tokens[place - 1].text == ".":
        place -= 2
    return place > 0 and tokens[place - 1].text.lower() in ("select", "distinct")
