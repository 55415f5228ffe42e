"""Find the JSON in a language model's answer."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from pada_agent.core.surrogates import join_surrogates
from pada_agent.core.thoughts import has_marks, strip_thoughts
from pada_agent.prompts.lenient_json import Malformed, Read, TooDeep, read_value

_OPENING = re.compile(r"[\[{]")
_DECODER = json.JSONDecoder(strict=False)
READ_BUDGET = 20
"""Characters read in vain, for each character of the text, before the rest is given up: hostile answers take no minutes."""
_WRAPPER = re.compile(
    "items|samples|results?|data|examples|answers|ratings|strategies|analyses|errors|outputs?|response|rows",
    re.IGNORECASE,
)
"""Keys under which models put a list of items, beside a count or a remark."""


def extract_json(text: str) -> Any | None:
    """The JSON value in `text`, or None; never raises.

    Prose, fences and reasoning around it are passed over. Several objects (JSON Lines, one fence each) or arrays
    become one list. Of a truncated array the complete items stay. NaN and infinities become None.
    """
    whole = _decode_whole(text)
    if isinstance(whole, str):
        return extract_json(whole) if len(whole) < len(text) else None
    return _clean(_join(_scan(strip_thoughts_around_json(text)) if whole is None else [whole]))


def extract_items(text: str, *, expect: int | None = None) -> list[dict[str, Any]]:
    """The objects that `text` lists; an object that only wraps them, such as `{"samples": […]}`, is opened. Never raises.

    Where there are more than `expect` because the answer holds drafts before its final version, the last version counts.
    """
    whole = _decode_whole(text)
    if isinstance(whole, str):
        return extract_items(whole, expect=expect) if len(whole) < len(text) else []
    found = [_clean(value) for value in (_scan(strip_thoughts_around_json(text)) if whole is None else [whole])]
    versions = [items for value in found if (items := _list_items(value))]
    n_items = sum(len(items) for items in versions)
    if expect is not None and len(versions) > 1 and n_items > expect:
        return _take_last_version(versions, expect)
    joined = _join(found)
    return _list_items(joined) if not isinstance(joined, list) else [i for entry in joined for i in _list_items(entry)]


def strip_thoughts_around_json(text: str) -> str:
    """The text without thoughts; marks of thoughts inside the strings of a JSON value are that string's text."""
    if not has_marks(text):
        return text
    kept: list[str] = []

    def hide(start: int, end: int) -> str:
        kept.append(text[start:end])
        return f"\x00{len(kept) - 1}\x00"

    parts, at = [], 0
    for start, end in _strict_values(text):
        parts += [text[at:start], hide(start, end)]
        at = end
    stripped = strip_thoughts("".join([*parts, text[at:]]))
    return re.sub("\x00(\\d+)\x00", lambda match: kept[int(match[1])], stripped)


def _strict_values(text: str) -> Iterator[tuple[int, int]]:
    """Places of the outermost arrays and objects that are valid JSON."""
    at = 0
    budget = len(text) * READ_BUDGET
    while budget > 0 and (opening := _OPENING.search(text, at)):
        try:
            _, end = _DECODER.raw_decode(text, opening.start())
            yield opening.start(), end
            at = end
        except (ValueError, RecursionError) as exc:
            at = opening.start() + 1
            budget -= getattr(exc, "pos", len(text)) - opening.start() + 1


def _list_items(value: Any) -> list[dict[str, Any]]:
    """The objects in one value."""
    entries = value if isinstance(value, list) else [value]
    return [item for entry in entries if isinstance(entry, dict) for item in _unwrap(entry)]


def _take_last_version(versions: list[list[dict[str, Any]]], expect: int) -> list[dict[str, Any]]:
    """The last list that is long enough; of loose objects the last ones, where there are enough for two versions."""
    if whole := [items for items in versions if len(items) >= expect]:
        return whole[-1]
    loose = [item for items in versions for item in items]
    return loose[-expect:] if len(loose) >= 2 * expect else loose[:expect]


def _decode_whole(text: str) -> Any | None:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def _scan(text: str) -> list[Any]:
    """All arrays and objects, outermost first; where one is beyond reading, those inside it."""
    found = []
    at = 0
    budget = len(text) * READ_BUDGET
    while budget > 0 and (opening := _OPENING.search(text, at)):
        try:
            read = _read(text, opening.start())
            found.append(read.value)
            at = read.end
        except TooDeep:
            break
        except Malformed as exc:
            at = opening.start() + 1
            budget -= (len(text) if exc.at is None else exc.at) - opening.start() + 1
    return found


def _read(text: str, start: int) -> Read:
    try:
        return Read(*_DECODER.raw_decode(text, start))
    except RecursionError as exc:
        raise TooDeep from exc
    except ValueError:
        return read_value(text, start)


def _join(found: list[Any]) -> Any | None:
    """Arrays of objects before loose objects before the rest (a footnote's `[1]`)."""
    arrays = [value for value in found if isinstance(value, list) and any(isinstance(v, dict) for v in value)]
    if arrays:
        return [item for array in arrays for item in array]
    objects = [value for value in found if isinstance(value, dict) and value]
    if objects:
        return objects[0] if len(objects) == 1 else objects
    return found[-1] if found else None


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


def _clean(value: Any) -> Any:
    """Without what JSON files and databases refuse: NaN, infinities, lone surrogates (pairs are joined)."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return join_surrogates(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value
