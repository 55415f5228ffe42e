"""Compares short texts."""

import re
import unicodedata
from collections.abc import Callable, Sequence

from pada_agent.evaluation.rows.cells import INVISIBLE
from pada_agent.evaluation.text_units import UNSPACED

JOINING = UNSPACED + "\u0590-\u06ff\u0750-\u077f\u08a0-\u08ff\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"
"""Scripts without spaces between words, or with particles attached to them (Hebrew, Arabic and Hangul), as ranges of a
character class.
"""
WORD_CHARACTER = rf"(?![{JOINING}])\w"
"""A pattern for a letter, digit or `_` that belongs to the same word as the one beside it."""

_MARKS_AROUND = "\"'`*.:()[] "
_WITHOUT_INVISIBLE = str.maketrans("", "", INVISIBLE)
_NARROW = str.maketrans(
    {
        **{chr(0xFF01 + i): chr(0x21 + i) for i in range(94)},
        **{"。": ". ", "、": ", ", "，": ", ", "：": ": ", "【": "[", "】": "]"},
    }
)

_WRITTEN_OUT = ("...", "ff", "fi", "fl", "ffi", "ffl", "st", "st")
TYPOGRAPHY = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02bc\u00b4", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict(zip("\u2026\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06", _WRITTEN_OUT, strict=True)),
}
"""Quotation marks, dashes, ellipses and ligatures, and how a keyboard writes them. Copies of a text differ in them."""
_WITHOUT_TYPOGRAPHY = str.maketrans(TYPOGRAPHY)
_BETWEEN_WORDS = re.compile(r"(?<=[^\W\d_])[\s_-]+(?=[^\W_])|(?<=\d)[\s_-]+(?=[^\W\d_])|(?<=[a-z])(?=[A-Z])")
"""What separates the words of a name: spaces, `_`, hyphens, or a capital. Between two digits, a hyphen says something else."""


def normalize_text(text: str) -> str:
    """NFC and case folded, without invisible characters and, unless it is all signs, without typography; with white space
    collapsed and stripped.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", drop_invisible(text))
        text = unicodedata.normalize("NFC", text.casefold())
        text = write_plainly(text) if any(map(str.isalnum, text)) else text
    return " ".join(text.casefold().split())


def same_text(a: str, b: str) -> bool:
    """Whether two texts are equal after normalization."""
    return normalize_text(a) == normalize_text(b)


def find_same(text: str, among: Sequence[str]) -> str | None:
    """The only one that equals the text: exactly, or else after normalization, or else without the marks around both, or else
    by their words.
    """
    for write in _MANNERS:
        wanted = write(text)
        same = {other for other in among if wanted and write(other) == wanted}
        if len(same) == 1:
            return same.pop()
    return None


def bare_text(text: str) -> str:
    """Normalized, without quotes, brackets and marks around it."""
    return normalize_text(text).strip(_MARKS_AROUND)


def drop_invisible(text: str) -> str:
    """The text without zero-width characters, which differ between copies of the same text."""
    return text.translate(_WITHOUT_INVISIBLE)


def write_plainly(text: str) -> str:
    """The text as a keyboard writes it (`TYPOGRAPHY`)."""
    return text if text.isascii() else text.translate(_WITHOUT_TYPOGRAPHY)


def narrow(text: str) -> str:
    """The text with ASCII in place of full-width letters, digits and punctuation (`Ｂ`, `：`, `。`)."""
    return text if text.isascii() else text.translate(_NARROW)


def split_words(text: str) -> str:
    """Normalized, with a space between the words of names: `lost card` for `lost_card`, `Lost-Card` and `LostCard`."""
    return normalize_text(_BETWEEN_WORDS.sub(" ", write_plainly(text)))


_MANNERS: tuple[Callable[[str], str], ...] = (
    str.strip,
    normalize_text,
    lambda text: bare_text(narrow(text)),
    lambda text: split_words(narrow(text)).strip(_MARKS_AROUND),
)
"""How texts are written to be compared, the strictest manner first."""
