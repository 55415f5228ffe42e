"""Changes a question in the same way as its query was changed, so that a writer only has to word it well. Pure functions."""

import re
from collections.abc import Sequence

from pada_agent.evaluation.tasks.sql_variations import OPPOSITES, as_words, find_named, names
from pada_agent.evaluation.verifiers.sql_text import find_tokens

UPPER, LOWER = map(frozenset, zip(*OPPOSITES, strict=True))
ENDS = frozenset({"MAX", "MIN", "ASC", "DESC", "<", ">"})


_WORD = re.compile(r"[^\W_]+")
_END = re.compile(
    rf"(?<!\w)(?:{'|'.join(sorted({w for pair in OPPOSITES for w in pair}, key=len, reverse=True))})(?!\w)",
    re.IGNORECASE,
)


def follow(question: str, sql: str, changes: Sequence[tuple[str, str]]) -> str | None:
    """The question with the changes made in its query. None if the question has no word for one of the changes.

    A word for an end of a scale that also occurs in the query, as in `lowest_point`, may refer to the column.
    """
    placed: list[str] = []
    for was, now in changes:
        is_end = was.upper() in ENDS
        made = _turn(question, sql) if is_end else _exchange(question, was, f"\0{len(placed)}\0")
        if made is None:
            return None
        question = made
        placed += [] if is_end else [now]
    for place, text in enumerate(placed):  # at the end: a new value may hold an old one
        question = question.replace(f"\0{place}\0", text)
    return question


def find_dropped(question: str, rough: str, sql: str) -> str | None:
    """The first word or value that the rough question shares with its query and that is missing from the question. None if all are kept.

    "borders", "bordering" and "border" count as the same word.
    """
    if unnamed := next((place.text for place in find_named(sql, rough) if not names(question, place.text)), None):
        return unnamed
    parts = {stem(part) for token in find_tokens(sql) if token.is_word for part in token.text.lower().split("_")}
    kept = set(map(stem, _WORD.findall(question.lower())))
    return next(
        (w for w in _WORD.findall(rough.lower()) if len(w) > 2 and stem(w) in parts and stem(w) not in kept), None
    )


def stem(word: str) -> str:
    """The word without its English ending, roughly."""
    return re.sub(r"(?:ies|y|es|e|s|ed|ing)$", "", word) if len(word) > 3 else word


def find_turned(question: str, rough: str) -> str | None:
    """A word in the question for one end of a scale, where the rough question has a word for the other end. None if there is none."""
    said, meant = _list_ends(question), _list_ends(rough)
    for end, other in ((UPPER, LOWER), (LOWER, UPPER)):
        gained = [word for word in said if word in end]
        is_lost = sum(word in other for word in said) < sum(word in other for word in meant)
        if is_lost and len(gained) > sum(word in end for word in meant):
            return next((word for word in gained if word not in meant), gained[0])
    return None


def _exchange(question: str, was: str, now: str) -> str | None:
    """Replace a value or a column's name wherever it occurs as words of its own, ignoring case."""
    for text in dict.fromkeys((was, as_words(was))):
        pattern = r"(?<!\w)" + r"\s+".join(map(re.escape, text.split())) + r"(?!\w)"
        made, n = re.subn(pattern, lambda _: now, question, flags=re.IGNORECASE)
        if n:
            return made
    return None


def _turn(question: str, sql: str) -> str | None:
    """Replace the one word for an end of a scale by its opposite. None if there is no such word, or several."""
    opposites: dict[str, str] = {}
    for one, other in OPPOSITES:
        opposites.setdefault(one, other)
        opposites.setdefault(other, one)
    found = list(_END.finditer(question))
    if len(found) != 1 or found[0].group().lower() in sql.lower():
        return None
    start, end = found[0].span()
    return question[:start] + opposites[found[0].group().lower()] + question[end:]


def _list_ends(text: str) -> list[str]:
    return [found.group().lower() for found in _END.finditer(re.sub(r"(?i)\bat (?:least|most)\b", "", text))]
