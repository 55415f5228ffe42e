"""Derives a new question and its query from those of training rows. The only effect is that queries are run, by `Database.run`."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from pada_agent.evaluation.query_variations.canonical import find_style, make_canonical
from pada_agent.evaluation.query_variations.changes import COUNTED, LISTED, SHARE_OF_MORE, vary
from pada_agent.evaluation.query_variations.english import are_english
from pada_agent.evaluation.query_variations.nesting import Phrase, identifies, make_phrase, nest
from pada_agent.evaluation.query_variations.places import Asked, ListRows, find_named, single_quote
from pada_agent.evaluation.query_variations.properties import ask_for_another
from pada_agent.evaluation.query_variations.questions import follow
from pada_agent.evaluation.sqlite.reader import Failure, Result, Table
from pada_agent.evaluation.verifiers.sql_text import find_first_keys, list_selects

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

_COUNT = re.compile(r"\s*select\s+count\s*\(\s*(?!distinct\b)", re.IGNORECASE)
_ADDS_UP = re.compile(r"\s*select\s+(?:avg|sum)\s*\(", re.IGNORECASE)
_LISTED = re.compile(
    r"\s*select\s+(?P<kinds>distinct\s+)?(?:\w+\.)?[\"`\[]?(?P<column>\w+)[\"`\]]?\s+from\b", re.IGNORECASE
)


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
        """Whether a query, or one in it, returns the first of several equal rows, or rows without what they are sorted by.

        That is no answer to "the smallest". A query in it that depends on what is around it is not examined.
        """
        for keys in filter(None, map(find_first_keys, list_selects(sql))):
            found = self.run(keys.sql)
            if isinstance(found, Result) and keys.are_arbitrary(found.rows):
                return True
        return False

    def counts_things(self, base: str, made: str, changes: Sequence[tuple[str, str]]) -> bool:
        """Whether a list that became a count, or the other way round, has each thing once, and is one of things.

        `COUNT(returned)` counts loans but lists dates, and a list of the customers' cities may repeat a city.
        """
        if (LISTED, COUNTED) in changes:
            counted = _COUNT.match(made)
            is_once = counted is None or self.is_true(
                f"SELECT ({made}) = ({made[: counted.end()]}DISTINCT {made[counted.end() :]})"
            )
            return is_once and self._lists_things(base)
        return (COUNTED, LISTED) not in changes or self._lists_things(made)

    def _lists_things(self, sql: str) -> bool:
        """Whether a query returns texts, each once, that are names: of a column called so, or in which no two rows are alike."""
        found, listed = self.run(sql), _LISTED.match(sql)
        texts = [row[0] for row in found.rows if isinstance(row[0], str)] if isinstance(found, Result) else []
        if listed is None or not isinstance(found, Result) or not len(set(texts)) == len(texts) == len(found.rows):
            return False
        if listed["kinds"] or self._are_names(texts):
            return True
        alike = [t.name for t in self.tables for c in t.columns if c.name.lower() == listed["column"].lower()]
        counted = f'SELECT COUNT(*) = COUNT(DISTINCT "{listed["column"]}") FROM '
        return all(text[:1].isalpha() and "@" not in text for text in texts) and any(
            self.is_true(counted + '"' + table.replace('"', '""') + '"') for table in alike
        )

    def _are_names(self, texts: Sequence[str]) -> bool:
        wanted = {text.lower() for text in texts}
        named = ((table.name, c.name) for table in self.tables for c in table.columns if identifies(table, c.name))
        return any(wanted <= {str(row[0]).lower() for row in self.list_rows(t, (name,))} for t, name in named)


def derive(source: Asked, others: Sequence[Asked], database: Database, rng: Random) -> Asked | None:
    """A changed query that returns something, and the question changed in the same way. None if none is found.

    Possible changes are other values, another column, another property of what is found, the other end of a scale, a
    list in place of its count or the other way round, the query of one of `others` in place of a value, or the source's
    query in place of a value of theirs. Or the query is a simple one on the same tables (`canonical`).

    Args:
        others: rows about the same database.
    """
    source, *others = alike = [_single_quote(asked, database) for asked in (source, *others)]
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


def _single_quote(asked: Asked, database: Database) -> Asked:
    """The same query with texts in single quotes, so that they can be told from names."""
    if '"' not in asked.sql:
        return asked
    known = {name.lower() for t in database.tables for name in (t.name, *(c.name for c in t.columns))}
    sql = single_quote(asked.sql, known)
    was, now = database.run(asked.sql), database.run(sql)
    return Asked(asked.question, sql) if isinstance(was, Result) and was == now else asked


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
    # with another value, a join may repeat rows, which must not be added up twice
    adds_up = another is not None and len(tables) > 1 and _ADDS_UP.match(another.sql) is not None
    if another and (rng.random() >= SHARE_OF_MORE or adds_up):
        return another
    base = another or source
    varied = vary(base.sql, base.question, tables, list_rows=database.list_rows, rng=rng)
    followed = varied and follow(base.question, base.sql, varied.changes)
    is_right = varied and followed and database.counts_things(base.sql, varied.sql, varied.changes)
    return Asked(followed, varied.sql) if varied and followed and is_right else another


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
        return (
            make_phrase(asked.question, asked.sql, found.rows, database.tables) if isinstance(found, Result) else None
        )

    if made := put_into(source, list(filter(None, map(phrase, others)))):
        return made
    own = phrase(source)
    return next(filter(None, (put_into(other, [own]) for other in others)), None) if own else None
