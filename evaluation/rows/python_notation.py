"""Lists and objects in Python's notation, as `to_csv()` of pandas and of `datasets` writes them into cells."""

import ast
import tokenize
from collections.abc import Iterator
from io import StringIO
from typing import Any

from pada_agent.core.syntax_trees import parse_expression

_OPENING, _CLOSING = ("[", "{", "("), ("]", "}", ")")
_ENDS = (tokenize.STRING, tokenize.NUMBER, tokenize.NAME)
_IGNORED = (tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER)


def read_python(text: str) -> Any:
    """The value of a Python literal, which may contain arrays as NumPy shows them.

        ['Paris' 'City of Light']
        {'text': array(['two springs'], dtype=object), 'answer_start': array([19])}

    Python itself would join the two texts of the first line.

    Raises:
        ValueError: it is anything else, or it is unclear: an array that NumPy has shortened to `...`, or a list in which
            only some items are separated by commas.
    """
    try:
        return ast.literal_eval(_OpenArrays().visit(parse_expression(" ".join(_separate(text)))))
    except (SyntaxError, TypeError, IndexError, RecursionError, MemoryError, tokenize.TokenError) as exc:
        raise ValueError(f"not a Python literal: {text[:80]}") from exc


def _separate(text: str) -> Iterator[str]:
    """The tokens of the text, with commas between items that only white space separates."""
    separators: list[set[str]] = [set()]
    """What separates the items of each bracket that is open."""
    before: tokenize.TokenInfo | None = None
    for token in tokenize.generate_tokens(StringIO(text.strip()).readline):
        if token.type in _IGNORED:
            continue
        if before and _ends_item(before) and (token.type in _ENDS or token.string in ("[", "{")):
            separators[-1].add(" " if before.end != token.start else "")
            yield ","
        if token.string in _OPENING:
            separators.append(set())
        elif token.string == ",":
            separators[-1].add(",")
        elif token.string in _CLOSING and separators.pop() not in (set(), {","}, {" "}):
            raise ValueError("items are separated in different ways")
        elif token.string == "..." or token.type == tokenize.ERRORTOKEN:
            raise ValueError("some items are left out, or a text has no end")
        yield token.string
        before = token


def _ends_item(token: tokenize.TokenInfo) -> bool:
    return token.type in _ENDS or token.string in _CLOSING


class _OpenArrays(ast.NodeTransformer):
    """Puts the first argument in place of `array(…)`, `np.str_(…)` and the like."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func
        is_numpy = isinstance(name, ast.Attribute) and isinstance(name.value, ast.Name) and name.value.id == "np"
        if len(node.args) == 1 and (is_numpy or (isinstance(name, ast.Name) and name.id == "array")):
            inner: ast.AST = self.visit(node.args[0])
            return inner
        return node
