"""Find what a language model's answer lists: JSON objects, in whatever it writes around them."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pada_agent.core.surrogates import join_surrogates
from pada_agent.core.thoughts import find_answer, has_marks
from pada_agent.prompts.escapes import restore
from pada_agent.prompts.lenient_json import MAX_DEPTH, Malformed, Read, TooDeep, read_value

_OPENING = re.compile(r"[\[{]")
_DECODER = json.JSONDecoder(strict=False)
READ_BUDGET = 20
"""Characters read in vain, for each character of the text, before the rest is given up: hostile answers take no minutes."""
LARGEST_READ_BUDGET = 1_000_000
"""Characters read in vain in a long text: about a second."""
VAIN_OPENING = 50
"""What a bracket that opens no value takes of the budget, beside the characters read behind it."""
_WRAPPER = re.compile(
    "items|samples|results?|data|examples|answers|ratings|strategies|analyses|errors|outputs?|response|rows",
    re.IGNORECASE,
)
"""Keys under which models put a list of items, beside a count or a remark."""


@dataclass(frozen=True)
class Listing:
    """The objects of one JSON value."""

    items: tuple[dict[str, Any], ...]
    is_list: bool
    """An array, or an object around one; else a bare object."""
    complete: bool = True
    """False where the text ended first: what was incomplete is left out."""


def find_listings(text: str) -> list[Listing]:
    """What each JSON value in `text` lists, in order; never raises.

    Thoughts are passed over, and so are prose and fences. An object that only wraps others, such as
    `{"samples": […]}`, is opened. NaN and infinities become None.
    """
    whole = _decode_whole(text)
    if isinstance(whole, str):
        return find_listings(whole) if len(whole) < len(text) else []
    reads = _scan(strip_thoughts_around_json(text)) if whole is None else [Read(whole, len(text))]
    return [listing for read in reads if (listing := _to_listing(read)).items]


def strip_thoughts_around_json(text: str) -> str:
    """The text without thoughts; marks of thoughts inside the strings of a JSON value are that string's text."""
    if not has_marks(text):
        return text
    parts, at = [], 0
    for start, end in _strict_values(text):
        parts += [text[at:start], "_" * (end - start)]
        at = end
    masked = "".join([*parts, text[at:]])
    return "".join(text[start:end] for start, end in find_answer(masked))


def _strict_values(text: str) -> Iterator[tuple[int, int]]:
    """Places of the outermost arrays and objects that are valid JSON."""
    at = 0
    budget = _read_budget(text)
    while budget > 0 and (opening := _OPENING.search(text, at)):
        try:
            _, end = _DECODER.raw_decode(text, opening.start())
            yield opening.start(), end
            at = end
        except (ValueError, RecursionError) as exc:
            at = opening.start() + 1
            budget -= getattr(exc, "pos", len(text)) - opening.start() + VAIN_OPENING


def _read_budget(text: str) -> int:
    return min(len(text) * READ_BUDGET, LARGEST_READ_BUDGET)


def _decode_whole(text: str) -> Any | None:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def _scan(text: str) -> list[Read]:
    """All arrays and objects, outermost first; where one is beyond reading, those inside it."""
    found = []
    at = 0
    budget = _read_budget(text)
    while budget > 0 and (opening := _OPENING.search(text, at)):
        try:
            read = _read(text, opening.start())
            found.append(read)
            at = read.end
        except TooDeep:
            break
        except Malformed as exc:
            at = opening.start() + 1
            budget -= (len(text) if exc.at is None else exc.at) - opening.start() + VAIN_OPENING
    return found


def _read(text: str, start: int) -> Read:
    try:
        return Read(*_DECODER.raw_decode(text, start))
    except RecursionError as exc:
        raise TooDeep from exc
    except ValueError:
        return read_value(text, start)


def _to_listing(read: Read) -> Listing:
    value = _clean(read.value)
    entries = value if isinstance(value, list) else [value]
    items = [item for entry in entries if isinstance(entry, dict) and entry for item in _unwrap(entry)]
    return Listing(tuple(items), is_list=items != [value], complete=read.complete)


def _unwrap(entry: dict[str, Any]) -> list[dict[str, Any]]:
    lists: dict[str, list[dict[str, Any]]] = {key: value for key, value in entry.items() if _is_list_of_objects(value)}
    if len(lists) == 1:
        ((key, items),) = lists.items()
        if _WRAPPER.fullmatch(key) or (len(entry) == 1 and key != "messages"):
            return items
    if entry and all(isinstance(value, dict) for value in entry.values()):
        return list(entry.values())
    return [entry]


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _clean(value: Any, depth: int = 0) -> Any:
    """Remove what JSON files and databases refuse: NaN, infinities, lone surrogates (pairs are joined), control characters, endless nesting."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return restore(join_surrogates(value))
    if isinstance(value, list | dict) and depth > MAX_DEPTH:
        return None
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item, depth + 1) for key, item in value.items()}
    return value
