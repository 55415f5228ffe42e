"""Lists and objects that a CSV file holds as text: as JSON, and as Python and NumPy show them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import RowError
from pada_agent.core.raw_rows import RawRow
from pada_agent.core.records import Example
from pada_agent.evaluation.rows.cells import is_broken_list, parse_nested
from pada_agent.evaluation.tasks.registry import make_task

LAKE = {"question": "What feeds the lake?", "context": "The lake is fed by two springs."}


def read(task: str, fields: dict[str, Any], **settings: Any) -> Example:
    made = make_task(TaskConfig(name=task, **settings))
    row = RawRow(where="rows.csv:2", fields=fields)
    return made.read(row.model_copy(update={"settled": made.settle([[row]])[0]}))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("['Paris' 'City of Light']", ["Paris", "City of Light"]),
        ("[\"it's\"\n 'two\\nlines' None]", ["it's", "two\nlines", None]),
        ("{'text': array(['two springs'], dtype=object), 'n': array([19])}", {"text": ["two springs"], "n": [19]}),
        ("{'text': array([], dtype=object)}", {"text": []}),
        ("[array(['a'], dtype='<U1') array(['b'], dtype='<U1')]", [["a"], ["b"]]),
        ("[['a' 'b']\n ['c' 'd']]", [["a", "b"], ["c", "d"]]),
        ("[{'role': 'user', 'content': \"it's me\"}\n {'role': 'assistant'}]",
         [{"role": "user", "content": "it's me"}, {"role": "assistant"}]),
        ("[np.str_('A'), np.int64(-3)]", ["A", -3]),
        ("[1 2]", [1, 2]),
    ],
)  # fmt: skip
def test_arrays_are_read_as_lists(text: str, found: Any) -> None:
    assert parse_nested(text) == found and not is_broken_list(text)


@pytest.mark.parametrize(
    "text",
    [
        "['a' 'b' ... 'z']",
        "['a', 'b' 'c']",
        "['it''s']",
        "array(['a'])",
        "{['a']: 1}",
        "{'a': 'x' 'y'}",
        "['a\n b']",
        "['a', # b\n]",
        "[open('x') 'a']",
        "['a']]]] 'b']",
    ],
)
def test_what_is_unclear_stays_text(text: str) -> None:
    assert parse_nested(text) == text


@given(st.text(alphabet="[]{}()'\",.:# \n\\1ab", max_size=20))
def test_no_cell_breaks_the_reader(text: str) -> None:
    parse_nested(f"[{text}")
    parse_nested(f"{{{text}")


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4))
def test_lists_of_texts_come_back(texts: list[str]) -> None:
    assert parse_nested(f"[{' '.join(map(repr, texts))}]") == texts == parse_nested(str(texts))


@pytest.mark.parametrize("cell", ['["Paris", "City of Light"]', "['Paris' 'City of Light']"])
@pytest.mark.parametrize(
    ("column", "columns"),
    [("answers", {}), ("Answers", {}), (" ANSWERS", {}), ("gold", {"answers": "gold"})],
)
def test_a_column_of_answers_holds_lists_by_any_spelling(column: str, columns: dict[str, Any], cell: str) -> None:
    example = read("exact_match", {"question": "Capital?", column: cell}, columns=columns)
    assert (example.answer, example.reference["answers"]) == ("Paris", ["Paris", "City of Light"])
    passage = {"question": "Capital?", "context": "Paris, the City of Light", column: cell}
    assert read("squad", passage, columns=columns).reference["answers"] == ["Paris", "City of Light"]


def test_in_another_column_a_text_is_one_answer() -> None:
    for fields, columns in (
        ({"answer": '["a", "b"]'}, {}),
        ({"gold": '["a", "b"]'}, {"answer": "gold"}),
        ({"gold": '["a", "b"]', "answers": "c"}, {"answer": "gold"}),
    ):
        assert read("exact_match", {"question": "q", **fields}, columns=columns).answer == '["a", "b"]'


@pytest.mark.parametrize("column", ["answers", "answer"])
def test_squad_rows_may_come_from_to_csv(column: str) -> None:
    arrays = "{'text': array(['two springs'], dtype=object), 'answer_start': array([19], dtype=int32)}"
    for cell in (arrays, "{'text': ['two springs'], 'answer_start': [19]}"):
        assert read("squad", {**LAKE, column: cell}).answer == "two springs"
    for cell in (
        "{'text': [], 'answer_start': []}",
        '{"text": [], "answer_start": []}',
        "{'text': array([], dtype=object)}",
    ):
        assert read("squad_v2", {**LAKE, column: cell}).reference["answers"] == []
        with pytest.raises(RowError, match=r"expected an answer\. If questions may have none"):
            read("squad", {**LAKE, column: cell})


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        ("exact_match", {"question": "q", "answers": "['a' 'b' ... 'z']"}),
        ("squad", {**LAKE, "answers": "{'text': array(['a', ..., 'z'], dtype=object)}"}),
        ("multiple_choice", {"question": "q", "choices": "['a', 'b' 'c']", "answer": "a"}),
        ("exact_match", {"messages": "[{'role': 'user', 'content': 'q'} ... {'role': 'assistant', 'content': 'a'}]"}),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_with_the_way_out(task: str, fields: dict[str, Any]) -> None:
    with pytest.raises(RowError, match=r"^rows\.csv:2: .* save the rows as JSON Lines or Parquet"):
        read(task, fields)


def test_options_and_turns_may_be_arrays() -> None:
    options = "{'text': array(['a0', 'b0'], dtype=object), 'label': array(['A', 'B'], dtype=object)}"
    for cell in (options, "['a0' 'b0']"):
        example = read("multiple_choice", {"question": "q", "choices": cell, "answer": "B"})
        assert (example.options, example.answer) == (("a0", "b0"), "b0")
    turns = "[{'role': 'user', 'content': \"it's q\"}\n {'role': 'assistant', 'content': 'a'}]"
    example = read("exact_match", {"messages": turns})
    assert (example.prompt, example.answer) == ("it's q", "a")


def test_texts_in_brackets_are_answers() -> None:
    for text in ("[MASK]", "[1] Smith", "[laughs] no"):
        assert read("exact_match", {"question": "q", "answers": text}).answer == text
