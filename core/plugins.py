"""Finds parts that other installed packages add, by name. Each kind of part has an entry point group."""

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple, TypeVar

from pada_agent.core.errors import ConfigError
from pada_agent.core.suggestions import suggest

PartT = TypeVar("PartT")


class PartKind(NamedTuple):
    """A kind of part that can be added from outside."""

    group: str
    """Entry point group."""
    noun: str
    """Its name in error messages."""
    form: str
    """What an entry point has to provide, in words."""
    setting: str
    """The setting that names such a part."""
    texts: tuple[str, ...] = ()
    """Attributes that every such part sets to a text. The first one is its name."""


TASKS = PartKind("pada_agent.tasks", "task", "a subclass of Task", "task.name", ("name",))
RECIPES = PartKind("pada_agent.recipes", "recipe", "a Recipe", "generation.template", ("template",))
METHODS = PartKind("pada_agent.methods", "method", "a Method", "arm")
BACKENDS = PartKind("pada_agent.compute", "backend", "a function of settings and folder", "compute.backend")
REPORT_SECTIONS = PartKind("pada_agent.report_sections", "section", "a ReportSection", "report")
GUARDS = PartKind("pada_agent.guards", "guard", "a subclass of Guard", "guard.plugins", ("name", "stage"))


def find_part(name: str, kind: PartKind, *, built_in: Mapping[str, PartT], accept: Callable[[Any], bool]) -> PartT:
    """The part with that name. Built-in names cannot be replaced.

    Args:
        accept: whether what an entry point provides has the required form.

    Raises:
        ConfigError: there is no part with that name, or its entry point does not provide one, or one that is incomplete
            or calls itself by another name.
    """
    if name in built_in:
        return built_in[name]
    point = _installed(kind).get(name)
    if point is None:
        raise ConfigError(f"{kind.setting}: {describe_missing(name, kind, built_in=built_in)}")
    loaded = _load(point, kind)
    if not accept(loaded):
        raise ConfigError(f"{kind.setting}: the entry point {point.name!r} ({point.value}) is not {kind.form}")
    if problem := find_fault(loaded, kind, name=name):
        raise ConfigError(f"{kind.setting}: the entry point {point.name!r} ({point.value}) {problem}")
    part: PartT = loaded
    return part


def find_fault(part: Any, kind: PartKind, *, name: str | None = None) -> str | None:
    """What is wrong with a part, in words that follow its name. None if it can be used.

    Args:
        name: what settings call it. None accepts any name.
    """
    missing = [text for text in kind.texts if not isinstance(getattr(part, text, None), str)]
    if missing := [*missing, *sorted(getattr(part, "__abstractmethods__", ()))]:
        return f"is incomplete: it must define {', '.join(missing)}"
    if name is not None and kind.texts and (own := getattr(part, kind.texts[0])) != name:
        return f"has the {kind.texts[0]} {own!r}. It must be the name of its entry point: change one of them."
    return None


def list_installed(kind: PartKind) -> list[str]:
    """Names of all parts of this kind that installed packages provide, sorted. Nothing is loaded."""
    return sorted(_installed(kind))


def find_missing(name: str, kind: PartKind, *, built_in: Mapping[str, object]) -> str | None:
    """A message if there is no part with that name, listing those that exist. None if there is one. Nothing is loaded."""
    is_there = name in built_in or name in _installed(kind)
    return None if is_there else describe_missing(name, kind, built_in=built_in)


def describe_missing(name: str, kind: PartKind, *, built_in: Mapping[str, object]) -> str:
    """A message that there is no part with that name, listing those that exist."""
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
