"""Tells results of one version of the code from those of another, by a hash of the source."""

import hashlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

ROOMS = ("agents", "evaluation", "prompts", "core")
"""Packages of `pada_agent`. Each imports only those behind it."""


def find_version(*parts: type) -> str:
    """A short hash of the source of these classes and their bases. It changes when a result of theirs may change.

    A class of `pada_agent` depends on its whole package and on those that this imports; any other on the modules in the
    folder of its own module, or on that module alone if it is in no package. Of a class in a notebook, only its methods
    count. Changes elsewhere, as in other packages that it uses, are not noticed.
    """
    return _combine(parts)


@cache
def _combine(parts: tuple[type, ...]) -> str:
    digest = hashlib.sha256()
    for kind in sorted({kind for part in parts for kind in part.__mro__}, key=_name):
        digest.update(f"{_name(kind)} {_hash_source(kind)}\n".encode())
    return digest.hexdigest()[:16]


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _hash_source(kind: type) -> str:
    """Empty for the standard library."""
    top, *rest = kind.__module__.split(".")
    if top in sys.stdlib_module_names:
        return ""
    if top == __name__.partition(".")[0] and rest[0] in ROOMS:
        return _hash_rooms(rest[0])
    files = _list_modules(sys.modules.get(kind.__module__))
    return _hash_files(tuple(files)) if files else hashlib.sha256("".join(_read_methods(kind)).encode()).hexdigest()


@cache
def _hash_rooms(first: str) -> str:
    packages = [find_spec(f"{__name__.partition('.')[0]}.{room}") for room in ROOMS[ROOMS.index(first) :]]
    folders = [Path(folder) for package in packages if package for folder in package.submodule_search_locations or ()]
    files = (path for folder in folders for path in sorted(folder.rglob("*")) if "__pycache__" not in path.parts)
    return _hash_files(tuple(path for path in files if path.is_file()))


def _list_modules(module: ModuleType | None) -> list[Path]:
    """The module's file, with the modules next to it if they are a package. Empty if it has no file, as in a notebook."""
    file = getattr(module, "__file__", None)
    if module is None or not file or not Path(file).is_file():
        return []
    return sorted({Path(file), *(Path(file).parent.glob("*.py") if module.__package__ else ())})


@cache
def _hash_files(files: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _read_methods(kind: type) -> Iterator[str]:
    for _, method in sorted(vars(kind).items()):
        if inspect.isfunction(method):
            with suppress(OSError):
                yield inspect.getsource(method)
