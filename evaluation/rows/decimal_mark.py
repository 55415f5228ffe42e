"""Whether numbers in a run's files use a decimal point or a decimal comma. The answer is the same for all files.

`1,234.56`, `1,234,567` and `3.5` show a decimal point; `1.234,56`, `1.234.567` and `1 234,5` show a decimal comma.
`3,5` counts as a comma only if other numbers show one, because on its own it may be two numbers. `1,234` is one
thousand and so on, as in English, unless something shows a decimal comma. `1.234` on its own may be either. Where gold
answers show neither (they are often whole numbers), the calculations of the rationales do: `2,5 * 2 = 5` holds only with
a decimal comma. If the files leave this open or contradict each other, the row is refused, and `task.decimal_mark`
settles it.
"""

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from pada_agent.core.errors import DatasetError
from pada_agent.evaluation.verifiers.arithmetic import check_calculations
from pada_agent.evaluation.verifiers.number import DecimalMark, bare, gold_parts, parse_digits
from pada_agent.evaluation.verifiers.number_notation import GROUP_SPACE

Evidence = Literal["point", "comma", "comma or list", "comma group", "point or group"]

_RUN = re.compile(rf"\d[\d.,'_{GROUP_SPACE}]*\d")
_HAS_MARK = re.compile(r"\d[.,]\d")
_SWAP = str.maketrans(".,", ",.")
_WAY_OUT = "Set task.decimal_mark to point or comma."


class GoldNumber(NamedTuple):
    """A gold answer in a file."""

    where: str
    """File and line."""
    text: str
    """The whole answer, with its rationale if it has one."""


def settle_decimal_mark(golds: Iterable[GoldNumber], wanted: Literal["auto", "point", "comma"]) -> DecimalMark:
    """The decimal mark of all these gold answers.

    Raises:
        DatasetError: they show both marks, or one of them can be read in two ways and no other tells which.
    """
    if wanted != "auto":
        return "." if wanted == "point" else ","
    golds, first = list(golds), dict[Evidence, GoldNumber]()
    for gold in golds:
        for evidence in weigh(gold.text):
            first.setdefault(evidence, gold)
    point, comma = first.get("point"), first.get("comma")
    if point and comma:
        raise _refuse(comma, f"has a decimal comma, but {_name(point)} has a decimal point")
    if comma:
        group = first.get("comma group")
        if group:
            raise _refuse(
                group, f"is ambiguous: {_name(comma)} has a decimal comma, and then this is not a group of thousands"
            )
        return ","
    if not point and (shown := _weigh_calculations(gold.text for gold in golds)):
        return shown
    if unclear := first.get("comma or list"):
        raise _refuse(unclear, "could be one number with a decimal comma, or two numbers")
    unclear = first.get("point or group")
    if unclear and not point:
        raise _refuse(unclear, "could have three decimals or be in thousands")
    return "."


def weigh(text: str) -> list[Evidence]:
    """What the numbers in a gold answer show about the decimal mark."""
    runs = [run for part in gold_parts(text) for run in _RUN.findall(bare(part))]
    return [evidence for run in runs if (evidence := _weigh(run))]


def _weigh_calculations(texts: Iterable[str]) -> DecimalMark | None:
    """The mark with which more calculations hold; None if it is the same number."""
    marked = [text for text in texts if _HAS_MARK.search(text)]
    point, comma = (sum(map(_count_right, seen)) for seen in (marked, [text.translate(_SWAP) for text in marked]))
    return None if point == comma else "." if point > comma else ","


def _count_right(text: str) -> int:
    calculations = check_calculations(text)
    return calculations.n_checked - len(calculations.wrong)


def _weigh(run: str) -> Evidence | None:
    points, commas = run.count("."), run.count(",")
    if not points and not commas:
        return None
    as_point, as_comma = parse_digits(run, "."), parse_digits(run, ",")
    if as_point is None and as_comma is None:
        return None
    if points + commas == 1:
        return _weigh_one(run, groups_otherwise=re.search(f"['_{GROUP_SPACE}]", run) is not None)
    if points and commas:
        return "comma" if run.rfind(",") > run.rfind(".") else "point"
    return "point" if commas else "comma"


def _weigh_one(run: str, *, groups_otherwise: bool) -> Evidence:
    """What a number with a single mark shows: it either groups thousands or is the decimal mark."""
    is_comma = "," in run
    whole, _, rest = run.partition("," if is_comma else ".")
    if groups_otherwise:
        return "comma" if is_comma else "point"
    if len(rest) == 3 and len(whole) <= 3 and whole[0] != "0":
        return "comma group" if is_comma else "point or group"
    return "comma or list" if is_comma else "point"


def _name(gold: GoldNumber) -> str:
    return f"{gold.text[-60:]!r} at {gold.where}"


def _refuse(gold: GoldNumber, problem: str) -> DatasetError:
    return DatasetError(f"{gold.where}: the number {gold.text[-60:]!r} {problem}. {_WAY_OUT}")
