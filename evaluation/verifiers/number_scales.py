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

_MYRIADS = {**dict.fromkeys("万萬만", 4), **dict.fromkeys("億亿억", 8), **dict.fromkeys("兆조", 12)}
_SMALL = {**dict.fromkeys("千천", 3), **dict.fromkeys("百백", 2)}
_UNIT = f"[{''.join([*_MYRIADS, *_SMALL])}]"
_AMOUNT = r"\d[\d,]{0,40}(?:\.\d{1,40})?"
_IN_MYRIADS = re.compile(rf"(?<![\d.,]){_AMOUNT}\s?{_UNIT}(?:\s?(?:{_AMOUNT})?{_UNIT})*(?:\d[\d,]{0, 40})?")
_PART = re.compile(rf"(?P<amount>{_AMOUNT})?\s?(?P<unit>{_UNIT})?")
_HAS_MYRIADS = re.compile(f"[{''.join(_MYRIADS)}]")


def write_myriads(text: str) -> str:
    """The text with digits in place of Chinese, Japanese and Korean amounts of ten thousand and more: 120000000 for `1億2000万`.

    `3千` stays, because it may be part of a unit (`3千克`).
    """
    return _IN_MYRIADS.sub(_write, text) if _HAS_MYRIADS.search(text) else text


def _write(match: re.Match[str]) -> str:
    if not _HAS_MYRIADS.search(match[0]):
        return match[0]
    total, below = Fraction(0), Fraction(0)
    for part in _PART.finditer(match[0]):
        amount = Fraction(part["amount"].replace(",", "")) if part["amount"] else Fraction(0)
        unit = part["unit"] or ""
        if unit in _SMALL:
            below += amount * 10 ** _SMALL[unit]
        elif unit:
            total, below = total + (below + amount) * 10 ** _MYRIADS[unit], Fraction(0)
        else:
            below += amount
    value = total + below
    if value.denominator == 1:
        return str(value)
    n_places = len(match[0])
    whole, rest = divmod(value.numerator * 10**n_places // value.denominator, 10**n_places)
    return f"{whole}.{rest:0{n_places}d}".rstrip("0")
