"""Find the JSON in a language model's answer."""

import json
import math
import re
from typing import Any

from pada_agent.prompts.lenient_json import Malformed, Read, TooDeep, read_value

_THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_OPENING = re.compile(r"[\[{]")
_DECODER = json.JSONDecoder(strict=False)
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
    text = _THINKING.sub("", text)
    whole = _decode_whole(text)
    if isinstance(whole, str):
        return extract_json(whole) if len(whole) < len(text) else None
    if whole is not None:
        return _clean(whole)
    return _clean(_join(_scan(text)))


def extract_items(text: str) -> list[dict[str, Any]]:
    """The objects that `text` lists; an object that only wraps them, such as `{"samples": […]}`, is opened. Never raises."""
    value = extract_json(text)
    found = value if isinstance(value, list) else [value]
    return [item for entry in found if isinstance(entry, dict) for item in _unwrap(entry)]


def _decode_whole(text: str) -> Any | None:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def _scan(text: str) -> list[Any]:
    """All arrays and objects, outermost first; where one is beyond reading, those inside it."""
    found = []
    at = 0
    while opening := _OPENING.search(text, at):
        try:
            read = _read(text, opening.start())
            found.append(read.value)
            at = read.end
        except TooDeep:
            break
        except Malformed:
            at = opening.start() + 1
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
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value
