"""Results of one version of the code are told from those of another."""

import importlib
import linecache
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from pada_agent.core import part_versions
from pada_agent.core.part_versions import find_version
from pada_agent.evaluation.tasks.numeric import Numeric

TASK = "class Mine:\n    def verify(self):\n        return 1\n"


def load(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, **sources: str) -> type:
    """`Mine` of the module `name`, whose folder has these modules."""
    folder.mkdir()
    for stem, source in sources.items():
        (folder / f"{stem}.py").write_text(source)
    spec = spec_from_file_location(name, folder / f"{name.rpartition('.')[2]}.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    mine: type = module.Mine
    return mine


@pytest.mark.parametrize(
    ("name", "changed", "is_other"),
    [
        ("task", {}, False),
        ("task", {"task": TASK.replace("1", "2")}, True),
        ("task", {"verifier": "RULE = 2\n"}, False),
        ("theirs.task", {}, False),
        ("theirs.task", {"task": TASK.replace("1", "2")}, True),
        ("theirs.task", {"verifier": "RULE = 2\n"}, True),
    ],
)
def test_a_class_depends_on_its_module_and_the_rest_of_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, changed: dict[str, str], is_other: bool
) -> None:
    sources = {"task": TASK, "verifier": "RULE = 1\n"}
    before = find_version(load(tmp_path / "before", monkeypatch, name, **sources))
    after = find_version(load(tmp_path / "after", monkeypatch, name, **{**sources, **changed}))
    assert (before != after) == is_other


def test_a_class_depends_on_its_bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = set()
    for n in (1, 2):
        base = load(tmp_path / f"base{n}", monkeypatch, "base", base=TASK.replace("1", str(n)))
        versions.add(find_version(type("Own", (base,), {"__module__": "elsewhere"})))
    assert len(versions) == 2


def test_a_class_of_a_notebook_depends_on_its_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_cell(source: str) -> type:
        cell = ModuleType("notebook")
        monkeypatch.setitem(sys.modules, "notebook", cell)
        file = f"<cell {source}>"
        monkeypatch.setitem(linecache.cache, file, (len(source), None, source.splitlines(keepends=True), file))
        exec(compile(source, file, "exec"), cell.__dict__)
        mine: type = cell.Mine
        return mine

    first, again = run_cell(TASK), run_cell(TASK)
    assert find_version(first) == find_version(again) != find_version(run_cell(TASK.replace("1", "2")))

    value = TASK.replace("class Mine:", "class Mine:\n    least = 1")
    assert find_version(run_cell(value)) != find_version(run_cell(value.replace("least = 1", "least = 2")))


@pytest.mark.parametrize("edited", ["task", "verifier"])
def test_an_edited_module_counts_once_it_is_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: str
) -> None:
    package = tmp_path / f"parts_with_edited_{edited}"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in ("task", "verifier"):
        (package / f"{name}.py").write_text(TASK)
    monkeypatch.syspath_prepend(tmp_path)
    task, other = (importlib.import_module(f"{package.name}.{name}") for name in ("task", "verifier"))
    before = find_version(task.Mine)
    (package / f"{edited}.py").write_text(TASK.replace("1", "2  # another length"))
    assert find_version(task.Mine) == before, "the code that runs is still the earlier one"
    importlib.reload({"task": task, "verifier": other}[edited])
    assert find_version(task.Mine) != before
    for name in [name for name in sys.modules if name.partition(".")[0] == package.name]:
        del sys.modules[name]


@pytest.mark.parametrize(("file", "is_other"), [("verifiers/number.py", True), ("guards/leak_guard.py", False)])
def test_a_built_in_task_depends_on_its_package_and_what_that_imports(
    monkeypatch: pytest.MonkeyPatch, file: str, is_other: bool
) -> None:
    def forget() -> None:
        part_versions._hash_rooms.cache_clear()

    forget()
    before, read = find_version(Numeric), Path.read_bytes
    forget()
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * path.as_posix().endswith(file))
    assert (find_version(Numeric) != before) == is_other
    forget()
