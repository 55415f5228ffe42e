"""Changes a question in the same way as its query was changed, so that a writer only has to word it well. Pure functions."""

import re
from collections.abc import Sequence

from pada_agent.evaluation.query_variations.changes import COUNTED, LISTED
from pada_agent.evaluation.query_variations.english import COMPARATIVES, ENDS_OF_SCALES, EXTREMES, LIMITS, TURNED, VERBS
from pada_agent.evaluation.query_variations.places import as_pattern, as_words, find_named, is_name, names, names_value
from pada_agent.evaluation.verifiers.sql_text import find_tokens

UPPER, LOWER = map(frozenset, zip(*EXTREMES, *COMPARATIVES, strict=True))
SORTS = (
    r"max|min|asc(?:ending)?|desc(?:ending)?|(?:de|in)creasing|revers\w+|sort(?:ed)?|order(?:ed)?\s+by|ordered|in\s+order|ranked"
    r"|alphabetical\w*|top|bottom|(?:first|last)(?!\s+names?)|\w+est|worst"
)
COMPARES = r"\w+er\s+than|between|within|after|before|since|until|over|under|exceed\w*|up\s+to"
OTHER_ENDS = rf"[<>≤≥]|(?<!\w)(?:{SORTS}|{COMPARES})(?!\w)"
"""What else in a question may say an end of a scale or an order, so that the word beside it may mean another part of the query."""

_WORD = re.compile(r"[^\W_]+")
_END = re.compile(
    rf"(?<!\w)(?:{'|'.join(sorted(ENDS_OF_SCALES, key=len, reverse=True))})(?!\w)".replace(" ", r"\s+"), re.IGNORECASE
)
_OTHER_END = re.compile(OTHER_ENDS, re.IGNORECASE)
_CHOOSES = re.compile(
    rf"(?<!\w)(?:{SORTS}|{'|'.join(sorted({word for pair in EXTREMES for word in pair}))})(?!\w)", re.IGNORECASE
)
"""What makes a list one of the first or the last few, which nobody counts."""
_HOW_MANY = re.compile(r"(?<!\w)how many(?=\s+(?!times\b)\w)", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?<!\w)(?:how (?:many|much)|numbers?|count(?:s|ed|ing)?|total|amounts?|sum)(?!\w)", re.IGNORECASE
)
_SECOND = re.compile(r"(?<!\w)and (?:what|which|who|where|when|why|how)(?!\w)", re.IGNORECASE)
_COUNTS = re.compile(r"\s*select\s+count\s*\(", re.IGNORECASE)
_LISTS = re.compile(r"(?:which|what\s+are)\b(?!.*\bhow many\b)", re.IGNORECASE | re.DOTALL)
_BEGINNING = r"((?:(?:and|so|well|please|could you tell me|can you tell me|tell me)[ ,]+)?)"
_THINGS = r"(?:\w+\s+)?\w+(?<![suia])s"
"""Nouns in the plural, with at most one word before them."""
_WHICH = re.compile(rf"{_BEGINNING}(?=(?:which|what)\s+{_THINGS}\s+(?:{VERBS})\b)", re.IGNORECASE)
_WHAT_ARE = re.compile(
    rf"{_BEGINNING}(?:what|which)\s+are\s+(?:all\s+)?the\s+({_THINGS})(?=\s+(?:in|on|at|with|without|from|that|which|whose|along)\b)",
    re.IGNORECASE,
)


def follow(question: str, sql: str, changes: Sequence[tuple[str, str]]) -> str | None:
    """The question with the changes made in its query. None if the question has no word for one of the changes.

    A word for an end of a scale that also occurs in the query, as in `lowest_point`, may refer to the column.
    """
    placed: list[str] = []
    for was, now in changes:
        # in capitals: "Max" may also be a value
        is_end = was == was.upper() and TURNED.get(was.lower()) == now
        if is_end:
            made = _turn(question, sql, was)
        elif {was, now} == {LISTED, COUNTED}:
            made = _recount(question, now)
        else:
            made = _exchange(question, was, f"\0{len(placed)}\0")
            placed.append(now)
        if made is None:
            return None
        question = made
    for place, text in enumerate(placed):  # at the end: a new value may hold an old one
        question = question.replace(f"\0{place}\0", text)
    return question


def find_dropped(question: str, rough: str, sql: str) -> str | None:
    """The first word or value that the rough question shares with its query and that is missing from the question. None if all are kept.

    "borders", "bordering" and "border" count as the same word.
    """
    if unnamed := next((place.text for place in find_named(sql, rough) if not names_value(question, place.text)), None):
        return unnamed
    parts = {stem(part) for token in find_tokens(sql) if is_name(token) for part in _WORD.findall(as_words(token.text))}
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
    """Replace a value or a column's name, ignoring case. None if it occurs nowhere, or several times."""
    for text in dict.fromkeys((was, as_words(was))):
        made, n = re.subn(as_pattern(text), lambda _: now, question, flags=re.IGNORECASE)
        if n:
            return made if n == 1 else None
    return None


def _recount(question: str, now: str) -> str | None:
    """Ask "which rivers" in place of "how many rivers", or the other way round. None if the question is worded otherwise."""
    if now == LISTED:
        made, n = _HOW_MANY.subn("which", question)
        return made if n == 1 and not _NUMBER.search(made) else None
    if _NUMBER.search(question) or _CHOOSES.search(question):
        return None
    if found := _WHICH.match(question):
        return f"{found[1]}how many {question[found.end(1) :].split(None, 1)[1]}"
    found = _WHAT_ARE.match(question)
    return found and f"{found[1]}how many {found[2]} are there{question[found.end() :]}"


def find_added(question: str, rough: str) -> str | None:
    """What the question asks for in addition: one more end of a scale, as in "the largest cities" for "the cities", or a second question."""
    said, meant = _list_ends(question), _list_ends(rough)
    if len(said) > len(meant):
        return next((word for word in said if word not in meant), said[-1])
    second = _SECOND.search(question)
    return second.group() if second and not _SECOND.search(rough) else None


def find_recounted(question: str, rough: str, sql: str) -> str | None:
    """What a question asks for, "a number" or "a list", if the rough question and its query want the other. None if they agree."""
    if _COUNTS.match(sql):
        return "a list" if _HOW_MANY.search(rough) and not _NUMBER.search(question) else None
    return "a number" if _LISTS.match(rough) and _HOW_MANY.search(question) else None


def _turn(question: str, sql: str, was: str) -> str | None:
    """Replace the one word for an end of a scale by its opposite. None if there is no such word, or several, or it is of another kind than `was`."""
    if was in ("<", ">") and (turned := _turn_limit(question, sql)):
        return turned
    found = list(_END.finditer(question))
    if len(found) != 1 or found[0].group().lower() in sql.lower():
        return None
    start, end = found[0].span()
    before, word, after = question[:start], " ".join(found[0].group().lower().split()), question[end:]
    around = f"{before}\0{after}"
    for place in find_named(sql, around):  # "west virginia" says no end
        around = re.sub(as_pattern(place.text), "\0", around, flags=re.IGNORECASE)
    if _OTHER_END.search(around):
        return None
    if word.endswith(("er", "more", "less")) and not names(after, "than"):
        return None
    opposite = _find_opposite(word, COMPARATIVES if was in ("<", ">") else EXTREMES)
    if word == "oldest" and _IS_ALIVE.search(sql):
        opposite = "youngest"
    return opposite and before + opposite + after


_IS_ALIVE = re.compile(r"born|birth|(?<![a-z])ages?(?![a-z])|(?<![a-z])dob(?![a-z])", re.IGNORECASE)
"""A query about the age of people or animals, of which the oldest is the opposite of the youngest."""


def _turn_limit(question: str, sql: str) -> str | None:
    """Replace "after" by "before", or the other way round, directly before the value that the query compares with. None if there is more to turn."""
    values = "|".join(as_pattern(place.text) for place in find_named(sql, question))
    words = "|".join(word for pair in LIMITS for word in pair)
    found = list(re.finditer(rf"(?<!\w)({words})(?=\s+(?:the\s+year\s+)?(?:{values}))", question, re.IGNORECASE))
    if not values or len(found) != 1:
        return None
    start, end = found[0].span()
    rest = f"{question[:start]}\0{question[end:]}"
    opposite = _find_opposite(found[0].group().lower(), LIMITS)
    return None if not opposite or _END.search(rest) or _OTHER_END.search(rest) else rest.replace("\0", opposite)


def _find_opposite(word: str, pairs: Sequence[tuple[str, str]]) -> str | None:
    return next((pair[word == pair[0]] for pair in pairs if word in pair), None)


def _list_ends(text: str) -> list[str]:
    return [" ".join(found.group().lower().split()) for found in _END.finditer(text)]


def find_slip(question: str, rough: str, sql: str) -> str | None:
    """What the rough question asks for and its wording does not, in words. None if nothing was lost."""
    if dropped := find_dropped(question, rough, sql):
        return f"the question has to name {dropped!r}, which the query looks for"
    if turned := find_turned(question, rough):
        return f"the question says {turned!r}, and the query looks for the opposite"
    if added := find_added(question, rough):
        return f"the question also says {added!r}, which the query does not look for"
    if wanted := find_recounted(question, rough, sql):
        return f"the question asks for {wanted}, and the query gives {'a number' if wanted == 'a list' else 'a list'}"
    return None
