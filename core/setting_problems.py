"""What is wrong with a setting, in words, and what may have been meant."""

import re
from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from pada_agent.core.setting_kinds import alternatives, is_group, is_settings, kind_below, kind_of_items
from pada_agent.core.settings import FOLDER_NAME, VARIABLE
from pada_agent.core.suggestions import suggest

_PATTERNS = {
    FOLDER_NAME: "letters, digits, '.', '_' and '-', the first a letter or a digit: it is also the name of a folder",
    VARIABLE: "the name of an environment variable, such as OPENAI_API_KEY",
}
"""What a text that fits such a pattern is, in words."""


_WORDS = {str: "a text", bool: "true or false", int: "a number", float: "a number"}
"""Types of single values, in words."""


class _Place(NamedTuple):
    """Where an error is."""

    key: str
    kind: Any
    """The type that the value should have. None if it is not known."""
    alternatives: Sequence[Any]
    """All types that it may have, if the error says only that it is not one of them."""


def list_problems(errors: Sequence[ErrorDetails], kind: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """The key and the explanation of each of pydantic's errors on settings of `kind`.

    Where a value may be of several types, pydantic reports one error for each. What is wrong inside the value is then told, if anything is.
    """
    places = [_find_place(error["loc"], kind) for error in errors]
    keys = [place.key for place in places]
    for error, place in zip(errors, places, strict=True):
        if not place.alternatives:
            yield place.key, explain(error, kind)
        elif not any(key.startswith(f"{place.key}.") for key in keys):
            yield place.key, f"expected {' or '.join(dict.fromkeys(map(_describe, place.alternatives)))}"


def _find_place(loc: Sequence[int | str], kind: Any) -> _Place:
    """The place without the names of types that pydantic puts behind a key whose value may be of several types."""
    names: list[str] = []
    refused: Sequence[Any] = ()
    for part in loc:
        kinds = [one for one in alternatives(kind) if one is not NoneType]
        if len(kinds) > 1:
            kind, refused = (
                next((one for one in kinds if part in (getattr(one, "__name__", ""), str(one))), None),
                kinds,
            )
            continue
        names.append(str(part))
        below = kind_below(kind, str(part))
        kind, refused = (kind_of_items(kind) if below is None and isinstance(part, int) else below), ()
    return _Place(".".join(names), kind, refused)


def _describe(kind: Any) -> str:
    """What a value of this type is, in words."""
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if kind_of_items(kind) is not None:
        return f"a list, such as {_show(kind)}"
    return f"a mapping, such as {_show(kind)}" if is_group(kind) else _WORDS.get(kind, "another value")


def _show(kind: Any) -> str:
    """What a value of this type may look like in YAML."""
    first = alternatives(kind)[0]
    if (item := kind_of_items(first)) is not None:
        examples = {int: "0, 1, 2", str: "a, b"}
        return f"[{examples.get(alternatives(item)[0]) or _show(item)}]"
    if get_origin(first) is dict:
        return f"{{name: {_show(get_args(first)[1])}}}"
    if is_settings(first):
        fields = first.model_fields
        needed = [name for name, field in fields.items() if field.is_required()] or list(fields)[:1]
        return f"{{{', '.join(f'{name}: …' for name in needed)}}}"
    return "…"


def explain(error: ErrorDetails, kind: type[BaseModel]) -> str:
    """One of pydantic's errors on settings of `kind`."""
    if error["type"] in ("tuple_type", "list_type", "dict_type", "model_type", "model_attributes_type"):
        wanted = _find_place(error["loc"], kind).kind
        return f"expected {_describe(next((one for one in alternatives(wanted) if one is not NoneType), wanted))}"
    if error["type"] == "extra_forbidden":
        *place, name = error["loc"]
        return f"there is no such setting.{_suggest_key(kind, _find_place(place, kind).kind, str(name))}"
    if error["type"] in ("literal_error", "enum"):
        choices = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
        return f"{error['msg']}.{suggest(error['input'], choices)}"
    if error["type"] == "string_type" and isinstance(error["input"], list | tuple):
        files = " Join the files into one." if error["loc"][0] == "data" else ""
        return f"expected one text, found a list.{files}"
    message = error["msg"].removeprefix("Value error, ")
    form = _PATTERNS.get(str(error.get("ctx", {}).get("pattern")))
    return f"expected {form}" if error["type"] == "string_pattern_mismatch" and form else message


def _suggest_key(kind: type[BaseModel], here: Any, name: str) -> str:
    """A key of the group `here` that is spelt alike, else the one setting of that name in another group."""
    known = [key for group in alternatives(here) for key in getattr(group, "model_fields", ())]
    elsewhere = [key for key in _list_keys(kind) if key.rpartition(".")[2] == name]
    return suggest(name, known) or (f" Did you mean {elsewhere[0]!r}?" if len(elsewhere) == 1 else "")


def _list_keys(kind: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield f"{before}{name}"
        annotation: Any = field.annotation
        for group in alternatives(annotation):
            if is_group(group) and hasattr(group, "model_fields"):
                yield from _list_keys(group, f"{before}{name}.")
