"""Which of a row's options is the right one, read in the same way for all rows of a run's files.

Rows name the right option by its label (`B`, a number given with the options, or a label of the closed set), by its
text, or by its position from 0 or from 1. A reading is valid only if it fits every row. If two readings fit and give
different options, or if some rows fit one reading and some another, the rows are refused. Nothing is decided row by
row, because that would merge some classes and shift others.
"""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import compress
from typing import Any, Literal, NamedTuple

from pada_agent.core.errors import DatasetError
from pada_agent.evaluation.rows.cells import cell_text, to_nfc
from pada_agent.evaluation.rows.options import Options
from pada_agent.evaluation.verifiers.option_label import label_at
from pada_agent.evaluation.verifiers.text import drop_invisible, normalize_text, same_text

GoldReading = Literal["label", "letter", "text", "index", "index_from_1"]

READINGS: dict[GoldReading, str] = {
    "label": "a label",
    "letter": "a letter",
    "text": "an option's text",
    "index": "a position from 0",
    "index_from_1": "a position from 1",
}
_OPPOSITES = (
    *(("false", "true"), ("f", "t"), ("no", "yes"), ("n", "y"), ("off", "on")),
    *(("negative", "positive"), ("neg", "pos")),
)
"""Labels that 0 and 1 usually stand for, wherever they are in the list."""
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?", re.ASCII)
_DECORATED = re.compile(r"[\s(\[{*\"']*(?P<label>[^\s()\[\]{}.:*\"']{1,3})\s*[)\]}.:*\"']+\s*(?P<text>.*)", re.DOTALL)
_JOINED = re.compile(r"\s*(?:[,;|/+&\n]|\band\b)\s*")
_QUOTES = "\"'`\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"


class GoldSeen(NamedTuple):
    """What a row says about its right option."""

    where: str
    field: str
    value: Any
    options: Options
    closed: bool = False
    """Whether the options are one set of labels for all rows."""
    named: tuple[tuple[str, int], ...] = ()
    """Other columns that seem to name the option, such as `label_text` beside `label`, with the index of the one that they
    name.
    """


def settle_gold(seen: Sequence[GoldSeen]) -> GoldReading:
    """The one reading of all these rows. Rows that fit no reading at all are ignored here; they are refused when they are read.

    Raises:
        DatasetError: there is no such reading, or more than one.
    """
    readings: list[GoldReading] = ["label", "index", "index_from_1"] if seen[0].closed else list(READINGS)
    are_ids = not set.intersection(*(set(gold.options.labels) for gold in seen))
    labels = [find_gold(gold, "label") for gold in seen]
    if None not in labels and all(gold.options.has_labels for gold in seen):
        return "label"
    found = {"label": labels, **{r: [find_gold(gold, r) for gold in seen] for r in readings[1:]}}
    holding = [reading for reading in readings if None not in found[reading]]
    if holding and holding[0] in ("index", "index_from_1"):
        if not are_ids:  # otherwise they count all options of the file
            _refuse_partial(seen, found["label"])
        _refuse_binary(seen, holding[0], found[holding[0]])
    rivals = [r for r in holding[1:] if found[r] != found[holding[0]] and _rivals(holding[0], r, seen)]
    if rivals:
        _refuse_two(seen, *((READINGS[r], found[r]) for r in (holding[0], rivals[0])))
    if not holding:
        is_read = [any(indices[i] is not None for indices in found.values()) for i in range(len(seen))]
        readable = list(compress(seen, is_read))
        if 0 < len(readable) < len(seen):
            _refuse_codes(readable, [gold for gold, read in zip(seen, is_read, strict=True) if not read])
            return settle_gold(readable)
        _refuse_all(seen, found)
    return holding[0]


def find_gold(gold: GoldSeen, reading: GoldReading) -> int | None:
    """0-based index of the option that a row names under this reading. None if it names none."""
    options = gold.options
    match reading:
        case "label":
            found = find_spelled(gold.value, options.labels)
            return _find_label(gold.value, options) if found is None else found
        case "letter":
            return find_spelled(gold.value, tuple(label_at(i) for i in range(len(options.texts))))
        case "text":
            return find_spelled(gold.value, options.texts)
        case "index":
            return _find_index(gold.value, len(options.texts), first=0)
        case "index_from_1":
            return _find_index(gold.value, len(options.texts), first=1)


def find_doubt(gold: GoldSeen, found: int, *, names_count: bool) -> str | None:
    """Why the option that was found may not be the right one, to complete an error message. None if nothing speaks against it.

    Args:
        names_count: whether other keys of the options, letters in front of their texts, and other columns may be what the
            row names.
    """
    options = gold.options
    if options.marked and found not in options.marked:
        return f"the options mark another one as right ({options.texts[options.marked[0]]!r}): correct the row"
    for column, place in gold.named:
        if place != found and names_count:
            texts = f"{options.texts[found]!r}, and {column!r} is {options.texts[place]!r}"
            return f"that is {texts}: correct the row, or name the right column in task.columns"
    match = _DECORATED.fullmatch(gold.value) if isinstance(gold.value, str) else None
    value = match["label"] if match and not match["text"] else gold.value
    named = (find_spelled(value, names) for names in options.other_names if names_count)
    other = next((index for index in named if index not in (None, found)), None)
    if other is None:
        return None
    return (
        f"it could mean two options ({options.texts[found]!r} or {options.texts[other]!r}): give each option as"
        " {label, text}, or set task.gold_is to label, text, index or index_from_1"
    )


def describe_gold(gold: GoldSeen) -> str:
    """What a row could have said, for an error message."""
    names = gold.options.labels
    listed = ", ".join(names[:12]) + (f", … ({len(names)})" if len(names) > 12 else "")
    return f"the options are {listed}{_hint_at(gold)}"


def _hint_at(gold: GoldSeen) -> str:
    """What a value that is no option may be."""
    value, names = gold.value, tuple(dict.fromkeys(gold.options.labels + gold.options.texts))
    if _find_number(value) == "-1":
        return ". -1 usually hides a label: drop such rows, or use a file that has their labels"
    parts = value if isinstance(value, list | tuple) else _JOINED.split(value) if isinstance(value, str) else []
    if len(parts) > 1 and all(find_spelled(part, names) is not None for part in map(_take_quotes, parts)):
        return ". Several labels are joined: one label per row is expected"
    if isinstance(value, str) and find_spelled(_take_quotes(value), names) is not None:
        return ". The quote is part of the text: take it out"
    return ""


def _take_quotes(value: Any) -> Any:
    return value.strip().strip(_QUOTES) if isinstance(value, str) else value


def _rivals(first: GoldReading, second: GoldReading, seen: Sequence[GoldSeen]) -> bool:
    """Whether the second reading is one that people might also mean.

    Labels given in the rows, and texts given as texts, are meant as such. Numbers are ambiguous if the options are
    texts, and letters are ambiguous if the options are letters.
    """
    if first in ("label", "letter"):
        return second == "text"
    if first == "text":
        typed = [isinstance(g.value, int | float | Decimal) and not g.options.are_numbers for g in seen]
        return second in ("index", "index_from_1") and all(typed)
    return first == "index" and second == "index_from_1"


def _refuse_partial(seen: Sequence[GoldSeen], labels: Sequence[int | None]) -> None:
    """Refuse positions if some of them are also labels that the rows themselves give."""
    named = [gold for gold, label in zip(seen, labels, strict=True) if label is not None and gold.options.has_labels]
    if named:
        other = next(gold for gold, label in zip(seen, labels, strict=True) if label is None)
        raise _mixed(other, named[0], "label")


def _refuse_binary(seen: Sequence[GoldSeen], reading: GoldReading, found: list[int | None]) -> None:
    """Refuse 0 and 1 as positions if the labels are opposites in the other order, such as `yes` and `no`."""
    binary = [_find_binary(gold) for gold in seen]
    if None not in binary and binary != found:
        _refuse_two(seen, (READINGS[reading], found), ("a binary value", binary))


def _find_binary(gold: GoldSeen) -> int | None:
    """0-based index of the label that 0 or 1 usually stands for, if the labels are opposites such as `no` and `yes`."""
    number, labels = _find_number(gold.value), gold.options.labels
    if not gold.closed or number not in ("0", "1"):
        return None
    pairs = ([find_spelled(name, labels) for name in pair] for pair in _OPPOSITES)
    return next((pair[int(number)] for pair in pairs if None not in pair), None)


def _refuse_codes(readable: Sequence[GoldSeen], others: Sequence[GoldSeen]) -> None:
    """Refuse numbers of which only some may be positions (-1, 0 and 1; 10, 20 and 1), because each may stand for a label.

    If there are more numbers than labels, some of them stand for none, and only their rows are at fault.
    """
    numbers = {number for gold in (*readable, *others) if (number := _find_number(gold.value)) is not None}
    strange = next((gold for gold in others if _find_number(gold.value) is not None), None)
    first = readable[0]
    named = any(find_gold(gold, "label") is not None for gold in readable)
    if strange is not None and first.closed and not named and len(numbers) <= len(first.options.labels):
        raise DatasetError(
            f"{strange.where}: field {strange.field} is {strange.value!r}, which is not a position, so {first.value!r} at"
            f" {first.where} may not be one either. {_way_out(strange)}"
        )


def _refuse_two(
    seen: Sequence[GoldSeen], one: tuple[str, list[int | None]], other: tuple[str, list[int | None]]
) -> None:
    """Refuse the first row that means different options in two readings, each given by its name and what it finds."""
    at = next(i for i in range(len(seen)) if one[1][i] != other[1][i])
    gold, texts = seen[at], seen[at].options.texts
    first, second = (texts[index] for index in (one[1][at], other[1][at]) if index is not None)
    raise DatasetError(
        f"{gold.where}: field {gold.field} is {gold.value!r}, which as {one[0]} is {first!r} and as {other[0]} is"
        f" {second!r}, and no row shows which is meant. {_way_out(gold)}"
    )


def _refuse_all(seen: Sequence[GoldSeen], found: dict[GoldReading, list[int | None]]) -> None:
    """No reading fits: name the row at fault, judged by labels if there are some, otherwise by the reading that fits most rows."""
    n_read = {reading: sum(index is not None for index in indices) for reading, indices in found.items()}
    best: GoldReading = "label" if n_read["label"] else max(found, key=n_read.__getitem__)
    at = next(i for i in range(len(seen)) if found[best][i] is None)
    gold = seen[at]
    fits_other = any(indices[at] is not None for indices in found.values())
    good = next((g for g, index in zip(seen, found[best], strict=True) if index is not None), None)
    if fits_other and good is not None:
        raise _mixed(gold, good, best)
    raise DatasetError(f"{gold.where}: field {gold.field} is {gold.value!r}, but {describe_gold(gold)}")


def _mixed(gold: GoldSeen, other: GoldSeen, reading: GoldReading) -> DatasetError:
    return DatasetError(
        f"{gold.where}: field {gold.field} is {gold.value!r}, which is not {READINGS[reading]}; but {other.value!r} at"
        f" {other.where} is one. All rows must give the right option in the same way. {_way_out(gold)}"
    )


def _way_out(gold: GoldSeen) -> str:
    if gold.closed:
        return "Set task.gold_is to label, index (from 0) or index_from_1, or say in task.label_values which value is which label."
    return "Set task.gold_is to label, text, index (from 0) or index_from_1."


def find_spelled(value: Any, among: tuple[str, ...]) -> int | None:
    """The only one that equals the value: exactly, or else except for case and white space, or else as a number."""
    for written in _spellings(value):
        for manner in _MANNERS:
            found = _index(among, manner).get(manner(written) or "")
            if found is not None:
                return found
    return None


def _strip(text: str) -> str:
    return to_nfc(drop_invisible(text)).strip()


def _write_number(text: str) -> str | None:
    """A number without digits that do not change it: `1` for 1, 1.0 and 01. None if the text is no number."""
    if not _NUMBER.fullmatch(text.strip()):
        return None
    whole, _, rest = text.strip().lstrip("+-").partition(".")
    written = ".".join(filter(None, (whole.lstrip("0") or "0", rest.rstrip("0"))))
    return f"-{written}" if text.strip().startswith("-") and written != "0" else written


_MANNERS: tuple[Callable[[str], str | None], ...] = (_strip, normalize_text, _write_number)
"""How a text is written to be compared, the strictest manner first."""


@lru_cache(maxsize=256)
def _index(texts: tuple[str, ...], manner: Callable[[str], str | None]) -> dict[str, int | None]:
    """Position by text, as this manner writes it. None if several are the same."""
    index: dict[str, int | None] = {}
    for place, text in enumerate(texts):
        if key := manner(text):
            index[key] = None if key in index else place
    return index


def _spellings(value: Any) -> tuple[str, ...]:
    """The ways in which a label that a cell holds may be written: true is also yes and 1."""
    if isinstance(value, bool):
        return ("true", "yes", "1") if value else ("false", "no", "0")
    text = cell_text(value)
    return () if text is None else (text,)


def _find_label(value: Any, options: Options) -> int | None:
    """Understands `(B)`, `B.`, `B) text`, and the name of the option's column."""
    if not isinstance(value, str):
        return None
    if options.columns and (found := find_spelled(value, options.columns)) is not None:
        return found
    match = _DECORATED.fullmatch(value)
    label = find_spelled(match["label"], options.labels) if match else None
    if match is None or label is None:
        return None
    return label if not match["text"] or same_text(match["text"], options.texts[label]) else None


def _find_number(value: Any) -> str | None:
    """The number in a cell. None for booleans and for everything else."""
    return None if isinstance(value, bool) else _write_number(cell_text(value) or "")


def _find_index(value: Any, n_options: int, *, first: int) -> int | None:
    number = _find_number(value) or ""
    if not number.isdigit() or len(number) > 9:
        return None
    index = int(number) - first
    return index if 0 <= index < n_options else None
