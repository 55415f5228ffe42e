"""Checks the calculations that a rationale spells out."""

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from pada_agent.core.lines import split_lines
from pada_agent.core.syntax_trees import parse_expression
from pada_agent.evaluation.verifiers.number import DecimalMark, to_plain_digits
from pada_agent.evaluation.verifiers.number_notation import CURRENCY

MAX_CHARACTERS = 20_000
"""Number of characters of a text that are examined."""
_ANNOTATION = re.compile(r"<<([^<>=]{1,200})=([^<>=]{1,60})>>")
_DIGITS = r"(?>\d(?:[\d.,]*\d)?|[.,]\d++)"
_BARE = rf"-?{_DIGITS}%?"
_NUMBER = rf"\({{0,5}}{_BARE}\){{0,5}}"
_OPERATION = rf"{_NUMBER}(?:\s*(?:[-+*/×÷]|x(?!\s*-))\s*{_NUMBER}){{1,20}}"
_STATEMENT = re.compile(rf"(?<![\w.(%:])(?<!\d,)({_OPERATION})\s*=\s*({_BARE})(?![\w.,:]*[\w%]|\s*[-+*/×÷^(=]|\s\d)")
_BULLET = re.compile(r"\A\s*(?:[-*•]|\d{1,3}[.)])\s+")
_OPERATOR_LAST = re.compile(r"[-+*/×÷^(=]\s*$")
_OPEN_BEFORE = re.compile(r"[-+*/×÷^)\d%√∛∜]\s*$|\d!\s*$|\d\s*x\s*$|\d\s+:\s*$")
_OPEN_WORD = re.compile(
    r"(?<![^\W\d_])(?:half|twice|thrice|double|triple|quadruple|mod|modulo|sin|cos|tan|log|ln|exp|sqrt|root|by|times|plus|minus|over"
    r"|than|from|to|(?<!total )of|de|von|vom|di|van|av|af)\s*$",
    re.IGNORECASE,
)
"""A word before a formula that may make it part of a larger one: `half of 20 + 5`, `17 mod 5 + 1`."""
_SCALE = (
    r"(?:dozen|hundred|thousand|lakh|million|crore|billion|trillion|hal(?:f|ves)|squared|cubed|factorial|modulo|mod|pi)"
)
_NO_UNIT = re.compile(rf"\b{_SCALE}s?\b", re.IGNORECASE)
_SCALE_AFTER = re.compile(
    rf"\s?-?(?:(?:{_SCALE}|third|quarter|fourth|fifth|sixth|eighth|tenth)s?\b|[rR]\b|(?:with (?:a )?)?rem(?:ainder)?\b|and (?:a|an|one|two|three) )"
)
"""What makes a result another number: `1 dozen`, `3 remainder 2`, `2 and a half`."""
_WORD = r"(?!(?:x|and|or|so|is|are|to|then|plus|minus|times|equals)\b)[^\W\d_]{2,30}\.?"
_UNIT = re.compile(rf"(?<=[\d%])\s?/?{_WORD}(?:[ /-]{_WORD}){{0,5}}(?=\s*(?:[-+*×÷=]|[/x]\s*[\d$(.]))")
"""What is counted: `feet` of `6 feet * 2 = 12 feet`, `/day` of `$5/day * 2 days = $10`. A single letter is a variable."""
_SIGNS = str.maketrans("–−·⋅∙", "--×××")
_CURRENCY = re.compile(rf"[{CURRENCY}] ?(?=[-\d.,])|(?<=\d) ?[{CURRENCY}](?! ?[-\d.,])")
_PERCENT = re.compile(r"(?<=\d) ?(?:%|percent\b|per cent\b)")
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


def check_calculations(text: str, mark: DecimalMark = ".") -> Calculations:
    """Check every `<<a*b=c>>` annotation and every `a op b = c` statement of one line, with or without units.

    Statements are not checked if they are part of a larger formula or contain anything but numbers and units. Beside a
    word that may change them (`half of 20 + 5 = 15`, `4 * 3 = 1 dozen`) they count only if they hold. Rounding to the
    digits shown is accepted.

    Args:
        mark: the decimal mark of the numbers. One that cannot be read with it leaves its statement unchecked.
    """
    text = _PERCENT.sub("%", _CURRENCY.sub("", text[:MAX_CHARACTERS].translate(_SIGNS)))
    statements = [_Statement(m[1], m[2]) for m in _ANNOTATION.finditer(text)]
    before = ""
    for line in split_lines(_ANNOTATION.sub("", text)):
        statements += [] if _OPERATOR_LAST.search(before[-10:]) else _find_statements(line)
        before = line
    checked = [(statement, _holds(statement, mark)) for statement in statements]
    known = [(s, holds) for s, holds in checked if holds or (holds is False and not s.is_doubtful)]
    return Calculations(len(known), tuple(f"{s.left.strip()} = {s.right.strip()}" for s, holds in known if not holds))


class _Statement(NamedTuple):
    left: str
    right: str
    is_doubtful: bool = False
    """Whether a word beside it may change its meaning."""


def _find_statements(line: str) -> list[_Statement]:
    plain = _UNIT.sub(_drop_unit, " ".join(_BULLET.sub("", line).split()))
    found = []
    for match in _STATEMENT.finditer(plain):
        before = plain[max(0, match.start() - 20) : match.start()]
        doubtful = _OPEN_WORD.search(before) or _SCALE_AFTER.match(plain, match.end())
        found += [] if _OPEN_BEFORE.search(before) else [_Statement(match[1], match[2], bool(doubtful))]
    return found


def _drop_unit(match: re.Match[str]) -> str:
    """Words such as `dozen` and `squared` change the number, and stay."""
    return match[0] if _NO_UNIT.search(match[0]) else ""


def _holds(statement: _Statement, mark: DecimalMark) -> bool | None:
    """Accepts both `36/80*100 = 45%` and `36/80 = 45%`."""
    left, right = (_write_plainly(side.strip(), mark) for side in statement[:2])
    bare = right.rstrip("%")
    a, b = evaluate(left), evaluate(bare)
    if a is None or b is None:
        return None
    digits = len(bare.partition(".")[2])
    tolerance = Fraction(1, 10**digits) if digits else Fraction(0)
    return abs(a - b) <= tolerance or ("%" in left + right and abs(100 * a - b) <= tolerance)


def _write_plainly(formula: str, mark: DecimalMark) -> str:
    """With a decimal point and without groups. What fits no notation stays, and cannot be evaluated."""
    return re.sub(_DIGITS, lambda match: to_plain_digits(match[0], mark) or match[0], formula)


def evaluate(expression: str) -> Fraction | None:
    """The value of a formula of numbers, + - * / and parentheses. None for anything else."""
    text = expression.replace("×", "*").replace("x", "*").replace("÷", "/")
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
