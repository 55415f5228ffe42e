"""Tells results of one version of the code from those of another, by a hash of the source."""

import hashlib
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

ROOMS = ("agents", "evaluation", "prompts", "core")
"""Packages of `pada_agent`. Each imports only those behind it."""


def find_version(*parts: type) -> str:
    """A short hash of the source of these classes and their bases. It changes when a result of theirs may change.

    A class of `pada_agent` depends on its whole package and on those that this imports; any other on the modules in the
    folder of its own module, or on that module alone if it is in no package. Of a class in a notebook, only its methods
    and plain values count. Changes elsewhere, as in other packages that it uses, are not noticed.

    A file that is edited counts once it is loaded again: by the next process, or by `importlib.reload` or a notebook's `%autoreload`.
    """
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
    return _hash_own(kind)


_Loads = Mapping[str, ModuleSpec | None]
"""What modules were last loaded with. Each load of a module makes another one."""
_hashed: dict[type, tuple[_Loads, str]] = {}


def _hash_own(kind: type) -> str:
    """The hash of the source as it was when it was first asked for, or since it was loaded again."""
    loads = _list_loads(kind.__module__)
    before, found = _hashed.get(kind, ({}, ""))
    if not found or any(loads.get(name) is not spec for name, spec in before.items()):
        files = _list_modules(sys.modules.get(kind.__module__))
        found = _hash_files(files) if files else hashlib.sha256("".join(_read_body(kind)).encode()).hexdigest()
        _hashed[kind] = (loads, found)
    return found


def _list_loads(name: str) -> _Loads:
    """Of the module, and of those next to it if it is in a package."""
    around = name.rpartition(".")[0]
    modules = sys.modules.copy()
    names = [other for other in modules if other == name or (around and other.rpartition(".")[0] == around)]
    return {other: getattr(modules[other], "__spec__", None) for other in names}


@cache
def _hash_rooms(first: str) -> str:
    packages = [find_spec(f"{__name__.partition('.')[0]}.{room}") for room in ROOMS[ROOMS.index(first) :]]
    folders = [Path(folder) for package in packages if package for folder in package.submodule_search_locations or ()]
    files = (path for folder in folders for path in sorted(folder.rglob("*")) if "__pycache__" not in path.parts)
    return _hash_files([path for path in files if path.is_file()])


def _list_modules(module: ModuleType | None) -> list[Path]:
    """The module's file, with the modules next to it if they are a package. Empty if it has no file, as in a notebook."""
    file = getattr(module, "__file__", None)
    if module is None or not file or not Path(file).is_file():
        return []
    return sorted({Path(file), *(Path(file).parent.glob("*.py") if module.__package__ else ())})


def _hash_files(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _read_body(kind: type) -> Iterator[str]:
    """The source of its methods, and its values as far as JSON can hold them."""
    for name, value in sorted(vars(kind).items()):
        method = getattr(value, "__func__", getattr(value, "fget", value))
        if inspect.isfunction(method):
            with suppress(OSError):
                yield inspect.getsource(method)
        elif not name.startswith("__"):
            with suppress(TypeError, ValueError):
                yield json.dumps([name, value])
