"""Finding and comparing numbers: by exact value, however they are written.

A gold number is one number and nothing else (`read_gold`): bare, behind `####`, or in `\\boxed{}`; with a sign, a currency
or a unit (which do not count), groups (`1,234`, `1 234`, `1'234`, `1_234`, `12,34,567`), a fraction, a mixed number, an
exponent (`1.5e6`, `3 x 10^8`, `2^100`), `million`, `万` and the like, or a percent sign. Times, dates, ratios, ranges, lists,
`3k`, `5 dozen`, `3π` and numbers of more than `MAX_DIGITS` digits are none. A text that a model wrote may have words
around its number: `find_answer` takes the last.

What a comma and a point mean is settled for a whole file (`decimal_mark`); in English files `1,234` is a group.
50% is both 50 and 0.5: people ask for either.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

from pada_agent.evaluation.verifiers.number_notation import (
    CURRENCY,
    GROUP_SPACE,
    join_groups,
    join_sure_groups,
    to_plain,
)
from pada_agent.evaluation.verifiers.number_scales import SCALE_WORD, find_power
from pada_agent.evaluation.verifiers.units import is_unit

DecimalMark = Literal[".", ","]

MAX_DIGITS = 400
"""Before or after the point: more than any double needs; 2^1000 fits. Larger ones are refused, not computed."""

_MAX_LINE = 500
"""Characters behind `####` that are looked at."""

_N = rf"(?:(?>\d(?:[\d.,'_{GROUP_SPACE}]*\d)?)|(?<![\w.])\.\d++)"
_EXPONENT = r"\(?(?P<{}>[-+]?\d{{1,9}})(?!\d)\)?"
_MINUS_APART = rf"(?:(?<=[=≈({{\[$<>]) | (?<=[=≈][ {GROUP_SPACE}]))-[ {GROUP_SPACE}]{{1,3}}(?=[\d.{CURRENCY}])"
"""A minus sign with a space behind it, where nothing stands before it from which it could subtract: `x = - 5`."""
_MINUS_IN_WORDS = r"(?i:\b(?<!-)negative | (?:\A | (?<=\bis\s) | (?<=[=:(]) | (?<=[=:]\s))minus)\s"
_SPACED_SIGN = re.compile(r"\A\s*([-−–﹣－])(?:\s|\\[,;: !]){1,4}(?=\S)")
_NUMBERED_HEADING = re.compile(r"\d{1,2}[.)]\s+[^\W\d]")
_IRRATIONAL = re.compile(r"\\(?:sqrt|pi|[dtc]?frac|log|ln|sin|cos|tan|infty)(?![a-zA-Z])|[√π∞]")
_MAX_TERM = 60
_TERM_BEFORE = re.compile(
    r"(?:[√∛∜]|\\sqrt\s*(?:\[\d+\]\s*)?\{?|\bsqrt\s?\(|(?:π|\\pi|\bpi)\s?/|\\[dtc]?frac\s*\{[^{}]*(?:π|\\pi|\\sqrt\s*\{[^{}]*\})[^{}]*\}\s*\{)\s*\Z"
)
_TERM_AFTER = re.compile(r"\s?[*·×]?\s?(?:[√∛∜](?=\s?[\d(\[{\\]|\w)|π|\\(?:sqrt|pi)(?![a-zA-Z])|sqrt\s?\(|pi\b)")
"""What makes a number a part of a term with a root or π. A root of nothing is a tick: `48 √`."""
_EQUALS = re.compile(r"=|≈|\\approx(?![a-zA-Z])")
_BRACES = re.compile(r"\\(?:f?boxed|fbox)\s*\{|\\[{}]|[{}]")
_SHORT_SCALES = {"k": 3, "m": 6, "b": 9}
"""Only behind an amount of money: `$60k`. Otherwise, 5k may be a run."""
NUMBER = re.compile(
    rf"""
    (?P<skip>\d++(?::\d++)++ | \d{{4}}-\d{{1,2}}-\d{{1,2}}(?!\d) | \d{{1,2}}-\d{{1,2}}-\d{{4}}(?!\d) | \d++(?:/\d++){{2,}}+
        | 0[xX][0-9a-fA-F]++ | [A-Za-zÀ-ÿ_^]\d[\d.,'_]*+)
    |
    (?P<sign>(?<![\w.)\]}}%])[-+] | {_MINUS_APART} | {_MINUS_IN_WORDS})?
    (?P<currency>(?:\b[A-Z]{{1,3}})?[{CURRENCY}]\s?|\b(?:USD|EUR|GBP|CHF|INR|JPY|CNY|Rs\.?)\s?)?
    (?P<sign_inside>(?<=[{CURRENCY}])-)?
    (?:
        (?P<whole>\d{{1,9}})[ {GROUP_SPACE}]+(?P<over>\d{{1,9}})\s?/\s?(?P<under>\d{{1,9}})(?![\d/])
        |
        (?P<number>{_N})
        (?:
            [eE]{_EXPONENT.format("e")}(?!\w)
            | \s?(?:[×xX*·])\s?10\s?(?:\^|\*\*)\s?{_EXPONENT.format("ten")}
            | \s?(?:\^|\*\*)\s?{_EXPONENT.format("power")}
            | \s?/\s?(?P<denominator>{_N})
        )?
    )
    (?P<short>(?:[kKMB]|[mb]n)(?!\w))?
    (?P<scale>[ {GROUP_SPACE}]{{1,4}}(?i:{SCALE_WORD})\b)?
    (?P<percent>\s?(?:%|percent\b|per\scent\b|pct\b))?
    """,
    re.VERBOSE,
)


class Number(NamedTuple):
    """An exact value; `percent` when a percent sign stood behind it (50% has the value 50)."""

    value: Fraction
    percent: bool = False


class FoundNumber(NamedTuple):
    """`number` is None when the text holds none; `marked` when it stood after `####` or in `\\boxed{}`."""

    number: Number | None
    marked: bool = False
    apart: Number | None = None
    """The number if a space does not group digits where it could: 234 for `1 234`."""


class MarkedNumber(NamedTuple):
    """A number behind `####`, and the place of its `####` in the text."""

    number: Number
    start: int


class _Mark(NamedTuple):
    start: int
    line: str
    """The rest of the line."""


def same_number(one: Number, other: Number) -> bool:
    """Equal by exact value; a percentage also equals its number and its hundredth, if the other is none."""
    if one.percent == other.percent:
        return one.value == other.value
    share, plain = (one.value, other.value) if one.percent else (other.value, one.value)
    return plain in (share, share / 100)


def exact(value: int | float | Decimal) -> Number | None:
    """A number that is none of a text; None where it is not finite or too long."""
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, Decimal) and (not value.is_finite() or abs(value.adjusted()) > MAX_DIGITS):
        return None
    return _checked(Fraction(value))


def read_gold(text: str, mark: DecimalMark = ".") -> Number | None:
    """The one number of a gold answer; None where it holds none, several, or anything else beside it."""
    found = [parse_number(part, mark) for part in gold_parts(text)]
    return found[0] if all(number is not None and number == found[0] for number in found) else None


def gold_parts(text: str) -> list[str]:
    """The parts of a gold answer that give its number: what stands behind `####`, in `\\boxed{}`, or all of it."""
    return [mark.line for mark in _find_marks(text)] or _find_boxed(text) or [text]


def find_answer(text: str, mark: DecimalMark = ".") -> FoundNumber:
    """The number that `####` marks, or else the one in the last `\\boxed{}` (`x = 5` too), or else the last of the text."""
    found = find_marked(text, mark)
    if found is not None:
        return FoundNumber(found.number, marked=True)
    for boxed in _find_boxed(text)[-1:]:
        number = _read_box(boxed, mark)
        if number is not None or _IRRATIONAL.search(to_plain(boxed)):
            return FoundNumber(number, marked=True)
    whole = parse_number(text, mark) if len(text) <= _MAX_LINE else None
    if whole is not None:
        return FoundNumber(whole)
    plain = to_plain(text)
    joined, apart = (_find_last(reading, mark) for reading in (join_groups(plain), join_sure_groups(plain)))
    return FoundNumber(joined, apart=apart if apart != joined else None)


def find_marked(text: str, mark: DecimalMark = ".") -> MarkedNumber | None:
    """The number directly behind `####`: the first that is alone on the rest of its line, or else the first of all.

    `####` is also a heading in Markdown: `#### Step 1` and `#### 1. Count` mark no number.
    """
    marks = _find_marks(text)
    for found in marks:
        if (number := parse_number(found.line, mark)) is not None:
            return MarkedNumber(number, found.start)
    for found in marks:
        if numbers := find_numbers(found.line, mark):
            return MarkedNumber(numbers[0], found.start)
    return None


def find_numbers(text: str, mark: DecimalMark = ".") -> list[Number]:
    """All numbers in a text, in order; times, dates and ratios are none."""
    return [n for match in NUMBER.finditer(join_sure_groups(to_plain(text))) for n in _read_all(match, mark)]


def parse_number(text: str, mark: DecimalMark = ".") -> Number | None:
    """The number that the whole text is; None if it is none, or more than one."""
    plain = bare(text)
    match = NUMBER.match(plain)
    if match is None or match["skip"] or (match["sign"] and match["sign_inside"]):
        return None
    if match["short"] and not match["currency"]:
        return None
    rest = plain[match.end() :]
    may_be_symbol = not (match["currency"] or match["percent"] or match["scale"])
    if rest and not is_unit(rest, may_be_symbol=may_be_symbol):
        return None
    return _read(match, mark)


def bare(text: str) -> str:
    """A text that should be one number in plain notation, without what may stand around it."""
    plain = to_plain(text.strip()[:_MAX_LINE]).strip().strip("*`").strip()
    if len(plain) > 2 and plain[0] == plain[-1] == "$":
        plain = plain[1:-1].strip()
    plain = plain.rstrip(".").rstrip() if not plain.endswith("..") else plain
    if re.match(r"[^\d]{0,4}\d{1,3} \d{3} ?/", plain):
        return plain  # 1 234/500 is a mixed number or a fraction of a group
    return re.sub(r"(?<=\d) (?=\d{3}(?!\d))", GROUP_SPACE, plain)


def format_number(number: Number | Fraction, mark: DecimalMark = ".") -> str:
    """Plain notation without trailing zeros, a fraction where there is no end of digits: `1200.5`, `72`, `14/3`, `50%`."""
    value, percent = number if isinstance(number, Number) else (number, False)
    return _write(value).replace(".", mark) + ("%" if percent else "")


def parse_digits(run: str, mark: DecimalMark) -> Fraction | None:
    """The value of digits with their groups and decimal mark; None where they fit no notation.

    Two kinds of marks, or several of one kind, can be read one way only, whatever `mark` says.
    """
    plain = to_plain_digits(run, mark)
    return None if plain is None else _checked_value(Fraction(plain))


def to_plain_digits(run: str, mark: DecimalMark) -> str | None:
    """`1.234,50` as `1234.50`: without groups, with a decimal point. None where the digits fit no notation."""
    if len(run) > 2 * MAX_DIGITS:
        return None
    point = _find_point(run, mark)
    whole, fraction = (run, "") if point is None else (run[:point], run[point + 1 :])
    digits = _join_groups(whole)
    if digits is None or not (fraction.isdigit() or not fraction) or not (digits or fraction):
        return None
    return f"{digits or 0}.{fraction}" if fraction else digits


def _find_point(run: str, mark: DecimalMark) -> int | None:
    """Place of the decimal mark."""
    points, commas = run.count("."), run.count(",")
    if points + commas == 1 and re.search(f"['_{GROUP_SPACE}]", run):
        return max(run.find("."), run.find(","))
    if points and commas:
        last = max(run.rfind("."), run.rfind(","))
        return last if run.count(run[last]) == 1 else None
    if points + commas != 1:
        return None
    place = max(run.find("."), run.find(","))
    is_group = len(run) - place - 1 == 3 and 0 < len(run[:place]) <= 3 and run[0] != "0"
    if run[place] == mark or (mark == "," and not is_group):
        return place
    return None


def _join_groups(whole: str) -> str | None:
    if whole.isdigit() or not whole:
        return whole
    separators = {character for character in whole if not character.isdigit()}
    if len(separators) != 1 or whole[0] == "0":
        return None
    separator = separators.pop()
    head, *groups = whole.split(separator)
    thousands = 1 <= len(head) <= 3 and all(len(group) == 3 for group in groups)
    indian = separator == "," and 1 <= len(head) <= 2 and len(groups[-1]) == 3 and all(len(g) == 2 for g in groups[:-1])
    return head + "".join(groups) if thousands or indian else None


def _read_box(boxed: str, mark: DecimalMark) -> Number | None:
    """`5`, also of `x = 5` and `5 apples or so`; none of `2\\sqrt{3}`, whose 3 is no answer."""
    result = _EQUALS.split(boxed)[-1]
    number = parse_number(boxed, mark) or parse_number(_join_sign(result), mark)
    return number or (None if _IRRATIONAL.search(to_plain(result)) else _find_last(to_plain(boxed), mark))


def _find_last(plain: str, mark: DecimalMark) -> Number | None:
    """None also where the last number is too long to be read, or part of a term such as `2√3`: an earlier one is not the answer."""
    for match in reversed(list(NUMBER.finditer(plain))):
        if not match["skip"]:
            before = plain[max(0, match.start() - _MAX_TERM) : match.start()]
            in_term = _TERM_BEFORE.search(before) or _TERM_AFTER.match(plain, match.end())
            return None if in_term else next(iter(list(_read_all(match, mark))[-1:]), None)
    return None


def _read_all(match: re.Match[str], mark: DecimalMark) -> Iterator[Number]:
    """The number of a match; of a list such as `1,2,3` its members. `3,5` is one number, though not in a gold answer."""
    if match["skip"]:
        return
    number = _read(match, mark)
    if number is None and match["number"] and match["number"].count(",") == 1:
        number = _read(match, ",")
    if number is not None:
        yield number
    elif match["number"] and "," in match["number"]:
        for part in match["number"].split(","):
            if (value := parse_digits(part, mark)) is not None:
                yield Number(value)


def _read(match: re.Match[str], mark: DecimalMark) -> Number | None:
    value = _read_mixed(match) if match["whole"] else _read_value(match, mark)
    if value is None:
        return None
    if match["short"] and match["currency"]:
        value = _checked_value(value * 10 ** _SHORT_SCALES[match["short"][0].lower()])
    elif match["scale"]:
        value = _checked_value(value * 10 ** find_power(match["scale"].strip(f" {GROUP_SPACE}")))
    if value is None:
        return None
    is_negative = (match["sign"] or "+").strip() != "+" or match["sign_inside"] == "-"
    return Number(-value if is_negative else value, percent=bool(match["percent"]))


def _read_mixed(match: re.Match[str]) -> Fraction | None:
    whole, over, under = (int(match[name]) for name in ("whole", "over", "under"))
    looks_grouped = len(match["over"]) == 3 and len(match["whole"]) <= 3
    return whole + Fraction(over, under) if over < under and not looks_grouped else None


def _read_value(match: re.Match[str], mark: DecimalMark) -> Fraction | None:
    value = parse_digits(match["number"], mark)
    if value is None:
        return None
    if exponent := match["e"] or match["ten"]:
        return _raise(Fraction(10), int(exponent), times=value)
    if match["power"]:
        is_odd = int(match["power"]) % 2 == 1
        return None if match["sign"] and not is_odd else _raise(value, int(match["power"]))
    if match["denominator"]:
        if re.match(r"0\d", match["number"]) or re.match(r"0\d", match["denominator"]):
            return None  # 05/17 is a date
        denominator = parse_digits(match["denominator"], mark)
        return _checked_value(value / denominator) if denominator else None
    return value


def _raise(base: Fraction, exponent: int, *, times: Fraction = Fraction(1)) -> Fraction | None:
    n_digits = max(len(str(base.numerator)), len(str(base.denominator))) - (base in (10, 1))
    if n_digits * abs(exponent) > 4 * MAX_DIGITS or (base == 0 and exponent <= 0):
        return None
    return _checked_value(times * base**exponent)


def _checked_value(value: Fraction) -> Fraction | None:
    return value if max(abs(value.numerator), value.denominator) < 10**MAX_DIGITS else None


def _checked(value: Fraction) -> Number | None:
    checked = _checked_value(value)
    return None if checked is None else Number(checked)


def _write(value: Fraction) -> str:
    n_places, rest = 0, value.denominator
    for prime in (2, 5):
        n_times = 0
        while rest % prime == 0:
            rest //= prime
            n_times += 1
        n_places = max(n_places, n_times)
    if rest != 1 or n_places > MAX_DIGITS:
        return f"{value.numerator}/{value.denominator}"
    digits = str(abs(value.numerator) * 10**n_places // value.denominator).rjust(n_places + 1, "0")
    sign = "-" if value < 0 else ""
    return sign + (f"{digits[:-n_places]}.{digits[-n_places:]}" if n_places else digits)


def _first_line(text: str) -> str:
    return _join_sign(text[:_MAX_LINE].lstrip(" \t").partition("\n")[0].strip())


def _join_sign(text: str) -> str:
    """A marked number with its sign directly before it: `- 5` is no item of a list there."""
    return _SPACED_SIGN.sub(r"\1", text)


def _find_marks(text: str) -> list[_Mark]:
    """Each `####` directly before a number."""
    marks, start = [], 0
    for part in text.split("####")[1:]:
        start = text.index("####", start)
        line = _first_line(part)
        match = None if _NUMBERED_HEADING.match(line) else NUMBER.match(bare(line))
        marks += [_Mark(start, line)] if match and not match["skip"] else []
        start += len("####")
    return marks


def _find_boxed(text: str) -> list[str]:
    """What stands in each outermost `\\boxed{…}`."""
    found: list[str] = []
    start, depth = 0, 0
    for match in _BRACES.finditer(text):
        brace = match[0]
        if brace == "}" and depth:
            depth -= 1
            found += [] if depth else [_join_sign(text[start : match.start()])]
        elif brace == "{" and depth:
            depth += 1
        elif "box" in brace:
            start, depth = (start, depth + 1) if depth else (match.end(), 1)
    return found
