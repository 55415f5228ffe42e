"""Check one object of an answer against its pydantic model, repairing harmless drift."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pada_agent.prompts.scales import Bounds, find_bounds
from pada_agent.prompts.schema import placeholders, texts_in

ItemT = TypeVar("ItemT", bound=BaseModel)

_NUMBER = re.compile(r"\d{1,9}")
"""Without a sign: nothing is numbered below zero, and `sample-1` is the first."""
_LEADING_INTEGER = re.compile(r"\s*(-?\d+)(?:\.0*)?\s*(?:$|[^\d.\s])")
_DECIMAL = re.compile(r"\s*\d+\.\d+\s*")
_OUT_OF = re.compile(
    r"\s*(\d{1,9}(?:\.\d+)?)\s*(?:/|out of|of|von|sur|de)\s*(\d{1,9})\b|\s*(\d{1,9}(?:\.\d+)?)\s*%", re.IGNORECASE
)
"""`4/5`, `4 out of 5` or `80%`."""
_NAMED_INTEGER = re.compile(
    r"(?:#|(?:samples?|rows?|items?|examples?|patterns?|questions?|numbers?|scores?|ratings?)\W{0,3})?(\d{1,9})[.:)]?",
    re.IGNORECASE,
)
"""One number, or `Sample 3`."""
_SEPARATOR = re.compile(r"[,;&]|\band\b", re.IGNORECASE)
_ABSENT: Any = object()
"""In place of a value: as if it had not been written."""
_N_REPAIRS = 3
"""A text becomes a list, then its parts numbers."""
_CHOICE = re.compile(r"'([^']*)'")
"""One of the values in pydantic's words, such as `'yes' or 'no'`."""
_ENDS_CHOICE = re.compile(r"[,.](?!\d)|[;:(\n–—，。；：、（]|\s-\s")
"""What stands between a decision and its reason. A decimal mark is none: 0.8 is not no."""
_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER_FIELD = re.compile(
    r"(?:samples?|rows?|items?|examples?|entry|patterns?|strategy)?(?:no|nr|num|number|id|idx|index)?", re.IGNORECASE
)
"""Other names under which an item may tell its number, without marks."""
_YES = "yes y 1 correct right ja oui sí si sì sim да 是 是的 对 正确 はい 正しい 예 네"
_NO = "no n 0 incorrect wrong nein non não нет 否 不 不是 不对 错误 いいえ 正しくない 아니요 아니오"
_SAME = {**dict.fromkeys(_YES.split(), "true"), **dict.fromkeys(_NO.split(), "false")}
"""Other words for true and false, also in the language of the rows."""


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
    key: str | None = None,
) -> CheckedItem[ItemT]:
    """Validate `draft`, and repair harmless drift: numbers, true, lists or `{"text": "…"}` where text belongs, `8/10`, `eight`, `Sample 8`
    or `{"score": 8}` where a number belongs, a lone value or an object where a list belongs, `Yes.` or true where `yes` belongs, null in
    a list, names of fields in other case, and fields inside one object beside the others. A text or list that may be empty is left out if
    nothing else helps.

    Args:
        key: the key that the item stood under, if it need not tell its number under the field's name. None if it has to.
    """
    draft = name_as_fields(draft, item)
    number = _read_number(draft.get(number_field))
    if number is None and number_field and key is not None:
        number = _find_number(draft, item, key)
        draft = {**draft, number_field: 0}
    if number is not None:
        draft = {**draft, number_field: number}
    if copied := _copied(draft, item):
        return CheckedItem(problem=f"{where}: {copied} was copied from the form, not filled in", number=number)
    try:
        good = _validate(draft, item)
    except ValidationError as exc:
        return CheckedItem(problem=f"{where}: {_explain(exc)}", number=number)
    return CheckedItem(item=good, number=number)


def has_fields(draft: dict[str, Any], item: type[BaseModel], *, number_field: str = "") -> bool:
    """Whether the object has all fields that an item must have, apart from its number."""
    needed = {_fold_name(n) for n, f in item.model_fields.items() if f.is_required() and n != number_field}
    return bool(needed) and needed <= set(map(_fold_name, draft))


def _find_number(draft: dict[str, Any], item: type[BaseModel], key: str) -> int | None:
    """The number of an item that does not tell it under the field's name: under another name, or in its key."""
    others = [v for k, v in draft.items() if k not in item.model_fields and _NUMBER_FIELD.fullmatch(_fold_name(k))]
    found = [_NAMED_INTEGER.fullmatch(_fold_dashes(str(value)).strip()) for value in (*others, key)]
    return next((int(match.group(1)) for match in found if match), None)


def _fold_dashes(text: str) -> str:
    """`sample_1` as `sample-1`."""
    return text.replace("_", "-")


def name_as_fields(draft: dict[str, Any], item: type[BaseModel]) -> dict[str, Any]:
    """`Sample Idx` is read as `sample_idx`, and `{"scores": {"utility": 9}}` as `{"utility": 9}`, unless the field is there as well."""
    fields = {_fold_name(name): name for name in item.model_fields}
    inside = [value for key, value in draft.items() if isinstance(value, dict) and _fold_name(key) not in fields]
    named = dict(draft)
    for key, value in (*draft.items(), *(inside[0].items() if len(inside) == 1 else ())):
        named.setdefault(fields.get(_fold_name(key), key), value)
    return named


def _fold_name(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())


def _validate(draft: dict[str, Any], item: type[ItemT]) -> ItemT:
    repaired = draft
    for _ in range(_N_REPAIRS):
        try:
            return item.model_validate(repaired)
        except ValidationError as exc:
            for error in reversed(exc.errors()):  # from the last, because entries of lists may go
                repaired = _set(repaired, error["loc"], _repair(error, item))
    try:
        return item.model_validate(repaired)
    except ValidationError as exc:
        for error in reversed(exc.errors()):
            if _may_be_empty(error["loc"][:1], item):
                repaired = _set(repaired, error["loc"], _ABSENT)
    return item.model_validate(repaired)


def _repair(error: ErrorDetails, item: type[BaseModel]) -> Any:
    kind, found = error["type"], error["input"]
    if found is None and _may_be_absent(error["loc"], item):
        return _ABSENT
    if kind == "string_type":
        if isinstance(found, bool) and _may_be_absent(error["loc"], item):
            return _ABSENT
        return _read_text(found, is_entry=isinstance(error["loc"][-1], int))
    if kind in ("list_type", "tuple_type"):
        return _read_list(found)
    if kind == "int_parsing" and isinstance(found, str):
        return _read_integer(found, _find_bounds(error["loc"], item)[1])
    if kind == "int_type" and isinstance(found, dict):
        numbers = [value for value in found.values() if isinstance(value, int | float) and not isinstance(value, bool)]
        return numbers[0] if len(numbers) == 1 else found
    if kind in ("literal_error", "enum"):
        return _choose(found, _CHOICE.findall(error["ctx"]["expected"]))
    if kind in ("bool_parsing", "bool_type"):
        return _choose(found, (True, False))
    if kind == "int_from_float":
        least, _ = _find_bounds(error["loc"], item)
        return round(found) if least is None or found >= least else found  # 0.8 is no 1 of 10
    return found


def _find_bounds(path: tuple[int | str, ...], item: type[BaseModel]) -> Bounds:
    """The bounds of the field at this place, if it is one of the item's own."""
    field = item.model_fields.get(str(path[0])) if len(path) == 1 else None
    return find_bounds(field) if field else Bounds(None, None)


def _read_text(found: Any, *, is_entry: bool) -> Any:
    """The text that is meant by a number, a list of texts or an object with one text, or by true, as files of rows have it. Else `found` itself.

    Args:
        is_entry: whether it stands in a list, where an object says one thing in several texts.
    """
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, int | float):
        return str(found)
    if isinstance(found, list) and all(isinstance(part, str) for part in found):
        return "\n".join(found)
    texts = [value for value in found.values() if isinstance(value, str)] if isinstance(found, dict) else []
    return ": ".join(texts) if len(texts) == 1 or (texts and is_entry) else found


def _read_list(found: Any) -> Any:
    """The list that is meant by a lone text or number, by several numbers in a text, or by an object with numbers as keys. Else `found` itself."""
    if isinstance(found, dict):
        return list(found.values())
    if isinstance(found, int) and not isinstance(found, bool):
        return [found]
    if not isinstance(found, str):
        return found
    parts = [part.strip() for part in _SEPARATOR.split(found)]
    return parts if all(map(_NAMED_INTEGER.fullmatch, parts)) else [found]


def _read_integer(text: str, most: float | None) -> int | float | str:
    """The number in `8/10`, `8 - good`, `Sample 8`, `8.5` or `eight`; a fraction of another whole on the field's own scale. `text` itself
    if there is none."""
    if most is not None and (part := _OUT_OF.match(text)):
        share = float(part[3]) / 100 if part[3] else float(part[1]) / max(int(part[2]), 1)
        return round(share * most, 6) if share <= 1 else text
    if _DECIMAL.fullmatch(text):
        return float(text)
    if (word := text.strip().casefold()) in _WORDS:
        return _WORDS.index(word) + 1
    number = _LEADING_INTEGER.match(text) or _NAMED_INTEGER.fullmatch(text.strip())
    return int(number.group(1)) if number else text


def _may_be_absent(path: tuple[int | str, ...], item: type[BaseModel]) -> bool:
    """A field of the item that has a default, or an entry of a list."""
    if len(path) == 1 and isinstance(path[0], str):
        return path[0] in item.model_fields and not item.model_fields[path[0]].is_required()
    return isinstance(path[-1], int) if path else False


def _may_be_empty(path: tuple[int | str, ...], item: type[BaseModel]) -> bool:
    """A text or a list that may be left out. Not a decision with a default, which the model may have meant otherwise."""
    if not _may_be_absent(path, item):
        return False
    return item.model_fields[str(path[0])].get_default(call_default_factory=True) in ("", [], ())


def _choose(found: Any, choices: Sequence[Any]) -> Any:
    """The choice that is evidently meant, in other case, with marks around it or a reason after it. `found` itself if none or several are."""
    text = f"{found:g}" if isinstance(found, float) else str(found) if isinstance(found, str | int) else ""
    folded = [_fold(choice) for choice in choices]
    same = _SAME if {"true", "false"} <= {_SAME.get(name, name) for name in folded} else {}
    for part in (text, _ENDS_CHOICE.split(text.strip(), maxsplit=1)[0]):
        wanted = _fold(part)
        meant = [c for c, name in zip(choices, folded, strict=True) if same.get(name, name) == same.get(wanted, wanted)]
        if len(meant) == 1:
            return meant[0]
    return found


def _fold(value: Any) -> str:
    return " ".join(re.findall(r"\w+", str(value).casefold()))


def _read_number(value: Any) -> int | None:
    """Read the number from 2, `2`, `2.0`, `sample 2` or `sample-2`. None if there is none."""
    found = _NUMBER.search(str(value)) if isinstance(value, int | float | str) else None
    return int(found.group()) if found else None


def _set(value: Any, path: tuple[int | str, ...], new: Any) -> Any:
    """A copy of `value` with `new` at `path`, or without it; `value` itself where the path does not exist in it."""
    if not path:
        return new
    head, rest = path[0], path[1:]
    if isinstance(value, dict) and head in value:
        changed = _set(value[head], rest, new)
        return {k: changed if k == head else v for k, v in value.items() if k != head or changed is not _ABSENT}
    if isinstance(value, list) and isinstance(head, int) and head < len(value):
        changed = _set(value[head], rest, new)
        return [*value[:head], *([] if changed is _ABSENT else [changed]), *value[head + 1 :]]
    return value


def _copied(draft: dict[str, Any], item: type[BaseModel]) -> str:
    """The first field that repeats the form's own words."""
    form = placeholders(item)
    return next((key for key, value in draft.items() if not form.isdisjoint(texts_in(value))), "")


def _explain(exc: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, error['loc'])) or 'object'}: {error['msg']}" for error in exc.errors()[:3])
