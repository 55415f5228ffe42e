"""The options of a row: a list, a list of labels and texts, JSON in a cell, or one column per option."""

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from pada_agent.evaluation.rows.cells import KEEPS_LISTS, cell_text, is_broken_list, is_empty, parse_nested, to_nfc
from pada_agent.evaluation.verifiers.option_label import label_at

_NUMBERED = re.compile(r"(?P<stem>[^\W\d_]*(?:[ _-][^\W\d_]+)*?)[ _-]?(?P<place>[A-Za-z]|\d{1,2})")
_STEMS = ("", "option", "choice", "opt", "op", "answer", "ending", "sol", "alternative")
"""What columns of options are called, before their letter or number; bare letters are in capitals."""


class Options(NamedTuple):
    """A row's options, in order."""

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    has_labels: bool = False
    """Whether the row gives the labels. Otherwise they are A, B, C …"""
    columns: tuple[str, ...] = ()
    """The options' columns, if each option has one of its own."""
    are_numbers: bool = False
    """Whether the options are numbers rather than texts."""


class OptionsProblem(Exception):
    """What is wrong with a row's options. The text completes a sentence after `but`."""


def find_option_columns(names: Sequence[str]) -> tuple[str, ...]:
    """Columns such as `A` to `D`, `option_1` to `option_4` or `ending0` to `ending3`. The longest such series, if there are several."""
    stems: dict[str, dict[str, str]] = {}
    for name in names:
        match = _NUMBERED.fullmatch(name.strip())
        if match and (match["stem"] or match["place"].isupper()):
            stems.setdefault(match["stem"].strip(" _-").casefold(), {})[match["place"].casefold()] = name
    rows = [_take_in_order(stems[stem], whole=bool(stem)) for stem in _STEMS if stem in stems]
    return max(rows, key=len, default=())


def read_options(value: Any) -> Options:
    """Options from one cell: a list of texts, a list of `{label, text}`, or `{label: […], text: […]}` (ARC on the hub).

    Raises:
        OptionsProblem: it is anything else, has fewer than two options or an empty one, or repeats a label.
    """
    found = parse_nested(value)
    if isinstance(found, Mapping):
        found = _pair_up(found)
    listed = list(found) if isinstance(found, list | tuple) else []
    if is_broken_list(found):
        raise OptionsProblem(f"expected a list that can be read: {KEEPS_LISTS}")
    if len(listed) < 2:
        raise OptionsProblem("expected a list of two or more options")
    pairs = [(o.get("label"), o.get("text")) if isinstance(o, Mapping) else (None, o) for o in listed]
    texts = tuple(_read_text(text) for _, text in pairs)
    labels = tuple(label_at(i) if label is None else to_nfc(str(label)).strip() for i, (label, _) in enumerate(pairs))
    if len(set(labels)) < len(labels):
        raise OptionsProblem("expected a different label for each option")
    return Options(
        labels=labels,
        texts=texts,
        has_labels=any(label is not None for label, _ in pairs),
        are_numbers=all(isinstance(text, int | float) for _, text in pairs),
    )


def read_option_columns(fields: Mapping[str, Any], columns: Sequence[str], missing: Sequence[str] = ()) -> Options:
    """Options from one column each. The last ones may be empty.

    Raises:
        OptionsProblem: there are fewer than two options, or an empty one comes before a filled one.
    """
    values = [fields.get(column) for column in columns]
    while values and is_empty(values[-1], missing):
        values.pop()
    if len(values) < 2:
        raise OptionsProblem(f"expected two or more options in {', '.join(columns)}")
    if blank := [column for column, value in zip(columns, values, strict=False) if is_empty(value, missing)]:
        raise OptionsProblem(f"expected some text in {blank[0]!r}, before options that are filled")
    places = [_place_of(column) for column in columns[: len(values)]]
    labels = tuple(place.upper() for place in places if place)
    has_labels = len(labels) == len(values) == len(set(labels))
    return Options(
        labels=labels if has_labels else tuple(map(label_at, range(len(values)))),
        texts=tuple(map(_read_text, values)),
        has_labels=has_labels,
        columns=tuple(columns[: len(values)]),
        are_numbers=all(isinstance(value, int | float) for value in values),
    )


def _take_in_order(by_place: Mapping[str, str], *, whole: bool) -> tuple[str, ...]:
    """The columns a, b, c … or 0, 1, 2 … or 1, 2, 3 … At least two; if `whole`, they must be all there are."""
    first = next((place for place in ("a", "0", "1") if place in by_place), None)
    if first is None:
        return ()
    following = (chr(ord(first) + i) if first == "a" else str(int(first) + i) for i in range(26))
    row = list(takewhile(by_place.__contains__, following))
    return tuple(by_place[p] for p in row) if len(row) >= 2 and (len(row) == len(by_place) or not whole) else ()


def _place_of(column: str) -> str | None:
    match = _NUMBERED.fullmatch(column.strip())
    return match["place"] if match else None


def _pair_up(found: Mapping[str, Any]) -> list[Any]:
    """`{label: […], text: […]}`, or labels mapped to texts, as a list of pairs."""
    if isinstance(found.get("text"), list | tuple):
        labels, texts = list(found.get("label") or ()), list(found["text"])
        if len(labels) != len(texts):
            raise OptionsProblem("expected as many labels as texts")
        return [{"label": label, "text": text} for label, text in zip(labels, texts, strict=True)]
    filled = {label: text for label, text in found.items() if not is_empty(text)}
    return [{"label": label, "text": text} for label, text in filled.items()]


def _read_text(value: Any) -> str:
    text = None if isinstance(value, bool) else cell_text(value)
    if text is None or not text.strip():
        raise OptionsProblem("expected strings, or {label, text} with some text")
    return to_nfc(text)
