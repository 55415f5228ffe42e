"""Converts digits, signs, fractions and LaTeX of all kinds to one plain notation, for `number`."""

import re
import unicodedata
from itertools import pairwise

from pada_agent.evaluation.rows.cells import INVISIBLE
from pada_agent.evaluation.verifiers.number_scales import write_myriads

GROUP_SPACE = "\u00a0"
"""Represents every space that separates groups of digits and is not an ordinary space."""

CURRENCY = "$€£¥₹₩₽₺₫₴₦₱₪฿₡₲₵₸"

_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("−–﹣－‐‑", "-"),
        **dict.fromkeys("＋﹢", "+"),
        **dict.fromkeys("⁄∕／", "/"),
        **dict.fromkeys("✕✖⨯╳", "×"),
        **dict.fromkeys("⋅∙•・", "·"),
        **dict.fromkeys("％﹪٪", "%"),
        **dict.fromkeys("’ʼ＇´", "'"),
        **dict.fromkeys("，٬", ","),
        **dict.fromkeys("．", "."),
        **dict.fromkeys("＄﹩", "$"),
        **dict.fromkeys("\u202f\u2009\u2007\u2008\u200a\u2006", GROUP_SPACE),
        **dict.fromkeys(INVISIBLE),
    }
)
_ARABIC_MARKS = re.compile(r"(?<=\d)٫(?=\d)")
_SUPERSCRIPT = re.compile(r"[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")

_LATEX = (
    (re.compile(r"\\left|\\right|\\displaystyle|\\!|\\[()\[\]]"), ""),
    (re.compile(r"\\[,;:]|~|\\ "), GROUP_SPACE),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\(?:text(?:bf|rm|it)?|math(?:rm|bf|it|sf)|mbox|operatorname)\s*\{([^{}]{0,80})\}"), r" \1 "),
    (re.compile(r"\\times(?![a-zA-Z])"), "×"),
    (re.compile(r"\\cdot(?![a-zA-Z])"), "·"),
    (re.compile(r"\\([%$#&_])"), r"\1"),
    (re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))"), "°"),
    (re.compile(r"\^\s*\{([^{}]{1,40})\}"), r"^\1"),
    (re.compile(r" {2,}"), " "),
    (re.compile(r"(?<=[a-zA-Z]) \^(?=\d)"), "^"),
)
_LATEX_SIGNS = ("\\", "{,}", "^{")
"""Without one of these, a text has nothing that is LaTeX."""
_FRACTION = re.compile(
    r"(?:(\d)\s*)?\\[dtc]?frac\s*(?:\{\s*([-+]?[\d.,' ]{1,80})\}|(\d))\s*(?:\{\s*([-+]?[\d.,' ]{1,80})\}|(\d))"
)


_SPACED = re.compile(r"(?<![\w.,:/])(?<!\d )[1-9]\d{0,2}(?: \d{3})+(?![\d/]| ?/| \d)(?P<decimals>(?=[.,]\d))?")
"""Groups of digits with ordinary spaces between them, which may also be two numbers."""


def to_plain(text: str) -> str:
    """The text with ASCII digits, `-`, `/`, `^` for powers and `a b/c` for mixed numbers, however it was written.

    This is not NFKC, which would turn 5½ into 51/2 and 10² into 102.
    """
    if not text.isascii():
        text = write_myriads(_raise(_ARABIC_MARKS.sub(".", _write_digits(text.translate(_CHARACTERS)))))
    return _read_latex(text) if any(sign in text for sign in _LATEX_SIGNS) else text


def join_groups(text: str) -> str:
    """The text with no ordinary space in a number such as `70 000`."""
    return _SPACED.sub(lambda match: match[0].replace(" ", GROUP_SPACE), text)


def join_sure_groups(text: str) -> str:
    """The same where it can hardly be two numbers: one does not begin with a zero, and two do not share decimals."""
    return _SPACED.sub(
        lambda m: m[0].replace(" ", GROUP_SPACE) if " 0" in m[0] or m["decimals"] is not None else m[0], text
    )


def _write_digits(text: str) -> str:
    """Decimal digits of all scripts become ASCII, and ½ becomes 1/2."""
    return "".join(new if new.isascii() else _write(new, before) for before, new in pairwise(f" {text}"))


def _write(character: str, before: str) -> str:
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    if unicodedata.decomposition(character).startswith("<fraction>"):
        gap = "" if before in "+-" else " "
        return f"{gap}{unicodedata.normalize('NFKC', character)}".replace("⁄", "/")
    return character


def _raise(text: str) -> str:
    return _SUPERSCRIPT.sub(lambda match: "^" + match[0].translate(_RAISED), text)


def _read_latex(text: str) -> str:
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    return _FRACTION.sub(_write_fraction, text)


def _write_fraction(match: re.Match[str]) -> str:
    """`5\\frac{1}{2}` is a mixed number: the digit before the fraction stays apart from it."""
    numerator, denominator = (match[2] or match[3]).strip(), (match[4] or match[5]).strip().lstrip("+")
    if denominator.startswith("-"):
        denominator = denominator[1:]
        numerator = numerator[1:] if numerator.startswith("-") else f"-{numerator.lstrip('+')}"
    return f"{match[1]} {numerator}/{denominator}" if match[1] else f"{numerator}/{denominator}"
