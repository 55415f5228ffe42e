"""The types of settings by their keys, and values that are of none of them whatever pydantic would make of them."""

from collections.abc import Iterator
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

MAX_INTEGER = 2**63
"""Seeds, databases and tensors hold no larger ones."""


class OddValue(NamedTuple):
    """A value that no setting can have."""

    key: str
    problem: str


class SettingOf(NamedTuple):
    """Annotates the values of a mapping whose keys name settings: `dict[str, Annotated[Any, SettingOf(RunConfig)]]`."""

    settings: type[BaseModel]


@lru_cache(maxsize=4096)
def kind_below(kind: Any, name: str) -> Any:
    """The type of what `name` names in settings or a mapping of this type; None where that is not known."""
    for alternative in alternatives(kind):
        if is_group(alternative) and get_origin(alternative) is None:
            field = alternative.model_fields.get(name)
            return field and field.annotation
        if get_origin(alternative) is dict:
            below = get_args(alternative)[1]
            settings = next((note.settings for note in get_args(below) if isinstance(note, SettingOf)), None)
            return kind_at(settings, name) if settings else below
    return None


def kind_at(kind: Any, key: str) -> Any:
    """The type of what a dotted key names below settings or a mapping of this type; None where that is not known."""
    for name in key.split("."):
        kind = kind_below(kind, name)
    return kind


@lru_cache(maxsize=4096)
def kind_of_items(kind: Any) -> Any:
    """The type of a list's items; None where that is not known."""
    return next((get_args(k)[0] for k in alternatives(kind) if get_origin(k) in (list, tuple)), None)


def is_group(kind: Any) -> bool:
    """Whether it is settings or a mapping."""
    return get_origin(kind) is dict or is_settings(kind)


def is_settings(kind: Any) -> bool:
    """Whether it is settings, whose keys are known."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


@lru_cache(maxsize=4096)
def alternatives(kind: Any) -> tuple[Any, ...]:
    """The types of a union; else the type itself. What annotates a type is left out."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return tuple(get_args(one)[0] if get_origin(one) is Annotated else one for one in kinds)


def find_odd_values(value: Any, kind: Any, key: str = "") -> Iterator[OddValue]:
    """Switches where numbers belong, integers beyond 64 bits, and texts that no file can hold."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from find_odd_values(inner, kind_below(kind, str(name)), f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from find_odd_values(inner, kind_of_items(kind), f"{key}.{i}")
    elif problem := _find_problem(value, alternatives(kind)):
        yield OddValue(key, problem)


def _find_problem(value: Any, kinds: tuple[Any, ...]) -> str:
    if isinstance(value, bool):
        wants_number = bool({int, float} & set(kinds)) and bool not in kinds
        return f"found {str(value).lower()} where a number is expected" if wants_number else ""
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        return "the number is too large: it has to fit in 64 bits"
    if isinstance(value, str) and "\0" in value:
        return "the text contains a null character"
    if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        return "the text contains half a character (a lone surrogate, such as \\ud800)"
    return ""
