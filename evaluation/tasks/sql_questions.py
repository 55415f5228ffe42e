"""A question changed as its query was: what is left to a writer is to word it well. Pure."""

import re
from collections.abc import Sequence

OPPOSITES = (
    *(("largest", "smallest"), ("biggest", "smallest"), ("greatest", "smallest"), ("longest", "shortest")),
    *(("highest", "lowest"), ("most", "least"), ("most", "fewest"), ("maximum", "minimum"), ("newest", "oldest")),
    *(("larger", "smaller"), ("bigger", "smaller"), ("greater", "smaller"), ("longer", "shorter"), ("more", "fewer")),
    *(("higher", "lower"), ("more", "less"), ("above", "below"), ("latest", "earliest")),
)
"""Words for the two ends of a scale; the first pair that has a word gives its opposite."""
ENDS = frozenset({"MAX", "MIN", "ASC", "DESC", "<", ">"})


def follow(question: str, sql: str, changes: Sequence[tuple[str, str]]) -> str | None:
    """The question with what changed in its query; None where the question has no word for one of the changes.

    A word for an end that is in the query too, as in `lowest_point`, may mean the column.
    """
    placed: list[str] = []
    for was, now in changes:
        is_end = was.upper() in ENDS
        made = _turn(question, sql) if is_end else _exchange(question, was, f"\0{len(placed)}\0")
        if made is None:
            return None
        question = made
        placed += [] if is_end else [_as_words(now) if _as_words(was) != was else now]
    for place, text in enumerate(placed):  # at the end: a new value may hold an old one
        question = question.replace(f"\0{place}\0", text)
    return question


def _exchange(question: str, was: str, now: str) -> str | None:
    """All places of a value or of a column's name, as words of their own, in whichever case."""
    for text in dict.fromkeys((was, _as_words(was))):
        pattern = r"(?<!\w)" + r"\s+".join(map(re.escape, text.split())) + r"(?!\w)"
        made, n = re.subn(pattern, lambda _: now, question, flags=re.IGNORECASE)
        if n:
            return made
    return None


def _turn(question: str, sql: str) -> str | None:
    """The opposite of the one word for an end; None where there is none, or several."""
    opposites: dict[str, str] = {}
    for one, other in OPPOSITES:
        opposites.setdefault(one, other)
        opposites.setdefault(other, one)
    words = "|".join(sorted(map(re.escape, opposites), key=len, reverse=True))
    found = list(re.finditer(rf"(?<!\w)(?:{words})(?!\w)", question, flags=re.IGNORECASE))
    if len(found) != 1 or found[0].group().lower() in sql.lower():
        return None
    start, end = found[0].span()
    return question[:start] + opposites[found[0].group().lower()] + question[end:]


def _as_words(name: str) -> str:
    return name.replace("_", " ")
