"""The options of a row: a list, a list of labels and texts, JSON in a cell, or one column per option."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from pada_agent.evaluation.rows.cells import KEEPS_LISTS, cell_text, is_broken_list, is_empty, parse_nested, to_nfc
from pada_agent.evaluation.verifiers.option_label import label_at

_NUMBERED = re.compile(r"(?P<stem>[^\W\d_]*(?:[ _-][^\W\d_]+)*?)[ _-]?(?P<place>[A-Za-z]|\d{1,2})")
_STEMS = ("", "option", "choice", "opt", "op", "answer", "ending", "sol", "alternative")
"""What columns of options are called, before their letter or number; bare letters are in capitals."""
_LABELS = ("label", "letter", "key", "id", "option")
"""Keys of options that may hold their label."""
_MAX_LABEL = 3
"""Longer ids and the like are no labels, unless the key is `label`."""
_MARKS = ("is_correct", "correct")
"""Keys of options that say whether they are right."""
_BEGINS = re.compile(r"\s*[(\[]?(?P<label>[A-Za-z]|\d{1,2})(?:[)\]]|:(?=\s)|(?P<initial>\.)(?=\s))\s*\S")
"""A text that begins with its own label, such as `B) ruler`."""


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
    other_names: tuple[tuple[str, ...], ...] = ()
    """What else may name the options, each in their order: other keys, unless they hold amounts such as votes, and the
    labels that texts begin with. Empty where there is none. Names that count the options in order are left out."""
    marked: tuple[int, ...] = ()
    """0-based indices of the options that are marked as right."""


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

    The label may also be called `letter`, `key`, `id` or `option`.

    Raises:
        OptionsProblem: it is anything else, has fewer than two options or an empty one, or leaves out or repeats a label.
    """
    found = parse_nested(value)
    if isinstance(found, Mapping):
        found = _pair_up(found)
    listed = list(found) if isinstance(found, list | tuple) else []
    if is_broken_list(found):
        raise OptionsProblem(f"expected a list that can be read: {KEEPS_LISTS}")
    if len(listed) < 2:
        raise OptionsProblem("expected a list of two or more options")
    parts: list[Mapping[Any, Any]] = [option if isinstance(option, Mapping) else {"text": option} for option in listed]
    texts = _strip(tuple(_read_text(part.get("text")) for part in parts))
    keys = dict.fromkeys(key for part in parts for key in part if key != "text")
    names = {key: tuple(_read_name(part.get(key)) for part in parts) for key in keys}
    label = _find_label_key(parts)
    labels = names.pop(label) if label else tuple(map(label_at, range(len(texts))))
    names = {key: found for key, found in names.items() if not _are_amounts(found, has_labels=label is not None)}
    if "" in labels:
        raise OptionsProblem(f"expected a {label} for each option")
    if len(set(labels)) < len(labels):
        raise OptionsProblem(f"expected a different {label} for each option")
    return Options(
        labels=labels,
        texts=texts,
        has_labels=label is not None,
        are_numbers=all(isinstance(part.get("text"), int | float) for part in parts),
        other_names=_list_other_names([*names.values(), _find_own_labels(texts, labels)]),
        marked=tuple(
            i for i, part in enumerate(parts) if any(part.get(key) in (True, "true", "True") for key in _MARKS)
        ),
    )


def list_unread_keys(value: Any) -> Iterator[str]:
    """Keys of options that hold something and are not read, such as `explanation`."""
    found = parse_nested(value)
    parts = [part for part in found if isinstance(part, Mapping)] if isinstance(found, list | tuple) else []
    read = ("text", _find_label_key(parts), *_MARKS)
    for part in parts:
        yield from (str(key) for key, held in part.items() if key not in read and not is_empty(held))


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
    labels = labels if has_labels else tuple(map(label_at, range(len(values))))
    texts = _strip(tuple(map(_read_text, values)))
    return Options(
        labels=labels,
        texts=texts,
        has_labels=has_labels,
        columns=tuple(columns[: len(values)]),
        are_numbers=all(isinstance(value, int | float) for value in values),
        other_names=_list_other_names([_find_own_labels(texts, labels)]),
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
    """`{label: […], text: […]}`, or labels mapped to texts, as a list of options."""
    if isinstance(found.get("text"), list | tuple):
        n = len(found["text"])
        lists = {key: value for key, value in found.items() if isinstance(value, list | tuple)}
        if any(len(value) != n for key, value in lists.items() if key in _LABELS):
            raise OptionsProblem("expected as many labels as texts")
        lists = {key: value for key, value in lists.items() if len(value) == n}
        return [dict(zip(lists, part, strict=True)) for part in zip(*lists.values(), strict=True)]
    filled = {label: text for label, text in found.items() if not is_empty(text)}
    return [{"label": label, "text": text} for label, text in filled.items()]


def _find_label_key(parts: Sequence[Mapping[Any, Any]]) -> str | None:
    """The key that holds the labels, if there is one."""
    for key in _LABELS:
        names = list(filter(None, (_read_name(part.get(key)) for part in parts)))
        if names and (key == "label" or all(len(name) <= _MAX_LABEL for name in names)):
            return key
    return None


def _list_other_names(names: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    return tuple(found for found in names if any(found) and not _counts_in_order(found))


def _counts_in_order(names: Sequence[str]) -> bool:
    """Whether the names that are there are A, B, C … or 0, 1, 2 … or 1, 2, 3 … in the order of the options."""
    places = range(len(names))
    orders = ([label_at(i).casefold() for i in places], [str(i) for i in places], [str(i + 1) for i in places])
    return any(
        all(name in ("", place) for name, place in zip(map(str.casefold, names), order, strict=True))
        for order in orders
    )


def _are_amounts(found: Sequence[str], *, has_labels: bool) -> bool:
    """Whether these are numbers that do not number the options, as votes; a rank is none either if there are labels."""
    if not all(map(str.isdecimal, found)):
        return False
    places = range(len(found))
    return has_labels or {int(number) for number in found} not in ({*places}, {place + 1 for place in places})


def _find_own_labels(texts: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
    """The labels that texts begin with, empty where there is none. Initials (`E. coli`) count only if all texts begin with a label."""
    begins = [_BEGINS.match(text) for text in texts]
    if sorted(match["label"] for match in begins if match) == sorted(labels):
        return tuple(match["label"] for match in begins if match)
    return tuple(match["label"] if match and not match["initial"] else "" for match in begins)


def _read_name(value: Any) -> str:
    return "" if is_empty(value) else to_nfc(str(value)).strip()


def _strip(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Without spaces around texts, which make an option unlikely to be chosen, unless nothing else tells two apart."""
    stripped = tuple(text.strip() for text in texts)
    return stripped if len(set(stripped)) == len(set(texts)) else texts


def _read_text(value: Any) -> str:
    text = None if isinstance(value, bool) else cell_text(value)
    if text is None or not text.strip():
        raise OptionsProblem("expected strings, or {label, text} with some text")
    return to_nfc(text)
