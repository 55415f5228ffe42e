"""Makes simple queries from the tables alone, each with a question in plain, fixed words: "how many books with genre poetry are there". Pure functions.

What a training set of a few dozen rows leaves out is mostly of this kind: one table, one condition, a count or an
extreme. The fixed words are the canonical utterances of Wang et al. 2015 (Building a Semantic Parser Overnight), which
somebody then says in other words.
"""

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from pada_agent.evaluation.query_variations.english import ACTIVE, pluralize, singularize
from pada_agent.evaluation.query_variations.nesting import identifies
from pada_agent.evaluation.query_variations.places import (
    Asked,
    as_words,
    is_amount,
    is_numeric,
    is_sayable,
    list_known,
)
from pada_agent.evaluation.sqlite.reader import Column, Table

_SAYS_TIME = re.compile(r"(?i)year|since|date|built|born|began$|left$|(?<!e)ed$")
"""A column of years."""
SHARE_OF_CONDITIONS = 0.5
"""Probability that an extreme or an average is asked for some rows of the table only."""
MAX_CHARACTERS, MAX_DIGITS = 40, 9
"""Maximum length of a text and of a number that a question names."""


class Style(NamedTuple):
    """How the user's own queries say what can be said in several ways."""

    counts_rows: bool
    """`COUNT(*)` rather than `COUNT(name)`."""
    sorts: bool
    """`ORDER BY area DESC LIMIT 1` rather than `WHERE area = (SELECT MAX(area) …)`."""


class _Condition(NamedTuple):
    words: str
    """What follows the noun, such as "with genre poetry" or "born after 1980"."""
    sql: str


def find_style(queries: Sequence[str]) -> Style:
    texts = [re.sub(r"\(\s+", "(", " ".join(query.lower().split())) for query in queries]
    n_sorted = sum(" order by " in text for text in texts)
    return Style(
        counts_rows=sum("count(*)" in t for t in texts)
        >= sum(re.search(r"count\((?!\*)", t) is not None for t in texts),
        sorts=n_sorted >= sum(re.search(r"= ?\(select (?:max|min)\(", t) is not None for t in texts),
    )


def make_canonical(
    tables: Sequence[Table], every: Sequence[Table], style: Style, rng: Random, *, is_true: Callable[[str], bool]
) -> Asked | None:
    """A query on one of the tables, and its question. None if none of the tables has anything to ask for.

    Args:
        tables: the tables to ask about.
        every: all tables of the database, for references.
        is_true: whether a query returns 1.
    """
    usable = [table for table in tables if _is_plain(table.name) and _list_things(table)]
    if not usable:
        return None
    table = rng.choice(usable)
    thing = rng.choice(_list_things(table))
    forms: list[Callable[[], Asked | None]] = [
        lambda: _list(table, thing, every, rng),
        lambda: _look_up(table, thing, rng),
    ]
    is_row = is_true(f"SELECT COUNT(*) = COUNT(DISTINCT {thing.name}) FROM {table.name}")
    if is_row or not identifies(table, thing.name):  # else a count of rows would be no count of things
        forms += [
            lambda: _count(table, thing, every, style, rng),
            lambda: _find_extreme(table, thing, every, style, rng, is_true),
            lambda: _gather(table, thing, every, rng),
            lambda: _count_each(table, thing, style, rng),
        ]
    return next(filter(None, (form() for form in rng.sample(forms, len(forms)))), None)


def _list(table: Table, thing: Column, every: Sequence[Table], rng: Random) -> Asked | None:
    condition = _draw_condition(table, thing, every, rng)
    if condition is None:
        return None
    begin = rng.choice(["what are", "list"])
    question = f"{begin} the {_name_things(table, thing)} {condition.words}"
    return Asked(question, f"SELECT {_select(table, thing)} FROM {table.name} WHERE {condition.sql}")


def _count(table: Table, thing: Column, every: Sequence[Table], style: Style, rng: Random) -> Asked | None:
    condition = _draw_condition(table, thing, every, rng) if rng.random() < 0.8 else None
    counted = _say_counted(table, thing, style)
    words, where = (f" {condition.words}", f" WHERE {condition.sql}") if condition else ("", "")
    return Asked(
        f"how many {pluralize(as_words(table.name))}{words} are there",
        f"SELECT COUNT({counted}) FROM {table.name}{where}",
    )


def _look_up(table: Table, thing: Column, rng: Random) -> Asked | None:
    wanted = [c for c in list_known(table) if c != thing and (is_sayable(c) or is_time(c))]
    values = _list_sayable(thing)
    if not wanted or not values or not identifies(table, thing.name):
        return None
    column, value = rng.choice(wanted), rng.choice(values)
    words = _say(column)
    when = f"when did {value} {ACTIVE[words]}" if words in ACTIVE else f"when was {value} {words}"
    question = f"what is the {words} of {value}" if is_sayable(column) else when
    return Asked(question, f"SELECT {column.name} FROM {table.name} WHERE {thing.name} = {_quote(value)}")


def _find_extreme(
    table: Table, thing: Column, every: Sequence[Table], style: Style, rng: Random, is_true: Callable[[str], bool]
) -> Asked | None:
    scales = [c for c in list_known(table) if c != thing and is_numeric(c) and (is_sayable(c) or is_time(c))]
    if not scales or not identifies(table, thing.name):
        return None
    scale = rng.choice(scales)
    is_whole = not style.sorts or is_true(f"SELECT COUNT(*) = COUNT({scale.name}) FROM {table.name}")
    is_most = rng.random() < 0.5 or not is_whole  # sorted upwards, NULL comes first
    condition = _draw_condition(table, thing, every, rng, but=scale) if rng.random() < SHARE_OF_CONDITIONS else None
    words, where = (f" {condition.words}", f" WHERE {condition.sql}") if condition else ("", "")
    noun, said = singularize(as_words(table.name)), _say(scale)
    most, least = ("latest", "earliest") if is_time(scale) else ("largest", "smallest")
    if is_sayable(scale):
        question = f"which {noun}{words} has the {most if is_most else least} {said}"
    else:
        question = f"which {noun}{words}{'' if said in ACTIVE else ' was'} {said} {'last' if is_most else 'first'}"
    if style.sorts:
        sql = f"SELECT {thing.name} FROM {table.name}{where} ORDER BY {scale.name}{' DESC' if is_most else ''} LIMIT 1"
    else:
        end = f"(SELECT {'MAX' if is_most else 'MIN'}({scale.name}) FROM {table.name}{where})"
        also = f" AND {condition.sql}" if condition else ""
        sql = f"SELECT {thing.name} FROM {table.name} WHERE {scale.name} = {end}{also}"
    return Asked(question, sql)


def _gather(table: Table, thing: Column, every: Sequence[Table], rng: Random) -> Asked | None:
    amounts = [c for c in list_known(table) if c != thing and is_numeric(c) and is_sayable(c) and not is_time(c)]
    if not amounts:
        return None
    amount = rng.choice(amounts)
    sums = [("SUM", "total")] if is_amount(amount) else []
    function, word = rng.choice([("AVG", "average"), *sums, ("MAX", "largest"), ("MIN", "smallest")])
    condition = _draw_condition(table, thing, every, rng, but=amount) if rng.random() < SHARE_OF_CONDITIONS else None
    words, where = (f" {condition.words}", f" WHERE {condition.sql}") if condition else ("", "")
    return Asked(
        f"what is the {word} {as_words(amount.name)} of the {pluralize(as_words(table.name))}{words}",
        f"SELECT {function}({amount.name}) FROM {table.name}{where}",
    )


def _count_each(table: Table, thing: Column, style: Style, rng: Random) -> Asked | None:
    kinds = [
        c
        for c in list_known(table)
        if _list_sayable(c) and is_sayable(c) and not identifies(table, c.name) and _is_shared(table, thing, c)
    ]
    if not kinds:
        return None
    kind, counted = rng.choice(kinds), _say_counted(table, thing, style)
    noun, things = as_words(kind.name), pluralize(as_words(table.name))
    if rng.random() < 0.5:
        sql = f"SELECT {kind.name}, COUNT({counted}) FROM {table.name} GROUP BY {kind.name}"
        return Asked(f"how many {things} are there for each {noun}", sql)
    refers = kind.name.lower() in {own.lower() for own, _, _ in table.references}  # one with none is not in this table
    word, order = rng.choice([("most", " DESC")] if refers else [("most", " DESC"), ("fewest", "")])
    sql = f"SELECT {kind.name} FROM {table.name} GROUP BY {kind.name} ORDER BY COUNT({counted}){order} LIMIT 1"
    return Asked(f"which {noun} has the {word} {things}", sql)


def _draw_condition(
    table: Table, thing: Column, every: Sequence[Table], rng: Random, *, but: Column | None = None
) -> _Condition | None:
    """A condition on a column that holds neither the things asked for nor what they are compared by."""
    columns = [c for c in table.columns if c not in (thing, but) and len(c.values) > 1 and _is_plain(c.name)]
    for column in rng.sample(columns, len(columns)):
        far = _refer(table, column, every)
        if far and rng.random() < 0.5:
            other, key = far
            inner = _draw_condition(other, key, (), rng)
            if inner:
                noun = singularize(re.sub(r"(?<=\w) ?id$", "", as_words(column.name)))
                sql = f"{column.name} IN (SELECT {key.name} FROM {other.name} WHERE {inner.sql})"
                return _Condition(f"whose {noun} is one of the {pluralize(as_words(other.name))} {inner.words}", sql)
        if column in list_known(table) and _is_shared(table, thing, column) and (found := _compare(column, rng)):
            return found
    return None


def _compare(column: Column, rng: Random) -> _Condition | None:
    words = _say(column)
    if not is_sayable(column) and not is_time(column):
        return None
    if is_numeric(column):
        short = [text for v in column.values if v is not None and len(text := str(v)) <= MAX_DIGITS]
        if not short:
            return None
        value = rng.choice(short)
        sign, over = rng.choice(
            [(">", "after"), ("<", "before")] if is_time(column) else [(">", "over"), ("<", "under")]
        )
        said = f"{words} {over} {value}"
        noun_follows = "with " if is_sayable(column) else "that " if words in ACTIVE else ""
        return _Condition(f"{noun_follows}{said}", f"{column.name} {sign} {value}")
    values = _list_sayable(column)
    if not values:
        return None
    value = rng.choice(values)
    return _Condition(f"with {words} {value}", f"{column.name} = {_quote(value)}")


def _refer(table: Table, column: Column, every: Sequence[Table]) -> tuple[Table, Column] | None:
    """The table and the column that a column refers to, if it is a reference by itself and not a part of one."""
    for own, name, key in table.references:
        other = next((t for t in every if t.name.lower() == name.lower()), None)
        is_part = sum(to.lower() == name.lower() for _, to, _ in table.references) > 1
        is_part = is_part or (other is not None and any(c.key > 1 for c in other.columns))
        if own.lower() == column.name.lower() and other is not None and other != table and not is_part:
            keys = [c for c in other.columns if (c.name.lower() == key.lower() if key else c.key == 1)]
            if keys:
                return other, keys[0]
    return None


def _list_things(table: Table) -> list[Column]:
    """The columns that name what a table is about: its rows; if they have no names, what they refer to."""
    named = [c for c in table.columns if identifies(table, c.name) and _is_plain(c.name) and _list_sayable(c)]
    referring = {name.lower() for name, _, _ in table.references}
    return named or [c for c in table.columns if c.name.lower() in referring and _is_plain(c.name) and _list_sayable(c)]


def _say_counted(table: Table, thing: Column, style: Style) -> str:
    return "*" if style.counts_rows or not identifies(table, thing.name) else thing.name


def _is_shared(table: Table, thing: Column, column: Column) -> bool:
    """Whether several things may have the same text: a state, but not a capital, is that of several cities."""
    return is_numeric(column) or not identifies(table, thing.name) or len(column.values) < len(thing.values)


def _name_things(table: Table, thing: Column) -> str:
    things = pluralize(as_words(table.name))
    return things if identifies(table, thing.name) else f"{pluralize(as_words(thing.name))} of the {things}"


def _select(table: Table, thing: Column) -> str:
    return thing.name if identifies(table, thing.name) else f"DISTINCT {thing.name}"


def _list_sayable(column: Column) -> list[str]:
    """The texts of a column, if it holds texts only. Dates, codes, JSON and HTML are no names."""
    texts = [value for value in column.values if isinstance(value, str)]
    named = [
        text
        for text in texts
        if 0 < len(text) <= MAX_CHARACTERS and text.isprintable() and not re.match(r"[\d{[<]", text)
    ]
    return named if len(named) == len([v for v in column.values if v is not None]) else []


def is_time(column: Column) -> bool:
    """Whether it holds years, by values and name. Nobody adds them up."""
    is_year = all(isinstance(value, int) and 1000 <= value <= 2200 for value in column.values)
    return bool(column.values) and is_year and _SAYS_TIME.search(column.name) is not None


def _say(column: Column) -> str:
    """A column's name as a noun, or, if it is none, as what happened: "hired" for `year_hired`."""
    words = as_words(column.name)
    return words if is_sayable(column) else re.sub(r"^(?:year|date)s? ", "", words)


def _is_plain(name: str) -> bool:
    return name.isidentifier()


def _quote(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
