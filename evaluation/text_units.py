"""Words in all scripts. In scripts without spaces between words, the units are characters.

A character says less than a word. Lengths are therefore measured in English words: each unit has a weight, and "13
words in a row" means a run of units whose weights add up to 13.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise

from pada_agent.evaluation.rows.cells import INVISIBLE

Units = tuple[str, ...]

_UNSPACED = {
    0.6: "㐀-䶿一-鿿豈-﫿\U00020000-\U0003134f",  # Han
    0.4: "ぁ-ゟ゠-ヿㇰ-ㇿｦ-ﾟ",  # kana
    0.25: "฀-๿຀-໿က-႟ក-៿",  # Thai, Lao, Burmese, Khmer
}
"""Weight of one character, and its script: how many words of English it is worth in parallel texts, roughly."""


_SPELLINGS = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′", "'"),
        **dict.fromkeys("“”„‟«»″", '"'),
        **dict.fromkeys("‐‑‒–—−", "-"),
        **dict.fromkeys(INVISIBLE, ""),
        **{sign: f"^{power}" for power, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    }
)
_OPENING_SIGNS = re.compile(r"(?<!\S)['\"¿¡]+")
_CLOSING_SIGNS = re.compile(r"['\".,;!?。、؟؛،।]+(?!\S)")
"""Signs that say nothing around a word. Inside they do: `3.5`, `a != b`, `print('5')`."""

UNSPACED = "".join(_UNSPACED.values())
"""Scripts without spaces between words, as ranges of a character class."""

_OPERATOR = re.compile(
    r"(?:(?<=[\d)])|(?<=\b[a-zA-Z]))\s*(?:\*\*|//|[-*/])\s*(?=[\d.(]|[a-zA-Z]\b)|(?<![\w)])-(?=[\d.(])|[+=<>^%&|]|!(?==)"
)
"""Signs of calculations and comparisons. A hyphen or slash between words, and stars around them, are none."""

_ASCII_WORD, _ASCII_SIGN = re.compile(r"\w+", re.ASCII), re.compile(r"\w+|\S", re.ASCII)
_SENTENCE_END = re.compile(r"(?<=[.!?؟।])(?<!\d\.)(?<!e\.g\.)(?<!i\.e\.)(?<!vs\.)\s+|(?<=[。！？])\s*|\n+")


@cache
def _pattern() -> re.Pattern[str]:
    """Matches a character of an unspaced script with its marks, or a run of other letters, digits and marks."""
    marks = _marks()
    return re.compile(rf"[{UNSPACED}][{marks}]*|(?:(?![{UNSPACED}])[\w{marks}])+")


@cache
def _sign_pattern() -> re.Pattern[str]:
    """Like `_pattern`, and any other visible character."""
    return re.compile(rf"{_pattern().pattern}|\S")


@cache
def _marks() -> str:
    """Combining marks, as ranges of a character class. `\\w` leaves them out, and so cuts words of many scripts apart."""
    points = [p for p in range(0x300, 0x1E950) if unicodedata.category(chr(p)).startswith("M")]
    ranges: list[list[int]] = []
    for point in points:
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return "".join(f"{chr(low)}-{chr(high)}" for low, high in ranges)


def find_units(text: str) -> list[re.Match[str]]:
    """Words and characters of `text`, with their positions."""
    return list(_pattern().finditer(text))


def units_of(text: str) -> Units:
    """Words and characters of `text`, NFKC and case folded."""
    if text.isascii():  # the same, twenty times as fast
        return tuple(_ASCII_WORD.findall(text.lower()))
    return tuple(_pattern().findall(unicodedata.normalize("NFKC", text).casefold()))


def signs_of(text: str) -> Units:
    """Like `units_of`, with each sign and emoji as a unit of its own, so that `10 + 3` differs from `10 - 3`.

    Left out are white space, and quotation marks and punctuation around words.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_SPELLINGS))
    text = _CLOSING_SIGNS.sub("", _OPENING_SIGNS.sub("", text.casefold()))
    return tuple((_ASCII_SIGN if text.isascii() else _sign_pattern()).findall(text))


def operators_of(text: str) -> Units:
    """The signs that make the same words say something else: those of calculations and comparisons, and emoji."""
    if text.isascii():
        return tuple(found.strip() for found in _OPERATOR.findall(text))
    text = unicodedata.normalize("NFKC", text.translate(_SPELLINGS))
    pictures = (
        character for character in text if unicodedata.category(character) in ("So", "Sm") and not character.isascii()
    )
    return (*(found.strip() for found in _OPERATOR.findall(text)), *pictures)


def count_words(units: Sequence[str]) -> float:
    """Their length in English words."""
    return sum(map(weigh, units))


@cache
def weigh(unit: str) -> float:
    """How many English words a unit is worth. 1 for a word."""
    return next((weight for weight, script in _UNSPACED.items() if re.match(f"[{script}]", unit)), 1.0)


def runs_of(units: Sequence[str], n_words: float) -> Iterator[tuple[int, int]]:
    """For each start, the start and end of the shortest run that is at least `n_words` long."""
    weights = [weigh(unit) for unit in units]
    end, total = 0, 0.0
    for start in range(len(units)):
        while end < len(units) and total < n_words - 1e-9:
            total += weights[end]
            end += 1
        if total < n_words - 1e-9:
            return
        yield start, end
        total -= weights[start]


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, each with the space that follows it."""
    ends = [0, *(end.end() for end in _SENTENCE_END.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise(ends) if start < end]
