"""Checks the calculations that a rationale spells out."""

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from pada_agent.core.syntax_trees import parse_expression

MAX_CHARACTERS = 20_000
"""Number of characters of a text that are examined."""
_ANNOTATION = re.compile(r"<<([^<>=]{1,200})=([^<>=]{1,60})>>")
_BARE = r"-?\$?(?:\d{1,15}(?:,\d{3}){0,5}(?:\.\d{1,15})?|\.\d{1,15})%?"
_NUMBER = rf"\({{0,5}}{_BARE}\){{0,5}}"
_OPERATION = rf"{_NUMBER}(?:\s*(?:[-+*/×÷]|x(?!\s*-))\s*{_NUMBER}){{1,20}}"
_STATEMENT = re.compile(rf"(?<![\w.$(%:])({_OPERATION})\s*=\s*({_BARE})(?![\w.,:]*[\w%]|\s*[-+*/×÷^(=]|\s\d)")
_OPEN_BEFORE = re.compile(r"[-+*/×÷^)\d]\s*$|\d\s*x\s*$")
_WORD = r"(?!(?:x|and|or|so|is|are|to|then|plus|minus|times|equals)\b)[^\W\d_]{2,30}\.?"
_UNIT = re.compile(rf"(?<=[\d%])\s?/?{_WORD}(?:[ /-]{_WORD}){{0,5}}(?=\s*(?:[-+*×÷=]|[/x]\s*[\d$(.]))")
"""What is counted: `feet` of `6 feet * 2 = 12 feet`, `/day` of `$5/day * 2 days = $10`. A single letter is a variable."""
_MINUS = str.maketrans("–−", "--")
_FORMULA = re.compile(r"[\d.\s()+\-*/]+")
"""No letter: 1e999999999 is a number to Python."""
_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class Calculations(NamedTuple):
    """How many calculations could be checked, and which of them are wrong."""

    n_checked: int
    wrong: tuple[str, ...]


def check_calculations(text: str) -> Calculations:
    """Check every `<<a*b=c>>` annotation and every `a op b = c` statement, with or without units.

    Statements are not checked if they are part of a larger formula or contain anything but numbers and units. Rounding
    to the digits shown is accepted.
    """
    text = text[:MAX_CHARACTERS]
    plain = " ".join(_ANNOTATION.sub("", text).translate(_MINUS).split())
    plain = _UNIT.sub("", plain)
    statements = [m.groups() for m in _ANNOTATION.finditer(text)]
    statements += [m.groups() for m in _STATEMENT.finditer(plain) if not _continues(plain, m.start())]
    checked = [(f"{left.strip()} = {right.strip()}", _holds(left, right)) for left, right in statements]
    known = [(statement, holds) for statement, holds in checked if holds is not None]
    return Calculations(len(known), tuple(statement for statement, holds in known if not holds))


def _continues(text: str, start: int) -> bool:
    """Whether the text from here on is the rest of a larger formula."""
    return _OPEN_BEFORE.search(text[max(0, start - 10) : start]) is not None


def _holds(left: str, right: str) -> bool | None:
    """Accepts both `36/80*100 = 45%` and `36/80 = 45%`."""
    bare = right.strip().rstrip("%")
    a, b = evaluate(left), evaluate(bare)
    if a is None or b is None:
        return None
    digits = len(bare.partition(".")[2])
    tolerance = Fraction(1, 10**digits) if digits else Fraction(0)
    return abs(a - b) <= tolerance or ("%" in left + right and abs(100 * a - b) <= tolerance)


def evaluate(expression: str) -> Fraction | None:
    """The value of a formula of numbers, + - * / and parentheses. None for anything else."""
    text = expression.replace(",", "").replace("$", "").replace("×", "*").replace("x", "*").replace("÷", "/")
    text = re.sub(r"([\d.]+)%", r"(\1/100)", text).strip()
    if len(text) > 200 or not _FORMULA.fullmatch(text):
        return None
    try:
        return _evaluate(parse_expression(text), text)
    except (SyntaxError, ZeroDivisionError, ValueError, RecursionError, MemoryError):
        return None


def _evaluate(node: ast.expr, text: str) -> Fraction:
    match node:
        case ast.Constant():
            return Fraction(ast.get_source_segment(text, node) or "")
        case ast.UnaryOp(op=ast.USub()):
            return -_evaluate(node.operand, text)
        case ast.BinOp() if type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](_evaluate(node.left, text), _evaluate(node.right, text))
        case _:
            raise ValueError(f"not arithmetic: {text}")
