"""SQL as text: finds the query in a response, and what its outermost part does. Only SQLite decides what is valid."""

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice, pairwise
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
_FENCE_BEGINS = re.compile(r"```[ \t]*(?:(?!(?:select|with|values)\b)\w+[ \t]*\n|\n)?", re.IGNORECASE)
_FENCE = re.compile(rf"{_FENCE_BEGINS.pattern}(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_QUERY_AT_LINE = re.compile(r"^[ \t>*]*(?:[\w ]{0,30}:[ \t*]*)?`?(?=(?:select|values|with)\b)", re.I | re.M)
_QUERY_ANYWHERE = re.compile(r"\b(?=(?:SELECT|WITH)\b)")
_GAP = r"(?:\s|--[^\n]*\n|/\*.*?\*/)"
_NAME = r'(?:[^\W\d][\w$]*|"[^"]*"|`[^`]*`|\[[^\]]*\])'
_WITH = re.compile(
    rf"with{_GAP}*(?:recursive{_GAP}+)?{_NAME}{_GAP}*(?:\([^()]*\){_GAP}*)?"
    rf"\bas{_GAP}*(?:(?:not{_GAP}+)?materialized{_GAP}*)?\(",
    re.IGNORECASE | re.DOTALL,
)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_GOES_ON = frozenset(
    {"from", "where", "group", "having", "order", "limit", "offset", "window", "union", "intersect", "except", "select"}
    | {"values", "join", "left", "right", "full", "inner", "outer", "cross", "natural", "on", "and", "or", "using"}
    | {"when", "then", "else", "end", "in", "not", "like", "glob", "match", "regexp", "between", "is", "isnull", "as"}
    | {"notnull", "collate", "escape", "asc", "desc", "nulls", "exists", "over", "filter", "partition", "by", "case"}
    | {"cast", "distinct", "all", "null", "materialized", "rows", "range", "groups", "indexed"}
    | set("=<>!+/%|&,.)")
)
"""What goes on with a query after a blank line, unless the word is capitalized as at the start of a sentence."""
_SENTENCE = re.compile(r"(?:This|These|The|It|Here|Note that|Explanation)\b")
"""What a line of prose begins with."""
_INCOMPLETE = "incomplete input"
_MAX_CUTS = 50
"""Maximum number of places at which prose may begin, so that time grows with a text's length."""
_CHANGING = frozenset({"random", "randomblob", "current_date", "current_time", "current_timestamp"})
_TIMES = frozenset({"date", "time", "datetime", "julianday", "unixepoch", "strftime", "timediff"})
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
    for text in (response, _open_fence(response)):
        if _is_query(whole := tidy_sql(text)):
            return whole  # its own texts may hold what looks like a thought or a fence
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


class FirstKeys(NamedTuple):
    """How to look at what decides which rows a query returns first."""

    sql: str
    """Returns the sort keys of these rows, and that of the next row."""
    n: int
    """Number of rows that the query itself returns at most."""


def find_first_keys(sql: str) -> FirstKeys | None:
    """For a query that returns the first rows by one sort key. None for other queries."""
    tokens = [token for token in find_tokens(sql) if token.depth == 0 and token.text != ";"]
    words = [token.text.lower() for token in tokens]
    if {"from", "order", "limit"} - set(words) or {"distinct", "union", "intersect", "except", "with"} & set(words):
        return None
    order, limit = words.index("order"), words.index("limit")
    has_direction = words[limit - 1] in ("asc", "desc")
    key = tokens[order + 2 : limit - has_direction]
    if not key or "," in words[order:limit] or limit != len(words) - 2 or not words[limit + 1].isdigit():
        return None
    n, asked = int(words[limit + 1]), sql[key[0].start : tokens[limit - has_direction].start]
    return FirstKeys(f"SELECT {asked} {sql[tokens[words.index('from')].start : tokens[limit].start]} LIMIT {n + 1}", n)


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


def find_changing(functions: Iterable[str]) -> str | None:
    """Which of the functions that a query calls, in lower case, returns something else each time whatever it is given."""
    found = next(iter(sorted(_CHANGING.intersection(functions))), None)
    return f"{found}()" if found and found.startswith("random") else found


def may_ask_clock(functions: Iterable[str]) -> bool:
    """Whether a query calls a function, in lower case, that takes the current time if it is given `'now'` or nothing."""
    return not _TIMES.isdisjoint(functions)


def tidy_sql(sql: str) -> str:
    """One statement without its semicolon and the comments after it."""
    end = None
    for token in find_tokens(sql):
        if token.text != ";":
            end = None
        elif end is None:
            end = token.start
    return sql[:end].strip()


def find_syntax_error(sql: str) -> str | None:
    """SQLite's message if the text is not one complete SELECT. None if it is, whatever its names stand for.

    The text is parsed as that of a view, in which SQLite looks nothing up. Time therefore grows with the length alone.
    """
    try:
        with closing(sqlite3.connect(":memory:")) as database:
            database.execute(f"EXPLAIN CREATE TEMP VIEW parsed AS {sql}")
    except (sqlite3.Error, sqlite3.Warning, ValueError) as exc:  # ValueError: characters that no text has
        return str(exc)
    return None


def _is_query(text: str) -> bool:
    return begins_as_query(text) and find_syntax_error(text) is None


def _open_fence(text: str) -> str:
    """What is in the fence around a whole text. Empty if there is none."""
    text = text.strip()
    begins = _FENCE_BEGINS.match(text)
    return text[begins.end() : -3] if begins and text.endswith("```") else ""


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
    """The text up to the first semicolon, a closing fence, or prose.

    Prose begins only after a complete query and where SQLite cannot read on. If the end of the query is missing, nothing
    is cut, because what is left could be another query.
    """
    text = text.partition("\n```")[0]
    text = text[: next((token.start for token in find_tokens(text) if token.text == ";"), None)].strip()
    if find_syntax_error(text) in (None, _INCOMPLETE):
        return text
    cuts = [text[:end] for end in islice(_find_ends(text), _MAX_CUTS)]
    complete = cuts[:1]
    for cut in cuts:
        problem = find_syntax_error(cut)
        if problem is None:
            complete = [cut]
        elif problem != _INCOMPLETE:
            break
    return complete[0] if complete else text


def _find_ends(text: str) -> Iterator[int]:
    """The ends of what stands before each line that may be prose."""
    for before, token in pairwise(find_tokens(text)):
        if not token.depth and _may_be_prose(text, before, token):
            yield before.end


def _may_be_prose(text: str, before: Token, token: Token) -> bool:
    if _BLANK_LINE.search(text, before.end, token.start):
        return token.text.istitle() or token.text.lower() not in _GOES_ON
    return "\n" in text[before.end : token.start] and _SENTENCE.match(text, token.start) is not None
