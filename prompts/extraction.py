"""Find what a language model's answer lists: JSON objects, in whatever it writes around them."""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pada_agent.core.surrogates import join_surrogates
from pada_agent.core.thoughts import find_answer, has_marks
from pada_agent.prompts.escapes import restore
from pada_agent.prompts.lenient_json import MAX_DEPTH, Malformed, Read, TooDeep, read_value

_OPENING = re.compile(r"[\[{]")
_FENCE = re.compile(r"\A```\w*\s*|\s*```\Z")
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
_ELEMENT = re.compile(r"<(?P<end>/?)(?P<name>analysis|reasoning|reflection)>", re.IGNORECASE)
"""A mark of an element that may be a thought, or what a model has put its answer into."""
_ARGUMENTS = ("arguments", "parameters", "input")
"""Keys under which a model that answers with a tool call puts what it has to say."""
IsItem = Callable[[dict[str, Any]], bool]
Found = tuple[str, dict[str, Any]]
"""An object, and the key it stood under if an object had it in place of a list."""


@dataclass(frozen=True)
class Listing:
    """The objects of one JSON value."""

    items: tuple[dict[str, Any], ...]
    keys: tuple[str, ...]
    """For each item, the key it stood under, as in `{"sample 1": {…}, "sample 2": {…}}`. Empty for an item of a list."""
    is_list: bool
    """An array, or an object around one; else a bare object."""
    complete: bool = True
    """False where the text ended first: what was incomplete is left out."""


def find_listings(text: str, is_item: IsItem = lambda _: False) -> list[Listing]:
    """What each JSON value in `text` lists, in order; never raises.

    Thoughts are passed over, and so are prose and fences. What only wraps objects is opened: `{"samples": […]}`, a tool call,
    a list in a list, JSON in a text. NaN and infinities become None.

    Args:
        is_item: whether an object is what is looked for. It is then not opened, whatever it holds.
    """
    whole = _decode_whole(text)
    if isinstance(whole, str):
        return find_listings(whole, is_item) if len(whole) < len(text) else []
    reads = _scan(strip_thoughts_around_json(text)) if whole is None else [Read(whole, len(text))]
    found = [listing for read in reads if (listing := _to_listing(read, is_item)).items]
    if not found and (other := _unescape(text) or _open_element(text)):
        return find_listings(other, is_item)
    return found


def find_texts(text: str) -> list[str]:
    """The last list in `text` that consists of texts alone, with or without an object around it. Empty if there is none; never raises."""
    whole = _decode_whole(text)
    if isinstance(whole, str):
        return find_texts(whole) if len(whole) < len(text) else []
    values = [read.value for read in _scan(strip_thoughts_around_json(text))] if whole is None else [whole]
    lists = [texts for value in values if (texts := _open_texts(_clean(value)))]
    if not lists and (other := _unescape(text) or _open_element(text)):
        return find_texts(other)
    return lists[-1] if lists else []


def _open_texts(value: Any) -> list[str]:
    if isinstance(value, dict) and len(value) == 1:
        (value,) = value.values()
    is_list = isinstance(value, list) and all(isinstance(entry, str) and entry.strip() for entry in value)
    return value if is_list else []


def _unescape(text: str) -> str | None:
    r"""What `[{\"a\": 1}]` stands for: the inside of a JSON string without its quotation marks. None if the text is none."""
    opening = _OPENING.search(text)
    if opening is None or '\\"' not in text:
        return None
    inside = text[opening.start() : max(text.rfind("]"), text.rfind("}")) + 1]
    value = _decode_whole(f'"{inside}"')
    return value if isinstance(value, str) else None


def _open_element(text: str) -> str | None:
    """What the last element holds, such as `<analysis>[{"a": 1}]</analysis>`, if that is one JSON value and nothing else: a thought would have words.
    None if there is none.
    """
    *_, opened, closed = (None, None, *_ELEMENT.finditer(text))
    if opened is None or closed is None or (opened["end"], closed["end"]) != ("", "/"):
        return None
    inside = _FENCE.sub("", text[opened.end() : closed.start()].strip())
    return inside if isinstance(_decode_whole(inside), list | dict) else None


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


def _to_listing(read: Read, is_item: IsItem) -> Listing:
    value = _clean(read.value)
    found = _list_objects(value, is_item)
    items, keys = tuple(item for _, item in found), tuple(key for key, _ in found)
    return Listing(items, keys, is_list=items != (value,), complete=read.complete)


def _list_objects(value: Any, is_item: IsItem) -> list[Found]:
    if isinstance(value, str):
        inner = _clean(_decode_whole(value)) if _OPENING.match(value.lstrip()) else None
        return _list_objects(inner, is_item) if isinstance(inner, list | dict) else []
    if isinstance(value, list):
        return [found for part in value for found in _list_objects(part, is_item)]
    if not isinstance(value, dict) or not value:
        return []
    return [("", value)] if is_item(value) and not _only_wraps(value, is_item) else _unwrap(value, is_item)


def _only_wraps(value: dict[str, Any], is_item: IsItem) -> bool:
    """Whether the only key, although it has the name of an item's field, is that of an item or of a list of them."""
    (first, *others) = value.values()
    parts = first if isinstance(first, list) else [first]
    return not others and any(isinstance(part, dict) and is_item(part) for part in parts)


def _unwrap(entry: dict[str, Any], is_item: IsItem) -> list[Found]:
    lists = {key: value for key, value in entry.items() if _is_list_of_objects(value)}
    if len(lists) == 1:
        ((key, items),) = lists.items()
        if _WRAPPER.fullmatch(key) or (len(entry) == 1 and key != "messages"):
            return _list_objects(items, is_item)
    said = next((entry[key] for key in _ARGUMENTS if key in entry and "name" in entry), None)
    if found := _list_objects(said, is_item):
        return found
    if all(isinstance(value, dict) for value in entry.values()):
        return [
            (inner_key or key, item)
            for key, value in entry.items()
            for inner_key, item in (_list_objects(value, is_item) or [("", value)])
        ]
    return [("", entry)]


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
