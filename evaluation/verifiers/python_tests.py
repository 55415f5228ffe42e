"""Tests of a Python function: what has to be called so that they run, and how many of their asserts then do."""

import ast
from collections.abc import Iterator

from pada_agent.core.lines import split_lines
from pada_agent.core.syntax_trees import parse
from pada_agent.evaluation.verifiers.python_code import FunctionNode


def call_tests(test: str, entry_point: str) -> str:
    """The tests with a call of `check(candidate)`, and of each function `test_…()` that nothing calls, as pytest would.

    `from solution import add` names a file that a package of tests has beside it. Here the function is there already.
    """
    test = _leave_out_import(test, entry_point)
    tree = parse(test)
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    named = {name for node in ast.walk(tree) if (name := _name_of(node))}
    calls = [f"check({entry_point})"] if "check" in found else []
    calls += [
        f"{name}()"
        for name, node in found.items()
        if name.startswith("test") and name not in named and not _list_required(node.args)
    ]
    return "\n".join([test, *calls])


def _leave_out_import(test: str, name: str) -> str:
    """The tests without statements that import the function from a module. Another name that they give it is assigned."""
    lines = split_lines(test)
    for node in reversed(parse(test).body):
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            others = [f"{alias.asname} = {alias.name}" for alias in node.names if alias.asname]
            first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
            before = lines[first].encode()[: node.col_offset].decode()
            after = lines[last].encode()[node.end_col_offset :].decode()
            lines[first : last + 1] = [before + ("; ".join(others) or "pass") + after]
    return "\n".join(lines)


def count_asserts(test: str, entry_point: str) -> int:
    """Number of assert statements that run, as far as the source tells: not those of functions and classes that nothing names."""
    return len({node for node in _list_running(parse(call_tests(test, entry_point))) if isinstance(node, ast.Assert)})


def _list_running(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes outside of functions, and those of functions, and of classes with all methods, that these name."""
    bodies: dict[str, list[ast.AST]] = {}
    for node in ast.walk(tree):
        if isinstance(node, FunctionNode):
            bodies.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.ClassDef):
            bodies.setdefault(node.name, []).extend(n for n in node.body if isinstance(n, FunctionNode))
    waiting: list[ast.AST] = [tree]
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            if isinstance(node, FunctionNode):
                waiting += node.decorator_list
                continue
            yield node
            waiting += [node, *bodies.pop(_name_of(node), [])]


def _name_of(node: ast.AST) -> str:
    """What a node names: `add`, or the last part of `module.add`. Empty if it names nothing."""
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute():
            return node.attr
        case _:
            return ""


def _list_required(arguments: ast.arguments) -> list[ast.arg]:
    """Parameters without a default."""
    positional = [*arguments.posonlyargs, *arguments.args]
    named = [arg for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None]
    return positional[: len(positional) - len(arguments.defaults)] + named
