"""Parts that other installed packages add, found by name as entry points: one group for each kind of part."""

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple, TypeVar

from pada_agent.core.errors import ConfigError
from pada_agent.core.suggestions import suggest

PartT = TypeVar("PartT")


class PartKind(NamedTuple):
    """A kind of part that can be added from outside."""

    group: str
    """Of entry points."""
    noun: str
    """What one is called in errors."""
    form: str
    """What an entry point has to give, in words."""
    setting: str
    """The setting that names one."""


TASKS = PartKind("pada_agent.tasks", "task", "a subclass of Task", "task.name")
RECIPES = PartKind("pada_agent.recipes", "recipe", "a Recipe", "generation.template")
METHODS = PartKind("pada_agent.methods", "method", "a Method", "arm")
BACKENDS = PartKind("pada_agent.compute", "backend", "a function of settings and folder", "compute.backend")
REPORT_SECTIONS = PartKind("pada_agent.report_sections", "section", "a ReportSection", "report")
GUARDS = PartKind("pada_agent.guards", "guard", "a subclass of Guard", "guard.plugins")


def find_part(name: str, kind: PartKind, *, built_in: Mapping[str, PartT], accept: Callable[[Any], bool]) -> PartT:
    """The part of that name. Built-in names cannot be taken over.

    Args:
        accept: whether what an entry point gives has the form that it must have.

    Raises:
        ConfigError: no part of that name, or an entry point that does not give one.
    """
    if name in built_in:
        return built_in[name]
    point = _installed(kind).get(name)
    if point is None:
        raise ConfigError(f"{kind.setting}: {describe_missing(name, kind, built_in=built_in)}")
    loaded = _load(point, kind)
    if not accept(loaded):
        raise ConfigError(f"{kind.setting}: the entry point {point.name!r} ({point.value}) is not {kind.form}")
    part: PartT = loaded
    return part


def find_installed(kind: PartKind, *, accept: Callable[[Any], bool]) -> list[Any]:
    """Every part that an installed package brings, in the order of their names.

    Raises:
        ConfigError: an entry point that does not give one.
    """
    return [find_part(name, kind, built_in={}, accept=accept) for name in sorted(_installed(kind))]


def find_missing(name: str, kind: PartKind, *, built_in: Mapping[str, object]) -> str | None:
    """That there is no part of that name, and which there are; None if there is one. Nothing is loaded."""
    is_there = name in built_in or name in _installed(kind)
    return None if is_there else describe_missing(name, kind, built_in=built_in)


def describe_missing(name: str, kind: PartKind, *, built_in: Mapping[str, object]) -> str:
    """That there is no part of that name, and which there are."""
    names = list(dict.fromkeys([*built_in, *sorted(_installed(kind))]))
    known = ", ".join(names)
    there_are = (
        f"known are {known}" if known else f"no installed package brings one (entry points of the group {kind.group})"
    )
    return f"there is no {kind.noun} {name!r}; {there_are}.{suggest(name, names)}"


def _installed(kind: PartKind) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=kind.group)}


def _load(point: EntryPoint, kind: PartKind) -> Any:
    try:
        return point.load()
    except Exception as exc:
        raise ConfigError(
            f"{kind.setting}: the entry point {point.name!r} ({point.value}) does not load: {type(exc).__name__}: {exc}"
        ) from exc
