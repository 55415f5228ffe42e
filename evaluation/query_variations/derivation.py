"""Derives a new question and its query from those of training rows. The only effect is that queries are run, by `Database.run`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from pada_agent.evaluation.query_variations.canonical import find_style, make_canonical
from pada_agent.evaluation.query_variations.changes import SHARE_OF_MORE, vary
from pada_agent.evaluation.query_variations.english import are_english
from pada_agent.evaluation.query_variations.nesting import Phrase, make_phrase, nest
from pada_agent.evaluation.query_variations.places import Asked, ListRows, find_named
from pada_agent.evaluation.query_variations.properties import ask_for_another
from pada_agent.evaluation.query_variations.questions import follow
from pada_agent.evaluation.sqlite.reader import Failure, Result, Table
from pada_agent.evaluation.verifiers.sql_text import find_first_keys

MAX_TRIES = 20
"""Maximum number of queries derived from a row's query until one returns something."""
SHARE_JOINED = 0.4
"""Share of the tries that join the queries of two rows."""
SHARE_JOINED_WITHOUT_VALUE = 0.75
"""The same if the question names no value, because then there is little else to change."""
SHARE_CANONICAL = 0.35
"""Share of the tries that make a simple query from the tables alone."""
SHARE_ASKED = 0.4
"""Share of the other tries that ask for another property of what the question finds."""


@dataclass(frozen=True)
class Database:
    """What can be learned about a database."""

    tables: Sequence[Table]
    list_rows: ListRows
    run: Callable[[str], Result | Failure]
    find_emptiness: Callable[[str, Result], str | None]
    """Why there is nothing to learn from a query with this result, or None."""

    def list_read(self, sql: str) -> list[Table] | None:
        """The tables that a query reads. None if it fails."""
        found = self.run(sql)
        return [table for table in self.tables if table.name in found.tables] if isinstance(found, Result) else None

    def is_true(self, sql: str) -> bool:
        found = self.run(sql)
        return isinstance(found, Result) and found.rows == ((1,),)

    def teaches(self, sql: str) -> bool:
        """Whether a query runs and returns something definite."""
        found = self.run(sql)
        return isinstance(found, Result) and not self.find_emptiness(sql, found) and not self.is_arbitrary(sql)

    def is_arbitrary(self, sql: str) -> bool:
        """Whether a query returns the first of several equal rows, or rows without what they are sorted by: no answer to "the smallest"."""
        keys = find_first_keys(sql)
        found = self.run(keys.sql) if keys else None
        if keys is None or not isinstance(found, Result):
            return False
        values = [row[0] for row in found.rows]
        return None in values[: keys.n] or (len(values) > keys.n and values[-1] == values[-2])


def derive(source: Asked, others: Sequence[Asked], database: Database, rng: Random) -> Asked | None:
    """A changed query that returns something, and the question changed in the same way. None if none is found.

    Possible changes are other values, another column, another property of what is found, the other end of a scale, a
    list in place of its count or the other way round, the query of one of `others` in place of a value, or the source's
    query in place of a value of theirs. Or the query is a simple one on the same tables (`canonical`).

    Args:
        others: rows about the same database.
    """
    alike = [source, *others]
    is_english = are_english([asked.question for asked in alike])
    share = SHARE_JOINED if find_named(source.sql, source.question) else SHARE_JOINED_WITHOUT_VALUE
    for _ in range(MAX_TRIES):
        if is_english and rng.random() < SHARE_CANONICAL:
            made = _make_simple(source, alike, database, rng)
        else:
            made = _join(source, others, database, rng) if rng.random() < share else _change(source, database, rng)
        if made and database.teaches(made.sql):
            return made
    return None


def _make_simple(source: Asked, alike: Sequence[Asked], database: Database, rng: Random) -> Asked | None:
    """A simple query on the tables that the source's query reads, in the style of the queries in `alike`."""
    tables = database.list_read(source.sql)
    if tables is None:
        return None
    style = find_style([asked.sql for asked in alike])
    return make_canonical(tables, database.tables, style, rng, is_true=database.is_true)


def _change(source: Asked, database: Database, rng: Random) -> Asked | None:
    """The question and the query, changed. None if the question cannot follow."""
    own, tables = database.run(source.sql), database.list_read(source.sql)
    if isinstance(own, Failure) or tables is None:
        return None
    asks_another = rng.random() < SHARE_ASKED
    another = ask_for_another(source.sql, source.question, tables, rows=own.rows, rng=rng) if asks_another else None
    if another and rng.random() >= SHARE_OF_MORE:
        return another
    base = another or source
    varied = vary(base.sql, base.question, tables, list_rows=database.list_rows, rng=rng)
    followed = varied and follow(base.question, base.sql, varied.changes)
    return Asked(followed, varied.sql) if varied and followed else another


def _join(source: Asked, others: Sequence[Asked], database: Database, rng: Random) -> Asked | None:
    """The source with another's query in place of a value if possible, else one of the others with the source's."""

    def put_into(base: Asked, phrases: Sequence[Phrase]) -> Asked | None:
        tables, list_rows = database.tables, database.list_rows
        nested = nest(base.sql, base.question, phrases, tables, list_rows=list_rows, rng=rng)
        followed = nested and follow(base.question, base.sql, nested.changes)
        return Asked(followed, nested.sql) if nested and followed else None

    def phrase(asked: Asked) -> Phrase | None:
        """What the question asks for, if that is one or more texts."""
        found = database.run(asked.sql)
        return make_phrase(asked.question, asked.sql, found.rows) if isinstance(found, Result) else None

    if made := put_into(source, list(filter(None, map(phrase, others)))):
        return made
    own = phrase(source)
    return next(filter(None, (put_into(other, [own]) for other in others)), None) if own else None
