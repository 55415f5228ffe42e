"""Words and signs behind a number that multiply it: `3 million`, `5万`."""

import re
from fractions import Fraction

SCALES = {
    **dict.fromkeys(("hundred", "hundreds"), 2),
    **dict.fromkeys(
        ("thousand", "thousands", "tausend", "duizend", "tusen", "tusind", "mila", "тысяча", "тысячи", "тысяч"), 3
    ),
    **dict.fromkeys(("lakh", "lakhs"), 5),
    **dict.fromkeys(
        ("million", "millions", "millionen", "mio", "millones", "millón", "milhão", "milhões", "milione"), 6
    ),
    **dict.fromkeys(("milioni", "miljoen", "miljoner", "milyon", "миллион", "миллиона", "миллионов", "млн"), 6),
    **dict.fromkeys(("crore", "crores"), 7),
    **dict.fromkeys(("billion", "billions", "milliard", "milliards", "milliarde", "milliarden", "mrd", "miliardo"), 9),
    **dict.fromkeys(("miliardi", "miljard", "miljarder", "milyar", "миллиард", "миллиарда", "миллиардов", "млрд"), 9),
    **dict.fromkeys(("trillion", "trillions"), 12),
}
"""Powers of ten. Without words that mean something else in another language, such as `mil` and `Billionen`."""
SCALE_WORD = "|".join(sorted(SCALES, key=len, reverse=True))
"""A pattern for any of them, whatever its case."""
_OTHER_CASES = str.maketrans({"\u0307": "", "ı": "i", "ſ": "s"})
"""Letters that a pattern takes for others, and that `lower` does not."""

_MYRIADS = {**dict.fromkeys("万萬만", 4), **dict.fromkeys("億亿억", 8), **dict.fromkeys("兆조", 12)}
_SMALL = {**dict.fromkeys("千천", 3), **dict.fromkeys("百백", 2)}
_UNIT = f"[{''.join([*_MYRIADS, *_SMALL])}]"
_AMOUNT = r"\d[\d,]{0,40}(?:\.\d{1,40})?"
_LAST = r"\d(?:[\d,]{0,40}\d)?"
_IN_MYRIADS = re.compile(rf"(?<![\d.,]){_AMOUNT}\s?{_UNIT}(?:\s?(?:{_AMOUNT})?{_UNIT})*(?:{_LAST})?")
_PART = re.compile(rf"(?P<amount>{_AMOUNT})?\s?(?P<unit>{_UNIT})?")
_HAS_MYRIADS = re.compile(f"[{''.join(_MYRIADS)}]")


def find_power(word: str) -> int:
    """The power of ten of a word that `SCALE_WORD` matches, such as the Turkish `MİLYON`."""
    return SCALES[word.lower().translate(_OTHER_CASES)]


def write_myriads(text: str) -> str:
    """The text with digits in place of Chinese, Japanese and Korean amounts of ten thousand and more: 120000000 for `1億2000万`.

    `3千` stays, because it may be part of a unit (`3千克`).
    """
    return _IN_MYRIADS.sub(_write, text) if _HAS_MYRIADS.search(text) else text


def _write(match: re.Match[str]) -> str:
    """Several numbers where units do not become smaller: `1万 2万`."""
    if not _HAS_MYRIADS.search(match[0]):
        return match[0]
    written: list[str] = []
    total, below, last = Fraction(0), Fraction(0), 0
    for part in _PART.finditer(match[0]):
        amount = Fraction(part["amount"].replace(",", "")) if part["amount"] else Fraction(0)
        unit = part["unit"] or ""
        if unit in _SMALL:
            below += amount * 10 ** _SMALL[unit]
        elif unit:
            if last and _MYRIADS[unit] >= last:
                written.append(_write_plain(total))
                total = Fraction(0)
            last = _MYRIADS[unit]
            total, below = total + (below + amount) * 10**last, Fraction(0)
        else:
            below += amount
    return " ".join([*written, _write_plain(total + below)])


def _write_plain(value: Fraction) -> str:
    """Without an exponent. All amounts have an end of digits."""
    if value.denominator == 1:
        return str(value)
    n_places = len(str(value.denominator)) * 4
    whole, rest = divmod(value.numerator * 10**n_places // value.denominator, 10**n_places)
    return f"{whole}.{rest:0{n_places}d}".rstrip("0")
