"""Finding JSON in what models write."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pada_agent.prompts.extraction import extract_items, extract_json

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


@pytest.mark.parametrize(("text", "items"), DAMAGED.values(), ids=DAMAGED.keys())
def test_items_are_found_in(text: str, items: list[dict[str, Any]]) -> None:
    assert extract_items(text) == items


def test_a_number_alone_is_its_value() -> None:
    assert extract_json(" 7 ") == 7


@pytest.mark.parametrize(
    "text", ["[" * 20_000, '{"a":' * 20_000, "[{" * 5_000, '["' * 5_000, "9" * 10_000, "{'" * 5_000]
)
def test_hostile_nesting_is_survived(text: str) -> None:
    extract_items(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=4,
)


@settings(deadline=None, max_examples=50)
@given(st.text() | st.text(alphabet="[]{}\"',:\\ntrue1 /*-“”"))
def test_extraction_never_raises(text: str) -> None:
    extract_items(text)
    json.dumps(extract_json(text), allow_nan=False).encode()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.dictionaries(st.text(max_size=8), json_values, min_size=1, max_size=3), min_size=1, max_size=3))
def test_what_is_valid_is_read_as_it_is(rows: list[dict[str, Any]]) -> None:
    assert extract_json(f"```json\n{json.dumps(rows)}\n```") == json.loads(json.dumps(rows))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.fixed_dictionaries({"q": st.text(), "n": st.integers()}), min_size=1), st.data())
def test_of_a_truncated_array_the_complete_items_stay(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    text = json.dumps(rows)
    found = extract_items(text[: data.draw(st.integers(0, len(text)))])
    assert found == rows[: len(found)]


DRAFTS = 'First: [{"row": 1, "q": "draft"}, {"row": 2, "q": "draft"}], too alike. '
FINAL = '[{"row": 1, "q": "one"}, {"row": 2, "q": "two"}]'


@pytest.mark.parametrize(
    "text",
    [
        f"<think>{DRAFTS}</think>\n{FINAL}",
        f"{DRAFTS}\n</think>\n\n{FINAL}",
        f"{DRAFTS}\n</think>\n\n```json\n{FINAL}\n```",
        f"[THINK]{DRAFTS}[/THINK]{FINAL}",
        f"<reasoning>{DRAFTS}</reasoning>{FINAL}",
        f"<|channel|>analysis<|message|>{DRAFTS}<|end|><|start|>assistant<|channel|>final<|message|>{FINAL}",
        f"Thinking: {DRAFTS}\n\nAnswer:\n{FINAL}",
        f"{DRAFTS}\n\nRevised version:\n```json\n{FINAL}\n```",
    ],
)
def test_of_drafts_and_a_final_version_the_final_one_counts(text: str) -> None:
    assert [item["q"] for item in extract_items(text, expect=2)] == ["one", "two"]


def test_a_thought_that_was_cut_off_is_no_answer() -> None:
    assert extract_items(f"<think>{DRAFTS} Hmm, let me", expect=2) == []


def test_marks_of_thoughts_inside_a_string_are_text() -> None:
    items = [{"row": 1, "q": "What does <think> do in R1, and where is </think>?"}]
    for text in (json.dumps(items), f"Here you are:\n```json\n{json.dumps(items)}\n```"):
        assert extract_items(text, expect=1) == items


def test_of_surplus_rows_of_one_list_all_are_given_in_order() -> None:
    rows = [{"row": n} for n in range(1, 6)]
    assert extract_items(json.dumps(rows), expect=3) == rows


def test_of_two_loose_objects_where_one_was_asked_for_the_last_counts() -> None:
    assert extract_items('Maybe {"a": 1}. No: {"a": 2}', expect=1) == [{"a": 2}]


@pytest.mark.parametrize(
    "text",
    ['{"a' * 4_000 + '":@', '{"a' * 8_000 + '":@', "<think>" * 32_000, "[/*" * 10_000, "{" * 30_000, '["' * 9_000],
)
def test_hostile_answers_are_read_in_a_moment(text: str) -> None:
    start = time.perf_counter()
    extract_items(text, expect=2)
    assert time.perf_counter() - start < 5
