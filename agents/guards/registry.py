"""The guards by name, in the order in which they look at rows: exact and cheap ones first."""

from collections.abc import Iterable
from types import MappingProxyType

from pada_agent.agents.guards.guard import Guard
from pada_agent.agents.guards.label_likelihood import LabelLikelihood
from pada_agent.agents.guards.row_guards import (
    ExactLabel,
    HeldOutMeaning,
    HeldOutWords,
    Learnable,
    Repetition,
)
from pada_agent.agents.guards.writing_system import WritingSystem
from pada_agent.core.errors import PartError
from pada_agent.core.plugins import GUARDS, find_fault, find_part

BUILT_IN: tuple[type[Guard], ...] = (
    Learnable,
    WritingSystem,
    ExactLabel,
    Repetition,
    HeldOutWords,
    HeldOutMeaning,
    LabelLikelihood,
)


def find_guards(plugins: Iterable[str] = ()) -> tuple[type[Guard], ...]:
    """The built-in guards, followed by the guards of other packages that the settings name.

    Raises:
        ConfigError: there is no guard of that name, or the entry point is not a complete `Guard` of that name.
    """
    return (*BUILT_IN, *(_find_plugin(name) for name in plugins))


def check_guards(guards: Iterable[type[Guard]]) -> None:
    """Refuse what cannot check rows, before a run starts.

    Raises:
        PartError: one is not a class of guards, or is incomplete.
    """
    for guard in guards:
        if not (isinstance(guard, type) and issubclass(guard, Guard)):
            raise PartError(f"guards: {guard!r} is not {GUARDS.form}. Give the class itself.")
        if problem := find_fault(guard, GUARDS):
            raise PartError(f"guards: {guard.__name__} {problem}")


def _find_plugin(name: str) -> type[Guard]:
    return find_part(
        name,
        GUARDS,
        built_in=MappingProxyType[str, type[Guard]]({}),
        accept=lambda found: isinstance(found, type) and issubclass(found, Guard),
    )
