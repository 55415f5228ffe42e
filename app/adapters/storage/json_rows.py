"""Rows in JSON: an object a line, an array, or an object with one list of rows in it."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import Any

from pada_agent.core.errors import DatasetError

LISTS = ("data", "rows", "examples", "items", "records", "instances", "train", "validation", "test")
"""Keys under which an object holds all rows of a file."""

Placed = tuple[str, Any]
"""A value, and where it begins: its line, or its place in a list inside an object."""

_SPACE = re.compile(r"\s*")


def read_json(location: str, lines: Iterable[str], *, may_be_pretty: bool) -> Iterator[Placed]:
    """The values of a file that should be rows; `may_be_pretty` where one may take several lines, or hold all rows.

    Raises:
        DatasetError: not JSON; names the line.
    """
    numbered = ((n, line) for n, line in enumerate(lines, 1) if line.strip())
    number, first = next(numbered, (0, ""))
    if first.lstrip().startswith("[") or (may_be_pretty and not _parses(first)):
        text = "".join(chain([first], (line for _, line in numbered)))
        yield from _Scanner(location, text, number).read()
        return
    rows = chain([(number, first)] if number else [], numbered)
    values: Iterator[Placed] = ((str(n), _parse(f"{location}:{n}", line)) for n, line in rows)
    head = [value for value in (next(values, None), next(values, None)) if value is not None]
    yield from _open_object(*head[0]) if may_be_pretty and len(head) == 1 else chain(head, values)


class _Scanner:
    """Reads values that take several lines, and knows on which they begin."""

    def __init__(self, location: str, text: str, first_line: int) -> None:
        self._location, self._text, self._first_line = location, text, first_line
        self._place = self._counted = 0
        self._line = first_line

    def read(self) -> Iterator[Placed]:
        """The members of an array, else the values that follow each other."""
        if self._take("["):
            yield from self._read_members()
            if not self._at_end():
                raise self._refuse("there is something after the array")
            return
        values = []
        while not self._at_end():
            values.append(self._read_value())
        yield from _open_object(*values[0]) if len(values) == 1 else iter(values)

    def _read_members(self) -> Iterator[Placed]:
        if self._take("]"):
            return
        while True:
            yield self._read_value()
            if self._take("]"):
                return
            if not self._take(","):
                raise self._refuse("expected a comma or the end of the array")

    def _read_value(self) -> Placed:
        place = self._skip_space()
        self._line += self._text.count("\n", self._counted, place)
        self._counted = place
        try:
            value, self._place = _DECODER.raw_decode(self._text, place)
            _check_surrogates(value, self._text[place : self._place])
        except (ValueError, RecursionError) as exc:
            line = self._first_line - 1 + exc.lineno if isinstance(exc, json.JSONDecodeError) else self._line
            raise DatasetError(f"{self._location}:{line}: not valid JSON: {_explain(exc)}") from exc
        return str(self._line), value

    def _skip_space(self) -> int:
        space = _SPACE.match(self._text, self._place)
        self._place = space.end() if space else self._place
        return self._place

    def _take(self, character: str) -> bool:
        found = self._text.startswith(character, self._skip_space())
        self._place += found
        return found

    def _at_end(self) -> bool:
        return self._skip_space() == len(self._text)

    def _refuse(self, problem: str) -> DatasetError:
        line = self._first_line + self._text.count("\n", 0, self._place)
        return DatasetError(f"{self._location}:{line}: not valid JSON: {problem}")


def _open_object(place: str, value: Any) -> Iterator[Placed]:
    """The rows that the only object of a file holds in a list; the object itself, if it holds none."""
    lists = [key for key in LISTS if isinstance(value, Mapping) and isinstance(value.get(key), list)]
    if len(lists) != 1 or not all(isinstance(row, Mapping) for row in value[lists[0]]):
        yield place, value
        return
    for n, row in enumerate(value[lists[0]], 1):
        yield from _open_article(f"{lists[0]}[{n}]", row)


def _open_article(place: str, row: Mapping[str, Any]) -> Iterator[Placed]:
    """SQuAD's own files: the questions of an article's paragraphs, each with its passage."""
    paragraphs = row.get("paragraphs")
    if not isinstance(paragraphs, list) or not all(isinstance(p, Mapping) for p in paragraphs):
        yield place, row
        return
    for paragraph in paragraphs:
        for question in paragraph.get("qas") or []:
            context = {"title": row.get("title"), "context": paragraph.get("context")}
            yield place, {**context, **question} if isinstance(question, Mapping) else question


def _parses(line: str) -> bool:
    try:
        _DECODER.decode(line)
    except (ValueError, RecursionError):
        return False
    return True


def _parse(where: str, line: str) -> Any:
    try:
        value = _DECODER.decode(line)
        _check_surrogates(value, line)
    except (ValueError, RecursionError) as exc:
        raise DatasetError(f"{where}: not valid JSON: {_explain(exc, line)}. Each line must hold one object.") from exc
    return value


def _explain(exc: Exception, line: str = "") -> str:
    text = line.strip()
    if re.match(r"\{\s*'", text):
        return "keys and texts need double quotes, but this has single ones, as Python prints them"
    if text.endswith("},"):
        return "it ends with a comma. Remove it, or put all rows between [ and ]"
    return str(exc) or type(exc).__name__


def _check_surrogates(value: Any, text: str) -> None:
    """An escaped half of a surrogate pair parses, but no tokenizer or file takes it."""
    if "\\ud" in text.lower():
        json.dumps(value, ensure_ascii=False, default=str).encode()


def _read_float(literal: str) -> Decimal:
    """As the file writes it: a double would round it."""
    try:
        return Decimal(literal)
    except InvalidOperation as exc:
        raise ValueError(f"the number {literal[:40]} is out of range") from exc


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} appears twice in one object")
    return found


_DECODER = json.JSONDecoder(parse_float=_read_float, object_pairs_hook=_read_object)
