"""Rows in JSON: one object per line, an array, or an object that contains one list of rows."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from itertools import chain, dropwhile, islice
from typing import Any

from pada_agent.app.adapters.storage.json_layouts import Placed, open_object
from pada_agent.app.adapters.storage.json_problems import (
    ONE_A_LINE,
    count_objects,
    explain_json,
    is_unfinished,
    name_other_format,
)
from pada_agent.core.errors import DatasetError, RowError
from pada_agent.core.nesting import check_nesting

_SPACE = re.compile(r"\s*")
_N_LINES_LOOKED_AT = 20
_N_EXPLAINED = 1_000
"""Characters that an explanation looks at."""
_MAX_DIGITS = 4_000
"""Maximum digits of an integer: a few less than Python reads (`sys.get_int_max_str_digits`)."""


def read_json(location: str, lines: Iterable[str], *, may_be_pretty: bool) -> Iterator[Placed]:
    """The values of a file that should be rows. For lines that cannot be read, the error of that row.

    Args:
        may_be_pretty: whether a value may span several lines, or hold all rows.

    Raises:
        DatasetError: this is not JSON. The message names the line.
    """
    numbered = dropwhile(lambda placed: not placed[1].strip(), enumerate(lines, 1))
    head = list(islice(numbered, _N_LINES_LOOKED_AT))
    if not head:
        raise DatasetError(f"{location}: is empty")
    (number, first), rest = head[0], chain(head, numbered)
    is_whole = _parses(first)
    if not is_whole:
        _refuse_others(location, head, may_be_pretty=may_be_pretty)
    if first.lstrip().startswith("[") or (may_be_pretty and not is_whole):
        return _Scanner(location, "".join(line for _, line in rest), number).read()
    values = ((str(n), _parse(f"{location}:{n}", line)) for n, line in rest if line.strip())
    begin = list(islice(values, 2))
    (place, value) = begin[0]
    alone = may_be_pretty and len(begin) == 1 and not isinstance(value, RowError)
    return open_object(location, place, value) if alone else chain(begin, values)


def _refuse_others(location: str, head: Sequence[tuple[int, str]], *, may_be_pretty: bool) -> None:
    """Refuse a file that does not begin as JSON, or that spans several lines where each line should hold one object."""
    if other := name_other_format("".join(line for _, line in head)):
        raise DatasetError(f"{location}: {other}")
    (number, first), following = head[0], head[1:]
    if not may_be_pretty and following and is_unfinished(first) and not _parses(following[0][1]):
        raise DatasetError(
            f"{location}:{number}: an object spans several lines, but this format has one object per line. {ONE_A_LINE} Or name the"
            " file .json, where an object may span several lines"
        )


class _Scanner:
    """Reads values that span several lines, and knows on which line each begins."""

    def __init__(self, location: str, text: str, first_line: int) -> None:
        self._location, self._text, self._first_line = location, text, first_line
        self._place = self._counted = 0
        self._line = first_line

    def read(self) -> Iterator[Placed]:
        """The members of an array, or else the values that follow each other."""
        if self._take("["):
            return _tell_apart(self._read_array())
        values = []
        while not self._at_end():
            values.append(self._read_value())
        return open_object(self._location, *values[0]) if len(values) == 1 else _tell_apart(values)

    def _read_array(self) -> Iterator[Placed]:
        yield from self._read_members()
        if not self._at_end():
            raise self._refuse("there is something after the end of the array. Put all rows between one [ and one ]")

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
            check_nesting(value, self._text[place : self._place])
            _check_surrogates(value, self._text, place, self._place)
        except (ValueError, RecursionError) as exc:
            line = self._line
            if isinstance(exc, json.JSONDecodeError | HalfCharacter):
                line = self._first_line - 1 + exc.lineno
            reason = explain_json(exc, self._text[place : place + _N_EXPLAINED])
            raise DatasetError(f"{self._location}:{line}: not valid JSON: {reason}") from exc
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


def _tell_apart(values: Iterable[Placed]) -> Iterator[Placed]:
    """The values. The place of one that begins on the same line as the one before includes its number."""
    before = ""
    for number, (place, value) in enumerate(values, 1):
        yield (f"{place} (row {number})" if place == before else place), value
        before = place


def _parses(line: str) -> bool:
    try:
        _DECODER.decode(line)
    except (ValueError, RecursionError):
        return False
    return True


def _parse(where: str, line: str) -> Any:
    try:
        value = _DECODER.decode(line)
        check_nesting(value, line)
        _check_surrogates(value, line, 0, len(line))
    except (ValueError, RecursionError) as exc:
        if (n := count_objects(line, _DECODER)) > 1:
            return RowError(where, f"this line contains {n} objects. {ONE_A_LINE}", "several objects")
        return RowError(where, f"not valid JSON: {explain_json(exc, line)} {ONE_A_LINE}")
    return value


class HalfCharacter(ValueError):
    """A text contains a lone surrogate. Carries the position of its escape in the file's text."""

    def __init__(self, half: str, text: str, place: int) -> None:
        self.lineno = text.count("\n", 0, place) + 1
        column = place - text.rfind("\n", 0, place)
        super().__init__(
            f"at column {column}, a text contains {half}, which is half of a character (usually of an emoji that was cut)."
            " Write both halves, or remove it"
        )


def _check_surrogates(value: Any, text: str, start: int, end: int) -> None:
    """An escaped half of a surrogate pair can be parsed, but no tokenizer or file accepts it."""
    if not _HALF.search(text, start, end):
        return
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as exc:
        half = f"\\u{ord(exc.object[exc.start]):04x}"
        place = next((m.start("lone") for m in _ESCAPE.finditer(text, start, end) if m["lone"]), start)
        raise HalfCharacter(half, text, place) from exc


def _read_float(literal: str) -> Decimal:
    """The number as the file writes it, because a double would round it."""
    try:
        return Decimal(literal)
    except InvalidOperation as exc:
        raise ValueError(f"the number {literal[:40]} is out of range") from exc


def _read_integer(literal: str) -> int:
    """Python refuses to read longer integers, with advice that is meant for programmers."""
    if len(literal) > _MAX_DIGITS:
        raise ValueError(
            f"the number {literal[:20]}… has {len(literal):,} digits, and {_MAX_DIGITS:,} is the limit. Put it in quotes if"
            " it is a text"
        )
    return int(literal)


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} appears twice in one object")
    return found


_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(r"(?i)\\ud[89ab]..\\ud[c-f]..|(?P<lone>\\ud[89a-f]..)|\\.", re.DOTALL)
"""An escape in a JSON text: a pair of halves, a half alone, or any other."""

_DECODER = json.JSONDecoder(parse_float=_read_float, parse_int=_read_integer, object_pairs_hook=_read_object)
