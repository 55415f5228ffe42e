"""Finds what may be changed in a query: the values that a column is compared with, and whether a question names them. Pure functions."""

import re
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

from pada_agent.evaluation.sqlite.reader import Column, Table, Value
from pada_agent.evaluation.verifiers.sql_text import Token, find_tokens

COMPARISONS = frozenset({"=", "<", ">", "!", "like", "is"})
_SMALL_WORDS = frozenset(
    {
        "all",
        "and",
        "any",
        "are",
        "can",
        "did",
        "few",
        "for",
        "has",
        "her",
        "him",
        "his",
        "how",
        "its",
        "may",
        "non",
        "none",
    }
    | {"not", "now", "one", "our", "out", "own", "per", "she", "the", "too", "two", "was", "who", "will", "yes", "you"}
)
"""Words of every question that may also be somebody's values: codes of countries, names, answers to yes or no."""
_ENDS_IN_ID = re.compile(
    r"(?:paid|bid|grid|aid|void|valid|solid|liquid|fluid|acid|mid|humid|rapid|hybrid)$", re.IGNORECASE
)
_CODE = re.compile(
    r"(?:zip|isbn|issn|phone|code|nummer"
    r"|(?:^| )(?:ean|fax|mobile|postal|plz|ssn|sku|no|nr|num|number|numero|número|key|pin))$"
)
"""Ends of the names of numbers that things go by, such as `room_number`."""
_MOMENT = re.compile(r"(?:date|time|timestamp|datetime|(?:^| )(?:at|on|day|ts)|ed)$")
_NO_AMOUNTS = frozenset(
    {"month", "day", "week", "weekday", "quarter", "hour", "rank", "position", "season", "latitude", "longitude"}
    | {"floor", "version", "year"}
)
"""Names of numbers that nobody adds up."""
_LETTER = r"[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
"""A letter, a digit or `_`, but for letters of languages that are written without spaces between words."""
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
    return [place for place in find_values(sql) if names_value(question, place.text)]


def names(question: str, value: str) -> bool:
    """Whether a question contains a value as words of its own, ignoring case. Numbers may have separators."""
    texts = [question, re.sub(r"(?<=\d)[,' ](?=\d{3})", "", question)]
    return any(re.search(as_pattern(value), text, re.IGNORECASE) for text in texts)


def names_value(question: str, value: str) -> bool:
    """As `names`, but a code such as `IN`, `US` or `A` is not seen in "in", "us" and "a"."""
    is_cased = value.isalpha() and value.lower() != value.upper()
    if not is_cased or not (len(value) <= 2 or (len(value) == 3 and value.isupper()) or value.lower() in _SMALL_WORDS):
        return names(question, value)
    rest = question.strip().partition(" ")[2]  # any word may begin with a capital there
    is_told_apart = not value.islower() and not question.isupper() and value != "I"
    return is_told_apart and re.search(as_pattern(value), rest) is not None


def as_pattern(value: str) -> str:
    """A regular expression for a value as words of its own: not "salem" in "winston-salem", and not 20 in "2.20" or "2020-05-20"."""
    words = r"\s+".join(map(re.escape, value.split()))
    return rf"(?<!{_LETTER})(?<!-)(?<!\d[.,:/'’]){words}(?!{_LETTER}|-{_LETTER}|[.,:/'’]\d)"


def single_quote(sql: str, known: Collection[str]) -> str:
    """The query with `'Bonn'` for `"Bonn"` where a column is compared with it. SQLite reads both alike if nothing is called so.

    Args:
        known: names of tables and columns, in lower case.
    """
    tokens = list(find_tokens(sql))
    given = {after.text.strip('"').lower() for before, after in pairwise(tokens) if before.text.lower() == "as"}
    texts = {
        place: "'" + token.text[1:-1].replace('""', '"').replace("'", "''") + "'"
        for place, token in enumerate(tokens)
        if token.text[0] == '"' and not {token.text[1:-1].lower()} & (given | set(known))
    }
    read = [token._replace(text=texts.get(place, token.text)) for place, token in enumerate(tokens)]
    compared = [place for place in texts if _find_compared(read, place) is not None]
    return replace(sql, [(Place(tokens[p].start, tokens[p].end, ""), texts[p]) for p in compared])


def replace(sql: str, replaced: Sequence[tuple[Place, str]]) -> str:
    """The query with these places replaced by other texts."""
    for place, text in sorted(replaced, key=lambda pair: -pair[0].start):
        sql = sql[: place.start] + text + sql[place.end :]
    return sql


def as_words(name: str) -> str:
    """A name as a question would say it: "first name" for `first_name`, `FirstName` and `FIRST_NAME`."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ")
    return words.lower()


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
        and not _is_id(c.name)
        and not (is_numeric(c) and (c.key or c.name.lower() in referring or _is_code(c)))
    ]


def is_amount(column: Column) -> bool:
    """Whether it makes sense to add up its numbers."""
    return is_numeric(column) and as_words(column.name) not in _NO_AMOUNTS


def _is_id(name: str) -> bool:
    """Also `id_cliente` and `productid`, but not `paid`."""
    return re.search(r"(?i:(?:^|_)id$|^id_)|[a-z]I[Dd]$|^id[A-Z]", name) is not None or (
        re.search(r"id$", name, re.IGNORECASE) is not None and _ENDS_IN_ID.search(name) is None
    )


def _is_code(column: Column) -> bool:
    """Yes or no, numbers that things go by, and times in seconds or as 20240131."""
    is_flag = set(column.values) <= {0, 1}
    is_moment = all(isinstance(v, int | float) and v >= 10_000_000 for v in column.values)
    name = as_words(column.name)
    return is_flag or _CODE.search(name) is not None or (is_moment and _MOMENT.search(name) is not None)


def is_sayable(column: Column) -> bool:
    """Whether a question can name a column as a noun: not `born`, `opened` or `returned`."""
    return re.search(r"(?:(?<!e)ed|born|began|left)$", column.name, re.IGNORECASE) is None


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
