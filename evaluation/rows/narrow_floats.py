"""Numbers that were stored in fewer bits, and digits that are only left over from computing."""

import math
import struct
from typing import Literal

Width = Literal["e", "f"]
"""Half (16 bits) or single precision (32 bits), as `struct` calls them."""

_MOST_DIGITS = 9
_PRECISE = 15
"""A number with at least this many digits may carry some that nobody wrote."""
_SHORT = 10
"""A number with at most this many digits may have been written by a person."""


def shorten(value: float, width: Width) -> float:
    """The number with the fewest digits that this width stores as `value`. Whole numbers stay as they are."""
    if not math.isfinite(value) or value.is_integer():
        return value
    stored = struct.pack(width, value)
    written = (float(f"{value:.{digits}g}") for digits in range(1, _MOST_DIGITS + 1))
    return next((number for number in written if struct.pack(width, number) == stored), value)


def find_meant(text: str) -> float | None:
    """The short number from which computing made this one, such as 0.3 for 0.30000000000000004. None if there is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    if _count_digits(value) < _PRECISE:
        return None
    rounded = float(f"{value:.12g}")
    if _count_digits(rounded) <= _SHORT:
        return rounded
    return shorten(value, "f") if _is_single(value) else None


def _count_digits(value: float) -> int:
    """Significant digits. 0 for a whole number, whose digits all mean something."""
    if not math.isfinite(value) or value.is_integer():
        return 0
    return len(repr(value).partition("e")[0].replace(".", "").lstrip("-0"))


def _is_single(value: float) -> bool:
    try:
        return bool(struct.unpack("f", struct.pack("f", value))[0] == value)
    except OverflowError:
        return False
