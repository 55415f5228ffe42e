"""Makes tests that an object cannot pass by claiming to equal everything. Standard library only, because this is loaded inside the sandbox."""

import ast
import operator
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import CodeType
from typing import Any

CHECK = "__pada_check_value__"
"""Name of `check_value` among the tests' globals."""
PLAIN = frozenset({int, float, complex, str, bytes, bool, type(None), list, tuple, dict, set, frozenset, range})
CLAIMS: tuple[Callable[[Any, Any], Any], ...] = (operator.eq, operator.lt, operator.le, operator.gt, operator.ge)
MAX_ITEMS = 10_000
"""Maximum number of items examined in one value. A longer list of such objects would be believed."""


def compile_tests(source: str, name: str) -> CodeType:
    """The tests, with both sides of each comparison passed through `CHECK`.

    Raises:
        SyntaxError, ValueError: this is not Python.
    """
    try:
        tree = _CheckComparisons().visit(ast.parse(source, name))
        return compile(ast.fix_missing_locations(tree), name, "exec")
    except RecursionError:
        return compile(source, name, "exec")


def check_value(value: object) -> object:
    """Return the value.

    Raises:
        AssertionError: the value, or something in it, claims to be equal to an object that it cannot know, or larger or
            smaller than it.
    """
    for item in _list_items(value):
        if type(item) not in PLAIN and _claims_anything(item):
            raise AssertionError(
                f"an object of class {type(item).__name__} claims to be equal to anything, or to have any order"
            )
    return value


class _CheckComparisons(ast.NodeTransformer):
    def visit_Compare(self, node: ast.Compare) -> ast.Compare:
        self.generic_visit(node)
        if not all(isinstance(test, ast.Is | ast.IsNot) for test in node.ops):
            node.left = _pass_through_check(node.left)
            node.comparators = [_pass_through_check(operand) for operand in node.comparators]
        return node


def _pass_through_check(operand: ast.expr) -> ast.expr:
    """Leaves out constants, and what the tests themselves use to match anything (`unittest.mock.ANY`)."""
    named = (getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(operand))
    if isinstance(operand, ast.Constant) or "ANY" in named:
        return operand
    return ast.copy_location(ast.Call(ast.Name(CHECK, ast.Load()), [operand], []), operand)


class _Stranger:
    """An object that no program can know."""


def _claims_anything(value: object) -> bool:
    for compare in CLAIMS:
        with suppress(Exception):
            if compare(value, _Stranger()):
                return True
    return False


def _list_items(value: object) -> Iterator[object]:
    waiting = [value]
    for _ in range(MAX_ITEMS):
        if not waiting:
            return
        item = waiting.pop()
        yield item
        if type(item) in (list, tuple, set, frozenset, dict):
            room = MAX_ITEMS - len(waiting)
            waiting += list(item.values() if type(item) is dict else item)[:room]  # type: ignore[call-overload]
