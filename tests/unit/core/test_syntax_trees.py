"""No two threads make syntax trees at the same time."""

import ast
import re
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import pytest

from pada_agent.core import syntax_trees
from pada_agent.core.syntax_trees import parse, parse_expression

ROOMS = ("agents", "app", "core", "evaluation", "graph", "prompts", "training")


def test_threads_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, at_once = [], [0]
    parse_really = ast.parse

    def watch(source: str, mode: str = "exec") -> ast.AST:
        at_once[0] += 1
        seen.append(at_once[0])
        time.sleep(0.01)
        at_once[0] -= 1
        return parse_really(source, mode=mode)

    monkeypatch.setattr(syntax_trees.ast, "parse", watch)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: (parse if n % 2 else parse_expression)(f"{n}"), range(8)))
    assert seen == [1] * 8 and len(made) == 8


def test_nobody_else_makes_them() -> None:
    """But for the sandbox's own process, which has one thread."""
    folders = {room: Path(next(iter(import_module(f"pada_agent.{room}").__path__))) for room in ROOMS}
    found = {
        f"{room}/{path.relative_to(folder)}"
        for room, folder in folders.items()
        for path in folder.rglob("*.py")
        if re.search(r"\bast\.parse\(", path.read_text())
    }
    assert found == {"core/syntax_trees.py", "evaluation/value_check.py"}
