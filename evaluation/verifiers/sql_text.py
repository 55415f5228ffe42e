"""SQL as text: finds the query in a response, and what its outermost part does. Only SQLite decides what is valid."""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from pada_agent.core.thoughts import strip_thoughts

_TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
      | (?P<space>\s+)
      | (?P<quoted>'(?:[^']|'')*(?:'|\Z) | "(?:[^"]|"")*(?:"|\Z) | `[^`]*(?:`|\Z) | \[[^\]]*(?:\]|\Z))
      | (?P<word>[^\W\d][\w$]*)
      | (?P<other>\d[\w.]*|.)""",
    re.VERBOSE | re.DOTALL,
)
_FENCE = re.compile(r"```[ \t]*(?:\w+[ \t]*\n|\n)?(.*?)(?:```|\Z)", re.DOTALL)
_QUERY_AT_LINE = re.compile(r"^[ \t>*]*(?:[\w ]{0,30}:[ \t*]*)?`?(?=(?:select|values|with)\b)", re.I | re.M)
_QUERY_ANYWHERE = re.compile(r"\b(?=(?:SELECT|WITH)\b)")
_WITH = re.compile(r"with\s+(?:recursive\s+)?[\w\"\[`]+[^;]{0,200}?\bas\s*(?:(?:not\s+)?materialized\s*)?\(", re.I)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_CLAUSES = frozenset(
    {"from", "where", "group", "having", "order", "limit", "offset", "window", "union", "intersect", "except", "select"}
    | {"values", "join", "left", "right", "full", "inner", "outer", "cross", "natural", "on", "and", "or", "using"}
)
"""What may go on with a query after a blank line."""
_SENTENCE = re.compile(r"(?:This|These|The|It|Here|Note that|Explanation)\b")
"""What a line of prose begins with."""
_CHANCE = frozenset({"random", "randomblob"})
_CLOCK = frozenset({"current_date", "current_time", "current_timestamp"})
_TIMES = frozenset({"date", "time", "datetime", "julianday", "unixepoch", "strftime", "timediff"})
"""Functions that take a time, which is the clock's where they are given `'now'` or nothing."""
STARTS = ("select", "with", "values")
"""Words that a query begins with."""


class Token(NamedTuple):
    """A piece of SQL that is neither space nor comment."""

    text: str
    start: int
    end: int
    depth: int
    """Number of brackets around it."""
    is_word: bool


def find_tokens(sql: str) -> Iterator[Token]:
    """Words, quoted texts and symbols. A text or comment that is not closed extends to the end."""
    depth = 0
    for match in _TOKEN.finditer(sql):
        text = match.group()
        if match.lastgroup in ("space", "comment"):
            continue
        depth -= text == ")"
        yield Token(text, match.start(), match.end(), depth, match.lastgroup == "word")
        depth += text == "("


def extract_sql(response: str) -> str:
    """The query in a response, without thoughts, fences, a label before it, or a semicolon and prose after it.

    If there are several fenced queries, the last one. If there is no query, the whole response, so that SQLite can say
    what is wrong with it.
    """
    text = strip_thoughts(response)
    fenced = [found for block in _FENCE.findall(text) if (found := _cut_query(block)) is not None]
    found = fenced[-1] if fenced else _cut_query(text)
    return found if found is not None else text.strip().rstrip(";").strip()


def begins_as_query(sql: str) -> bool:
    """Whether the first word is one that a query may begin with."""
    first = next(find_tokens(sql), None)
    return first is not None and first.text.lower() in STARTS


def is_ordered(sql: str) -> bool:
    """Whether the outermost query sorts its rows."""
    words = [token.text.lower() for token in find_tokens(sql) if token.is_word and token.depth == 0]
    return ("order", "by") in pairwise(words)


def selects_constants(sql: str) -> bool:
    """Whether the outermost query returns only constants, as `SELECT 'yes' FROM city` does."""
    tokens = [token for token in find_tokens(sql) if token.depth == 0]
    words = [token.text.lower() for token in tokens]
    if "select" not in words:
        return False
    start = words.index("select") + 1
    end = words.index("from", start) if "from" in words[start:] else len(words)
    return all(_is_constant(tokens[i], words[i - 1]) for i in range(start, end))


def _is_constant(token: Token, before: str) -> bool:
    if token.is_word:
        return before == "as" or token.text.lower() in ("as", "distinct", "null", "true", "false")
    return token.text != "*" and token.text[0] not in '"`[('


def find_changing(sql: str, functions: Iterable[str]) -> str | None:
    """What makes a query return something different each time it runs, such as randomness or the clock. None if nothing does.

    Args:
        functions: the functions that SQLite calls for the query, in lower case.
    """
    called = set(functions)
    if plain := sorted(called & (_CHANCE | _CLOCK)):
        return plain[0] if plain[0] in _CLOCK else f"{plain[0]}()"
    times, tokens = called & _TIMES, [token.text.lower() for token in find_tokens(sql)]
    if times and {"'now'", '"now"'} & set(tokens):
        return "'now'"
    ends = zip(tokens, tokens[1:], tokens[2:], strict=False)
    return next((f"{name}()" for name, *rest in ends if name in times and rest == ["(", ")"]), None)


def tidy_sql(sql: str) -> str:
    """One statement without its semicolon."""
    return sql.strip().rstrip(";").rstrip()


def _cut_query(text: str) -> str | None:
    """From the query's first word to its end. None if no query begins."""
    if begins_as_query(text) and _is_query_start(text, len(text) - len(text.lstrip())):
        return _cut_end(text.strip())
    for pattern in (_QUERY_AT_LINE, _QUERY_ANYWHERE):
        for match in pattern.finditer(text):
            start = match.end()
            if _is_query_start(text, start):
                quoted = text[start - 1 : start] == "`" and "`" in text[start:]
                return _cut_end(text[start:].rpartition("`")[0] if quoted else text[start:])
    return None


def _is_query_start(text: str, start: int) -> bool:
    """Guards against `with`, which is also an English word."""
    return text[start : start + 4].lower() != "with" or _WITH.match(text, start) is not None


def _cut_end(text: str) -> str:
    """The text up to the first semicolon, a closing fence, or a blank line that no clause follows."""
    text = text.partition("\n```")[0]
    before = None
    for token in find_tokens(text):
        if token.text == ";" or (before and _begins_prose(text, before, token)):
            return text[: token.start if before is None or token.text == ";" else before.end].strip()
        before = token
    return text.strip()


def _begins_prose(text: str, before: Token, token: Token) -> bool:
    if token.depth or before.text == "(" or not token.is_word or token.text.lower() in _CLAUSES:
        return False
    if _BLANK_LINE.search(text, before.end, token.start):
        return True
    goes_on = before.text == "," or before.text.lower() in (*_CLAUSES, "by", "as", "distinct")
    new_line = "\n" in text[before.end : token.start]
    return new_line and not goes_on and _SENTENCE.match(text, token.start) is not None
