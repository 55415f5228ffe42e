"""Asks for something else about what a question finds: "which river is the longest" gives "what is the length of the river that is the longest". Pure functions.

New kinds of queries come of it that no training row has: another column, or its average, total or extreme over all that is found.
"""

import re
from collections.abc import Sequence
from random import Random

from pada_agent.evaluation.query_variations.canonical import is_time
from pada_agent.evaluation.query_variations.english import pluralize
from pada_agent.evaluation.query_variations.nesting import find_noun, identifies, word_as_phrase
from pada_agent.evaluation.query_variations.places import (
    Asked,
    as_words,
    find_values,
    is_amount,
    is_numeric,
    is_sayable,
    list_known,
    names,
)
from pada_agent.evaluation.sqlite.reader import Table, Value
from pada_agent.evaluation.verifiers.sql_text import find_tokens

SHARE_GATHERED = 0.4
"""Share of the lists that are asked for an average, a total or an extreme of a column instead of its values."""
_GATHERED = {"AVG": "average", "MAX": "largest", "MIN": "smallest", "SUM": "total"}
_COMBINES = frozenset({"group", "having", "union", "intersect", "except", "window"})
_CHOOSES = frozenset({"order", "limit", "offset"})
_ASKED = re.compile(
    r"\s*select\s+(?P<column>(?:(?P<owner>\w+)\.)?(?P<name>\w+))\s+from\s+(?P<table>\w+)\b", re.IGNORECASE
)


def ask_for_another(
    sql: str, question: str, tables: Sequence[Table], *, rows: Sequence[tuple[Value, ...]], rng: Random
) -> Asked | None:
    """Question and query for another column of what a query finds. None if it does not simply return the names of things, or has no wording as a phrase.

    Args:
        tables: the tables that the query reads.
        rows: what the query returns.
    """
    asked = _ASKED.match(sql)
    outermost = {token.text.lower() for token in find_tokens(sql) if not token.depth}
    if asked is None or not _COMBINES.isdisjoint(outermost):
        return None
    owners = {table.name.lower(): table for table in tables}
    owner = owners.get((asked["owner"] or asked["table"]).lower()) or owners.get(asked["table"].lower())
    if owner is None or not identifies(owner, asked["name"]) or names(question, as_words(asked["name"])):
        return None
    noun = find_noun(sql)
    phrase = word_as_phrase(question, noun if len(rows) == 1 else pluralize(noun))
    given = {asked["name"].lower(), *(place.column.lower() for place in find_values(sql))}
    others = [c for c in list_known(owner) if c.name.lower() not in given and is_sayable(c)]
    if phrase is None or not others:
        return None
    column = rng.choice(others)
    prefix = asked["column"][: -len(asked["name"])]
    is_list = len(rows) > 1 and len(set(rows)) == len(rows) and _CHOOSES.isdisjoint(outermost)
    if is_list and is_numeric(column) and rng.random() < SHARE_GATHERED:
        function = rng.choice(
            [name for name in _GATHERED if name != "SUM" or (is_amount(column) and not is_time(column))]
        )
        made, wanted = (
            f"{function}({prefix}{column.name})",
            f"what is the {_GATHERED[function]} {as_words(column.name)}",
        )
    else:
        words = as_words(column.name)
        made = f"{prefix}{column.name}"
        wanted = f"what is the {words}" if len(rows) == 1 else f"what are the {pluralize(words)}"
    return Asked(f"{wanted} of {phrase}", f"{sql[: asked.start('column')]}{made}{sql[asked.end('column') :]}")
