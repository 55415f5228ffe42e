"""SQL as text: finds the query in a response, and what its outermost part does. Only SQLite decides what is valid."""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice, pairwise, takewhile
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
_FENCE_BEGINS = re.compile(
    r"```[ \t]*(?:(?!(?:select|with|values)\b)\w+(?:[ \t]*\n|[ \t]+(?=(?:select|with|values)\b))|\n)?", re.IGNORECASE
)
_FENCE = re.compile(rf"{_FENCE_BEGINS.pattern}(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_QUERY_AT_LINE = re.compile(
    r"^[ \t>*]*(?:<\w+>[ \t]*)?(?:[\w '’]{0,30}:[ \t*]*)?`?(?=(?:select|values|with)\b)", re.I | re.M
)
_QUERY_IN_TICKS = re.compile(r"(?<!`)`(?=(?:select|with)\b)", re.IGNORECASE)
_QUERY_ANYWHERE = re.compile(r"\b(?=(?:SELECT|WITH)\b)")
_GAP = r"(?:\s|--[^\n]*\n|/\*.*?\*/)"
_NAME = r'(?:[^\W\d][\w$]*|"[^"]*"|`[^`]*`|\[[^\]]*\])'
_WITH = re.compile(
    rf"with{_GAP}*(?:recursive{_GAP}+)?{_NAME}{_GAP}*(?:\([^()]*\){_GAP}*)?"
    rf"\bas{_GAP}*(?:(?:not{_GAP}+)?materialized{_GAP}*)?\(",
    re.IGNORECASE | re.DOTALL,
)
_TAG = re.compile(r"</\w+>|<\|\w+\|>")
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
_SENTENCE = re.compile(r"(?:This|These|The|It|Here|I|We|You|To|Note that|Explanation)\b")
"""What a line of prose begins with."""
_INCOMPLETE = "incomplete input"
_MORE_ROWS = 50
"""Number of further rows in which those are looked for that could come first just as well."""
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
    """Returns these rows with those before and behind them, each followed by its sort keys."""
    n: int
    """Number of rows that the query itself returns at most."""
    n_keys: int
    n_left_out: int = 0
    """Number of rows before these, which `OFFSET` leaves out."""

    def are_arbitrary(self, rows: Sequence[tuple[object, ...]]) -> bool:
        """Whether other rows could be returned just as well, or if some lack what they are sorted by.

        Args:
            rows: what `sql` returns.
        """
        end = self.n_left_out + self.n
        pairs = [(row[: len(row) - self.n_keys], row[len(row) - self.n_keys :]) for row in rows]
        if self.n_keys and any(keys[0] is None for _, keys in pairs[:end]):
            return True
        cut = [
            keys for i, (_, keys) in enumerate(pairs) if i in (self.n_left_out, end) and i and keys == pairs[i - 1][1]
        ]
        return self.n > 0 and any(len({shown for shown, keys in pairs if keys == equal}) > 1 for equal in cut)


def find_first_keys(sql: str) -> FirstKeys | None:
    """For a query that returns the first of its rows, or some behind them, sorted or not. None for other queries."""
    tokens = [token for token in find_tokens(sql) if token.depth == 0 and token.text != ";"]
    words = [token.text.lower() for token in tokens]
    start = words.index("select") if "select" in words else len(words)
    if {"from", "limit"} - set(words[start:]) or {"distinct", "union", "intersect", "except"} & set(words):
        return None
    begin, limit = words.index("from", start), words.index("limit", start)
    order = words.index("order", start) if "order" in words[start:limit] else limit
    counts = _read_limit(words[limit + 1 :])
    if counts is None or begin > order:
        return None
    asked = list(_split_at_commas(tokens[start + 1 : begin]))
    keys = [_find_key(sql, key, asked) for key in _split_at_commas(tokens[order + 2 : limit])]
    shown, rest = sql[: tokens[begin].start].rstrip(), sql[tokens[begin].start : tokens[limit].start]
    n_rows = sum(counts) + _MORE_ROWS
    return FirstKeys(f"{', '.join([shown, *keys])} {rest}LIMIT {n_rows}", counts[0], len(keys), counts[1])


def _read_limit(words: Sequence[str]) -> tuple[int, int] | None:
    """How many rows are returned, and how many before them are left out. None if that is not written as numbers."""
    found = re.fullmatch(r"(\d+)(?: (offset|,) (\d+))?", " ".join(words))
    if found is None:
        return None
    first, second = int(found[1]), int(found[3] or 0)
    return (second, first) if found[2] == "," else (first, second)


def list_selects(sql: str) -> list[str]:
    """A query, and the queries in brackets in it."""
    tokens = list(find_tokens(sql))
    inner = [
        sql[token.start : next((t.start for t in tokens[place:] if t.text == ")" and t.depth < token.depth), None)]
        for place, token in enumerate(tokens)
        if place and tokens[place - 1].text == "(" and token.text.lower() in STARTS
    ]
    return [sql, *inner]


def _split_at_commas(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    part: list[Token] = []
    for token in tokens:
        if token.text == ",":
            yield part
            part = []
        else:
            part.append(token)
    if part:
        yield part


def _find_key(sql: str, key: Sequence[Token], asked: Sequence[Sequence[Token]]) -> str:
    """What a sort key stands for. It may be the place or the name of something that the query returns."""
    tokens = list(takewhile(lambda token: token.text.lower() not in ("asc", "desc", "nulls"), key))
    if not tokens:
        return ""
    text = sql[tokens[0].start : tokens[-1].end]
    if text.isdigit():
        meant = asked[int(text) - 1] if 0 < int(text) <= len(asked) else tokens
    else:
        meant = next((m for m in asked if _is_named(m) and _unquote(m[-1].text) == _unquote(text)), tokens)
    if meant is not tokens and _is_named(meant):
        meant = meant[: -2 if meant[-2].text.lower() == "as" else -1]
    return sql[meant[0].start : meant[-1].end]


def _is_named(shown: Sequence[Token]) -> bool:
    """Whether what a query returns has a name of its own there, with or without `AS`."""
    if len(shown) < 2 or not (shown[-1].is_word or shown[-1].text[0] in '"`[') or shown[-1].text.lower() == "end":
        return False
    before = shown[-2]
    return before.is_word or before.text[0] in "\"`[')" or before.text[0].isdigit()


def _unquote(name: str) -> str:
    return name.strip('"`[]').lower()


def selects_constants(sql: str) -> bool:
    """Whether the outermost query returns only constants, as `SELECT 'yes' FROM city` does."""
    tokens = [token for token in find_tokens(sql) if token.depth == 0]
    words = [token.text.lower() for token in tokens]
    if "select" not in words:
        return False
    start = words.index("select") + 1
    end = words.index("from", start) if "from" in words[start:] else len(words)
    return all(_is_constant(tokens[i], words[i - 1]) for i in range(start, end))


def list_quoted(sql: str) -> set[str]:
    """The texts in double quotes that the outermost query returns: names, or texts where nothing has that name."""
    tokens = [token for token in find_tokens(sql) if token.depth == 0]
    words = [token.text.lower() for token in tokens]
    asked = tokens[: words.index("from")] if "from" in words else tokens
    return {token.text[1:-1].replace('""', '"') for token in asked if token.text[0] == '"'}


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
    for pattern in (_QUERY_AT_LINE, _QUERY_IN_TICKS, _QUERY_ANYWHERE):
        for match in pattern.finditer(text):
            start = match.end()
            if _is_query_start(text, start):
                quoted = text[start - 1 : start] == "`" and "`" in text[start:]
                return _cut_end(_cut_at_tick(text[start:]) if quoted else text[start:])
    return None


def _cut_at_tick(text: str) -> str:
    """The text up to the backtick that ends a query, which may hold backticks itself. If there is none, up to the last."""
    ends = [match.start() for match in islice(re.finditer("`", text), _MAX_CUTS)]
    complete = (text[:end] for end in reversed(ends) if find_syntax_error(text[:end]) is None)
    return next(complete, text.rpartition("`")[0])


def _is_query_start(text: str, start: int) -> bool:
    """Guards against `with`, which is also an English word."""
    return text[start : start + 4].lower() != "with" or _WITH.match(text, start) is not None


def _cut_end(text: str) -> str:
    """The text up to the first semicolon, a closing fence or tag, or prose.

    Prose begins only after a complete query and where SQLite cannot read on. If the end of the query is missing, nothing
    is cut, because what is left could be another query.
    """
    text = text.partition("\n```")[0].partition("\n~~~")[0]
    text = text[: next((token.start for token in find_tokens(text) if _is_behind(token, text)), None)].strip()
    if find_syntax_error(text) in (None, _INCOMPLETE):
        return text
    cuts = [text[:end] for end in islice(_find_ends(text), _MAX_CUTS)]
    complete = None
    for cut in cuts:
        problem = find_syntax_error(cut)
        if problem is None:
            complete = cut
        elif problem != _INCOMPLETE:
            return complete or cut
    return complete or text


def _is_behind(token: Token, text: str) -> bool:
    """Whether a token stands behind the query, such as the semicolon, or what begins `</sql>` or `<|im_end|>`."""
    return token.text == ";" or (token.text == "<" and _TAG.match(text, token.start) is not None)


def _find_ends(text: str) -> Iterator[int]:
    """The ends of what stands before each line that may be prose, or another query."""
    for before, token in pairwise(find_tokens(text)):
        if not token.depth and _may_be_prose(text, before, token):
            yield before.end


def _may_be_prose(text: str, before: Token, token: Token) -> bool:
    if _BLANK_LINE.search(text, before.end, token.start):
        return token.text.istitle() or token.text.lower() not in _GOES_ON - {"select"}
    if "\n" not in text[before.end : token.start]:
        return False
    return token.text.lower() in ("select", "with") or _SENTENCE.match(text, token.start) is not None
