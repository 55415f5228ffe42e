"""A reader for the JSON that language models write: damaged, but meant well."""

import re
from typing import Any, NamedTuple

MAX_DEPTH = 64
LONGEST_COMMENT = 1000
"""Characters of a `/* … */` that is passed over."""

_SPACE = re.compile(r"(?:\s|//[^\n]*)*")
_NUMBER = re.compile(r"[-+]?(?:\d{1,300}(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CLOSING = {'"': '"', "'": "'", "“": "”"}
_WORDS = {"true": True, "false": False, "null": None, "none": None, "nan": None, "infinity": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/", "\\": "\\", '"': '"', "'": "'", "\n": "\n"}
_ENDS_KEY = re.compile(r"\s*(?:[:：]|$)")
_ENDS_VALUE = re.compile(
    r"\s*(?:$|[}\]]|,\s*(?:$|[\"'“\[{}\]\d-]|\w+\s*:|(?i:true|false|null|none)\b)"
    r"|，\s*(?:[\[{]|[\"'“]\w[^\"'”]{0,40}[\"'”]\s*[:：]))"
)
"""After a full-width comma, which is also written between quoted words of a text, a key or a bracket has to follow."""


class Malformed(ValueError):
    """No JSON value starts here."""

    def __init__(self, at: int | None = None) -> None:
        super().__init__()
        self.at = at
        """How far the text was read."""


class TooDeep(Malformed):
    """Nested beyond `MAX_DEPTH`: not worth reading from any other place either."""


class Read(NamedTuple):
    """A value, where the text goes on after it, and whether the text ended before the value did."""

    value: Any
    end: int
    complete: bool = True


def read_value(text: str, start: int, depth: int = 0) -> Read:
    """The value at `start`.

    Accepts trailing, missing and full-width commas, full-width colons, single and typographic quotes, bare keys, comments, raw line breaks and quotes inside
    strings, Python's words, and an early end: then what was incomplete is left out, item by item.

    Raises:
        Malformed: what stands there is not even meant as JSON.
    """
    start = _skip(text, start)
    if depth > MAX_DEPTH:
        raise TooDeep
    if start >= len(text):
        raise Malformed(start)
    first = text[start]
    if first == "[":
        return _read_array(text, start + 1, depth)
    if first == "{":
        return _read_object(text, start + 1, depth)
    if first in _CLOSING:
        return _read_string(text, start, _ENDS_VALUE)
    return _read_scalar(text, start)


def _read_array(text: str, at: int, depth: int) -> Read:
    items: list[Any] = []
    while (at := _skip(text, at, commas=True)) < len(text):
        if text[at] == "]":
            return Read(items, at + 1)
        item = read_value(text, at, depth + 1)
        if not item.complete:
            return Read(items, item.end, complete=False)
        items.append(item.value)
        at = item.end
    return Read(items, at, complete=False)


def _read_object(text: str, at: int, depth: int) -> Read:
    members: dict[str, Any] = {}
    while (at := _skip(text, at, commas=True)) < len(text):
        if text[at] == "}":
            return Read(members, at + 1)
        key = _read_key(text, at)
        colon = _skip(text, key.end)
        at = _skip(text, colon + 1)
        if not key.complete or at >= len(text):
            return Read(members, len(text), complete=False)
        if text[colon] not in ":：":
            raise Malformed(colon)
        member = read_value(text, at, depth + 1)
        if member.complete or isinstance(member.value, list | dict):
            members[key.value] = member.value
        if not member.complete:
            return Read(members, member.end, complete=False)
        at = member.end
    return Read(members, at, complete=False)


def _read_key(text: str, at: int) -> Read:
    if text[at] in _CLOSING:
        return _read_string(text, at, _ENDS_KEY)
    word = _WORD.match(text, at)
    if not word:
        raise Malformed(at)
    return Read(word.group(), word.end())


def _read_string(text: str, start: int, ends: re.Pattern[str]) -> Read:
    """A quote closes the string only if what follows looks like the end of a key or value."""
    closing = _CLOSING[text[start]]
    parts: list[str] = []
    at = start + 1
    while at < len(text):
        if text[at] == "\\":
            part, at = _read_escape(text, at + 1)
            parts.append(part)
        elif text[at] == closing and ends.match(text, at + 1):
            return Read("".join(parts), at + 1)
        else:
            parts.append(text[at])
            at += 1
    return Read("".join(parts), at, complete=False)


def _read_escape(text: str, at: int) -> tuple[str, int]:
    """An escape JSON does not know, as in `\\(x\\)`, is kept with its backslash."""
    letter = text[at : at + 1]
    code = re.compile(r"u([0-9a-fA-F]{4})").match(text, at)
    if code:
        return chr(int(code.group(1), 16)), code.end()
    return _ESCAPES.get(letter, "\\" + letter), at + 1


def _read_scalar(text: str, start: int) -> Read:
    number = _NUMBER.match(text, start)
    if number:
        return Read(
            _to_number(number.group()), number.end(), complete=number.end() < len(text)
        )  # 10 may be cut off to 1
    word = _WORD.match(text, start)
    if word and word.group().lower() in _WORDS:
        return Read(_WORDS[word.group().lower()], word.end())
    raise Malformed(start)


def _to_number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _skip(text: str, at: int, *, commas: bool = False) -> int:
    at = _skip_space(text, at)
    while text.startswith("/*", at) and (end := text.find("*/", at + 2, at + LONGEST_COMMENT)) >= 0:
        at = _skip_space(text, end + 2)
    while commas and at < len(text) and text[at] in ",，":
        at = _skip(text, at + 1)
    return at


def _skip_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
