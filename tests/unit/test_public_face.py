"""What may be imported from `pada_agent`: adding a name is a decision, losing one breaks somebody's program."""

import ast
import subprocess
import sys
from inspect import isclass, isfunction
from pathlib import Path

import pytest

import pada_agent
from tools.docs.reference import PUBLIC_NAMES

ROOT = Path(__file__).parents[2]

PUBLIC = sorted(name for names in PUBLIC_NAMES.values() for name in names)


def test_these_names_are_public() -> None:
    assert sorted(pada_agent.__all__) == PUBLIC
    assert dir(pada_agent) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_each_of_them_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(pada_agent, name)
    assert value.__doc__ if isclass(value) or isfunction(value) else value is not None


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(pada_agent.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname for node in ast.walk(block) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen - {None} | {"build_graph"} == set(PUBLIC)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pada_agent.nothing  # type: ignore[attr-defined]


def test_importing_it_is_cheap() -> None:
    code = "import pada_agent, sys; print([m for m in ('langgraph', 'pydantic', 'torch') if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.py")), ids=lambda p: p.name)
def test_examples_need_nothing_else(path: Path) -> None:
    imported = [
        node.module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pada_agent")
    ]
    assert set(imported) <= {"pada_agent"}
