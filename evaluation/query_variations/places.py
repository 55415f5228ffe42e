"""Finds what may be changed in a query: the values that a column is compared with, and whether a question names them. Pure functions."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pada_agent.evaluation.sqlite.reader import Column, Table, Value
from pada_agent.evaluation.verifiers.sql_text import Token, find_tokens

COMPARISONS = frozenset({"=", "<", ">", "!", "like", "is"})
ListRows = Callable[[str, tuple[str, ...]], Sequence[tuple[Value, ...]]]
"""Returns rows of these columns of a table."""


class Asked(NamedTuple):
    """A question and its query."""

    question: str
    sql: str


class Varied(NamedTuple):
    """A changed query and how it was made."""

    sql: str
    changes: tuple[tuple[str, str], ...]
    """Pairs of what was there before and what is there now."""


class Place(NamedTuple):
    """Part of a query that can be replaced."""

    start: int
    end: int
    text: str
    column: str = ""
    """The column that a value is compared with."""


def find_values(sql: str) -> list[Place]:
    """Texts and numbers that a column is compared with: by a sign, in a list, or as one of the two ends of `BETWEEN`."""
    tokens = list(find_tokens(sql))
    found: list[Place] = []
    for place, token in enumerate(tokens):
        if not _is_value(token):
            continue
        name = _find_compared(tokens, place)
        if name is not None:
            text = token.text[1:-1].replace("''", "'") if token.text[0] == "'" else token.text
            found.append(Place(token.start, token.end, text, name.text.strip('"`[]')))
    return found


def find_named(sql: str, question: str) -> list[Place]:
    """The values that the question names."""
    return [place for place in find_values(sql) if names(question, place.text)]


def names(question: str, value: str) -> bool:
    """Whether a question contains a value as words of its own, ignoring case. Numbers may have separators."""
    texts = [question, re.sub(r"(?<=\d)[,' ](?=\d{3})", "", question)]
    return any(re.search(as_pattern(value), text, re.IGNORECASE) for text in texts)


def as_pattern(value: str) -> str:
    """A regular expression for a value as words of its own: not "salem" in "winston-salem", and not 20 in "2.20" or "2020-05-20"."""
    words = r"\s+".join(map(re.escape, value.split()))
    return rf"(?<![\w-])(?<!\d[.,:/'’]){words}(?!\w|-\w|[.,:/'’]\d)"


def replace(sql: str, replaced: Sequence[tuple[Place, str]]) -> str:
    """The query with these places replaced by other texts."""
    for place, text in sorted(replaced, key=lambda pair: -pair[0].start):
        sql = sql[: place.start] + text + sql[place.end :]
    return sql


def as_words(name: str) -> str:
    """A column's name as a question would say it: "first name" for `first_name` and, but for the case, for `FirstName`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ")


def says(token: Token, text: str) -> bool:
    """Whether a name or a text in a query contains these words."""
    return names(as_words(token.text), text)


def is_numeric(column: Column) -> bool:
    values = [value for value in column.values if value is not None]
    return bool(values) and all(isinstance(value, int | float) for value in values)


def list_known(table: Table) -> list[Column]:
    """The columns with several values that people know and name: not the numbers and codes that rows go by, and not yes or no."""
    referring = {name.lower() for name, _, _ in table.references}
    return [
        c
        for c in table.columns
        if len(c.values) > 1
        and c.name.isidentifier()
        and not re.search(r"(?i:(?:^|_)id)$|[a-z]I[Dd]$", c.name)
        and not (is_numeric(c) and (c.key or c.name.lower() in referring or _is_code(c)))
    ]


def _is_code(column: Column) -> bool:
    is_flag = set(column.values) <= {0, 1}
    return is_flag or re.search(r"(?i)(?:zip|isbn|phone|code|(?:^|_)no)$", column.name) is not None


def is_sayable(column: Column) -> bool:
    """Whether a question can name a column as a noun: not `born`, `opened` or `returned`."""
    return re.search(r"(?:(?<!e)ed|born)$", column.name, re.IGNORECASE) is None


def is_name(token: Token) -> bool:
    return token.is_word or token.text[0] in '"`['


def _is_value(token: Token) -> bool:
    is_text = token.text[0] == "'" and len(token.text) > 1 and token.text[-1] == "'"
    return is_text or token.text[0].isdigit()


def _find_compared(tokens: Sequence[Token], place: int) -> Token | None:
    """The column that a value is compared with. None if it is compared with something else, or not at all."""
    before = place - 1
    while before > 0 and tokens[before].text == "," and _is_value(tokens[before - 1]):
        before -= 2  # earlier values of a list
    texts = [tokens[i].text.lower() if i >= 0 else "" for i in (before - 3, before - 2, before - 1, before)]
    if texts[2:] == ["in", "("]:
        before -= 3 if texts[1] == "not" else 2
    elif texts[1] == "between" and texts[3] == "and" and _is_value(tokens[before - 1]):
        before -= 3
    elif texts[3] == "between":
        before -= 1
    elif before == place - 1:
        while before >= 0 and tokens[before].text.lower() in COMPARISONS:
            before -= 1
        if before == place - 1:
            return None
    else:
        return None
    return tokens[before] if before >= 0 and is_name(tokens[before]) else None
