"""Finding and comparing numbers in answers."""

import re
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

_MARKED = re.compile(r"#### (\-?[0-9\.\,]+)")
"""The official extraction of openai/grade-school-math."""
_NUMBER = re.compile(r"(?:(?<![\w.)])[-−])?\$?(?:\d[\d,]*(?:\.\d+)?|(?<![\d.])\.\d+)")


class FoundNumber(NamedTuple):
    """`value` is None when the text holds no number; `marked` when it stood after `####`."""

    value: Decimal | None
    marked: bool = False


def find_answer(text: str) -> FoundNumber:
    """The number after the first `####`, or else the last number of the text."""
    match = _MARKED.search(text)
    value = parse_number(match[1]) if match else None
    if value is not None:
        return FoundNumber(value, marked=True)
    numbers = find_numbers(text)
    return FoundNumber(numbers[-1] if numbers else None)


def find_numbers(text: str) -> list[Decimal]:
    """All numbers in a text, in order."""
    values = (parse_number(token) for token in _NUMBER.findall(text))
    return [value for value in values if value is not None]


def parse_number(text: str) -> Decimal | None:
    """The number in `$1,200.50`, `-3.` or `72`; None if it is none."""
    bare = text.strip().replace("−", "-").replace(",", "").replace("$", "").rstrip(".")
    try:
        value = Decimal(bare)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def format_number(value: Decimal) -> str:
    """Plain notation without trailing zeros: `1200.5`, `72`."""
    return f"{value.normalize():f}" if value else "0"
