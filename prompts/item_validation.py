"""Check one object of an answer against its pydantic model, repairing harmless drift."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pada_agent.prompts.schema import placeholders

ItemT = TypeVar("ItemT", bound=BaseModel)

_NUMBER = re.compile(r"\d{1,9}")
"""Without a sign: nothing is numbered below zero, and `sample-1` is the first."""
_LEADING_INTEGER = re.compile(r"\s*(-?\d+)(?:\.0*)?\s*(?:$|[^\d.\s])")
_CHOICE = re.compile(r"'([^']*)'")
"""One of the values in pydantic's words, such as `'yes' or 'no'`."""
_ENDS_CHOICE = re.compile(r"[,.;:(\n–—]|\s-\s")
"""What stands between a decision and its reason."""
_SAME = {"yes": "true", "y": "true", "1": "true", "no": "false", "n": "false", "0": "false"}


@dataclass(frozen=True)
class CheckedItem(Generic[ItemT]):
    """An item, or why there is none."""

    item: ItemT | None = None
    problem: str = ""
    number: int | None = None
    """As it says itself, where items are numbered."""


def check_item(
    draft: dict[str, Any],
    item: type[ItemT],
    *,
    where: str,
    number_field: str = "",
) -> CheckedItem[ItemT]:
    """Validate `draft`; numbers where text belongs, `8/10` where a number belongs, a lone value where a list belongs and
    `Yes.` or true where `yes` belongs are repaired."""
    number = _read_number(draft.get(number_field))
    if number is not None:
        draft = {**draft, number_field: number}
    if copied := _copied(draft, item):
        return CheckedItem(problem=f"{where}: {copied} was copied from the form, not filled in", number=number)
    try:
        good = _validate(draft, item)
    except ValidationError as exc:
        return CheckedItem(problem=f"{where}: {_explain(exc)}", number=number)
    return CheckedItem(item=good, number=number)


def _validate(draft: dict[str, Any], item: type[ItemT]) -> ItemT:
    try:
        return item.model_validate(draft)
    except ValidationError as exc:
        repaired = draft
        for error in exc.errors():
            repaired = _set(repaired, error["loc"], _repair(error))
        return item.model_validate(repaired)


def _repair(error: ErrorDetails) -> Any:
    kind, found = error["type"], error["input"]
    if kind == "string_type" and isinstance(found, int | float) and not isinstance(found, bool):
        return str(found)
    if kind == "string_type" and isinstance(found, list) and all(isinstance(part, str) for part in found):
        return "\n".join(found)
    if kind in ("list_type", "tuple_type") and isinstance(found, str):
        return [found]
    if kind == "int_parsing" and isinstance(found, str) and (number := _LEADING_INTEGER.match(found)):
        return int(number.group(1))
    if kind in ("literal_error", "enum"):
        return _choose(found, _CHOICE.findall(error["ctx"]["expected"]))
    if kind in ("bool_parsing", "bool_type"):
        return _choose(found, (True, False))
    return round(found) if kind == "int_from_float" else found


def _choose(found: Any, choices: Sequence[Any]) -> Any:
    """The choice that is evidently meant, in other case, with marks around it or a reason after it. `found` itself if none or several are."""
    text = str(found) if isinstance(found, str | int | float) else ""
    for part in (text, _ENDS_CHOICE.split(text.strip(), maxsplit=1)[0]):
        meant = [choice for choice in choices if _fold(choice) == _fold(part)]
        if len(meant) == 1:
            return meant[0]
    return found


def _fold(value: Any) -> str:
    words = " ".join(re.findall(r"\w+", str(value).casefold()))
    return _SAME.get(words, words)


def _read_number(value: Any) -> int | None:
    """Of 2, `2`, `2.0`, `sample 2` or `sample-2`."""
    found = _NUMBER.search(str(value)) if isinstance(value, int | float | str) else None
    return int(found.group()) if found else None


def _set(value: Any, path: tuple[int | str, ...], new: Any) -> Any:
    """A copy of `value` with `new` at `path`; `value` itself where the path does not exist in it."""
    if not path:
        return new
    head, rest = path[0], path[1:]
    if isinstance(value, dict) and head in value:
        return {**value, head: _set(value[head], rest, new)}
    if isinstance(value, list) and isinstance(head, int) and head < len(value):
        return [*value[:head], _set(value[head], rest, new), *value[head + 1 :]]
    return value


def _copied(draft: dict[str, Any], item: type[BaseModel]) -> str:
    """The first field that repeats the form's own words."""
    form = placeholders(item)
    return next((key for key, value in draft.items() if isinstance(value, str) and value in form), "")


def _explain(exc: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, error['loc'])) or 'object'}: {error['msg']}" for error in exc.errors()[:3])
