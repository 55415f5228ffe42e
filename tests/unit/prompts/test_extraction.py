"""Finding JSON in what models write."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pada_agent.core.surrogates import join_surrogates
from pada_agent.prompts.extraction import find_listings, strip_thoughts_around_json

TWO = [{"a": 1}, {"a": 2}]

DAMAGED: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "clean": ('[{"a": 1}, {"a": 2}]', TWO),
    "fenced": ('Sure!\n```json\n[{"a": 1}, {"a": 2}]\n```\nAnything else?', TWO),
    "prose with a footnote": ('As asked [1], here: [{"a": 1}, {"a": 2}]. {Good luck}', TWO),
    "one object a fence": ('```\n{"a": 1}\n```\nand\n```\n{"a": 2}\n```', TWO),
    "one array an item": ('[{"a": 1}]\n[{"a": 2}]', TWO),
    "JSON Lines": ('{"a": 1}\n{"a": 2}\n', TWO),
    "wrapped": ('{"samples": [{"a": 1}, {"a": 2}]}', TWO),
    "wrapped beside a count": ('{"count": 2, "items": [{"a": 1}, {"a": 2}]}', TWO),
    "wrapped by number": ('{"sample_1": {"a": 1}, "sample_2": {"a": 2}}', TWO),
    "wrapped and truncated": ('{"samples": [{"a": 1}, {"a": 2}, {"a"', TWO),
    "trailing commas": ('[{"a": 1,}, {"a": 2,},]', TWO),
    "missing comma": ('[{"a": 1} {"a": 2}]', TWO),
    "single quotes": ("[{'a': 1}, {'a': 2}]", TWO),
    "bare keys and comments": ("[{a: 1}, // first\n{a: 2} /* second */]", TWO),
    "truncated between items": ('[{"a": 1}, {"a": 2},', TWO),
    "truncated within an item": ('[{"a": 1}, {"a": 2}, {"a": "thr', TWO),
    "a broken item between": ('[{"a": 1}, {"a": oops}, {"a": 2}]', TWO),
    "a JSON string": (json.dumps(json.dumps(TWO)), TWO),
    "reasoning first": ('<think>maybe [{"a": 9}]?</think>[{"a": 1}, {"a": 2}]', TWO),
    "Python words": ("[{'a': True, 'b': None}]", [{"a": True, "b": None}]),
    "NaN": ('[{"a": NaN, "b": Infinity, "c": 1e999}]', [{"a": None, "b": None, "c": None}]),
    "raw line break in a string": ('[{"a": "one\ntwo"}]', [{"a": "one\ntwo"}]),
    "raw quotes in a string": ('[{"a": "she said "hi" to me", "b": 1}]', [{"a": 'she said "hi" to me', "b": 1}]),
    "apostrophe in single quotes": ("[{'a': 'it's fine'}]", [{"a": "it's fine"}]),
    "typographic quotes": ("[{“a”: “b”}]", [{"a": "b"}]),
    "a fence inside a string": ('[{"a": "```python\\nx = [1]\\n```"}]', [{"a": "```python\nx = [1]\n```"}]),
    "unknown escape": (r'[{"a": "\(x\)",}]', [{"a": r"\(x\)"}]),
    "lone surrogate": (r'[{"a": "\ud83d"}]', [{"a": "\ufffd"}]),
    "messages are no wrapper": ('{"messages": [{"role": "user"}]}', [{"messages": [{"role": "user"}]}]),
    "missing last brace": ('{"a": "x", "b": "y"', [{"a": "x", "b": "y"}]),
    "cut in a value": ('{"a": "x", "b": "y', [{"a": "x"}]),
    "nothing": ("I cannot help with that.", []),
    "empty": ("", []),
    "numbers only": ("[1, 2]", []),
}


def find_items(text: str) -> list[dict[str, Any]]:
    """Of all listings."""
    return [item for listing in find_listings(text) for item in listing.items]


@pytest.mark.parametrize(("text", "items"), DAMAGED.values(), ids=DAMAGED.keys())
def test_items_are_found_in(text: str, items: list[dict[str, Any]]) -> None:
    assert find_items(text) == items


@pytest.mark.parametrize(
    ("text", "listings"),
    [
        ('[{"a": 1}]', [(1, True, True)]),
        ('{"items": [{"a": 1}, {"a": 2}]}', [(2, True, True)]),
        ('{"a": 1} {"a": 2}', [(1, False, True), (1, False, True)]),
        ('first [{"a": 1}, {"a": 2}], then [{"a": 3}, {"a', [(2, True, True), (1, True, False)]),
        ("a footnote [1] and {}", []),
    ],
)
def test_each_value_is_a_listing(text: str, listings: list[tuple[int, bool, bool]]) -> None:
    assert [(len(found.items), found.is_list, found.complete) for found in find_listings(text)] == listings


@pytest.mark.parametrize(
    "text", ["[" * 20_000, '{"a":' * 20_000, "[{" * 5_000, '["' * 5_000, "9" * 10_000, "{'" * 5_000]
)
def test_hostile_nesting_is_survived(text: str) -> None:
    find_listings(text)


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
"""Control characters are left out of what is read (`prompts.escapes`)."""
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=4,
)


@settings(deadline=None, max_examples=50)
@given(
    st.text()
    | st.text(alphabet="[]{}\"',:\\ntrue1 /*-“”")
    | st.lists(st.sampled_from(["<think>", "</think>", "[", "{", '"', "}", "]", ":", "1", "\x000\x00"])).map("".join)
)
def test_reading_never_raises(text: str) -> None:
    json.dumps([listing.items for listing in find_listings(text)], allow_nan=False).encode()
    strip_thoughts_around_json(text)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.fixed_dictionaries({"q": json_values, "n": st.integers()}), min_size=1, max_size=3))
def test_what_is_valid_is_read_as_it_is(rows: list[dict[str, Any]]) -> None:
    assert find_items(f"```json\n{json.dumps(rows)}\n```") == json.loads(json.dumps(rows))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.fixed_dictionaries({"q": texts, "n": st.integers()}), min_size=1), st.data())
def test_of_a_truncated_array_the_complete_items_stay(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    text = json.dumps(rows)
    found = find_items(text[: data.draw(st.integers(0, len(text)))])
    assert found == rows[: len(found)]


def test_halves_of_characters_are_joined_or_replaced() -> None:
    assert join_surrogates("\ud83d\ude00 and \ud83d") == "\U0001f600 and \ufffd"


def test_a_thought_that_was_cut_off_holds_no_answer() -> None:
    assert find_listings('<think>First: [{"row": 1}, {"row": 2}], too alike. Hmm, let me') == []


@pytest.mark.parametrize(
    "text",
    [
        '[{"row": 1, "q": "What does <think> do in R1, and where is </think>?"}]',
        'Here you are:\n```json\n[{"row": 1, "q": "What does <think> do in R1, and where is </think>?"}]\n```',
        '<think>a tag</think>[{"row": 1, "q": "What does <think> do in R1, and where is </think>?"},]',
    ],
)
def test_marks_of_thoughts_inside_a_string_are_text(text: str) -> None:
    assert find_items(text) == [{"row": 1, "q": "What does <think> do in R1, and where is </think>?"}]


@pytest.mark.parametrize(
    "text",
    [
        '{"a' * 4_000 + '":@',
        '{"a"' * 8_000 + '":@',
        "<think>" * 32_000,
        "[/*" * 32_000,
        "{" * 512_000,
        '["' * 9_000,
        '[{"a": "' + "\\" * 100_000,
        '"' + " " * 100_000 + "x",
        '{"a": "b",' + " " * 50_000 + '"',
        "[1," * 60 + "<think>" * 30_000,
        '[{"row": 1, "q": "x"}, ' * 5_000,
    ],
)
def test_hostile_answers_are_read_in_a_moment(text: str) -> None:
    start = time.thread_time()
    find_listings(text)
    assert time.thread_time() - start < 8
