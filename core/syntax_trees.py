"""Python source to syntax trees, in one thread at a time."""

import ast
from threading import Lock

_one_parses = Lock()


def parse(source: str) -> ast.Module:
    """The syntax tree of a program.

    CPython 3.11 may raise a SystemError ("AST constructor recursion depth mismatch") where two threads make trees at once (gh-106905).

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as `ast.parse` does.
    """
    with _one_parses:
        return ast.parse(source)


def parse_expression(source: str) -> ast.expr:
    """The same for one expression."""
    with _one_parses:
        return ast.parse(source, mode="eval").body
