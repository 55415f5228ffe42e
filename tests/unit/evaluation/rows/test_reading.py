"""What is settled for all rows of all files: ids, whole numbers, turns, doubts."""

import datetime
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import pytest

from pada_agent.core.config import TaskConfig
from pada_agent.core.errors import DatasetError
from pada_agent.core.raw_rows import RawRow, Settled
from pada_agent.core.records import Example
from pada_agent.evaluation.rows.cells import cell_text, is_empty, parse_nested, write_whole_numbers_as_such
from pada_agent.evaluation.rows.narrow_floats import find_meant
from pada_agent.evaluation.rows.reading import tell_apart
from pada_agent.evaluation.tasks.exact_match import ExactMatch
from tests.unit.evaluation.cases import answer, read_all
from tests.unit.evaluation.rows.test_forms import PLAIN, place, read, shown, task_for, turns


def test_ids_that_repeat_cost_no_row() -> None:
    rows = [{"id": i // 2, "question": f"q{i}", "answer": "a"} for i in range(4)]
    assert [example.id for example in read(rows).examples] == ["0", "0#2", "1", "1#2"]


def test_a_numbered_id_that_is_taken_is_left_to_its_owner() -> None:
    rows = [{"id": name, "question": f"q{i}", "answer": "a"} for i, name in enumerate(["x", "x#2", "x", "x"])]
    assert [example.id for example in read(rows).examples] == ["x", "x#2", "x#3", "x#4"]


def test_settings_say_where_ids_are() -> None:
    rows = [{"id": 7, "row": i, "question": f"q{i}", "answer": "a"} for i in range(2)]
    assert [example.id for example in read(rows, columns={"id": "row"}).examples] == ["0", "1"]


def test_an_id_that_is_no_text_is_no_reason_to_refuse_a_row() -> None:
    row = {"_id": {"$oid": "65f"}, "question": "Open?", "answer": "Yes."}
    without = {name: value for name, value in row.items() if name != "_id"}
    assert read([row]).examples == read([without]).examples
    with pytest.raises(DatasetError, match=r"field '_id' is \{'\$oid': '65f'\}, but expected text"):
        read([row], columns={"id": "_id"})


def test_rows_without_an_id_are_named_by_all_that_they_ask() -> None:
    options = [{"question": "Which?", "choices": [first, "b"], "answer": "b"} for first in ("a", "c")]
    assert len({example.id for example in read(options, name="multiple_choice").examples}) == 2
    talks = [{"messages": [*turns(("user", first), ("assistant", "Hm.")), *PLAIN]} for first in ("Hi", "Ho")]
    assert len({example.id for example in read(talks).examples}) == 2


def test_ids_of_another_file_can_be_kept_apart() -> None:
    examples = [Example(id=i, prompt="p", answer="a") for i in ("1", "2")]
    assert [example.id for example in tell_apart(examples, taken={"1"})] == ["1#2", "2"]


def test_a_column_with_gaps_holds_whole_numbers() -> None:
    rows = [{"question": "q", "answer": 3.0, "id": Decimal("7.0")}, {"question": "r", "answer": 4.0, "id": None}]
    (first, _) = read(rows).examples
    assert (first.answer, first.id) == ("3", "7")
    mixed = [{"question": "q", "answer": 3.0}, {"question": "r", "answer": 4.5}]
    assert [e.answer for e in read(mixed).examples] == ["3.0", "4.5"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (True, "true"),
        (7, "7"),
        (Decimal("12.50"), "12.50"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E+999999"), "1E+999999"),
        (0.25, "0.25"),
        (datetime.date(2026, 5, 1), "2026-05-01"),
        (datetime.datetime(2026, 5, 1, 12, 30), "2026-05-01 12:30:00"),
        (datetime.time(12, 30), "12:30:00"),
        ("é".encode(), "é"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"\xff", None),
        (float("inf"), None),
        (["x"], None),
        ({"x": 1}, None),
        (None, None),
    ],
)
def test_cells_are_text_where_they_hold_one_value(value: Any, text: str | None) -> None:
    assert cell_text(value) == text


@pytest.mark.parametrize("value", [None, float("nan"), Decimal("nan"), "", " \n", "nan", "NaN", "<NA>"])
def test_empty_cells(value: Any) -> None:
    assert is_empty(value, TaskConfig().missing)


@pytest.mark.parametrize("value", [0, False, "None", "NA", "n/a", [], {}])
def test_cells_that_may_mean_something(value: Any) -> None:
    assert not is_empty(value, TaskConfig().missing)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ('["a", 1]', ["a", 1]),
        ("['a', 'b']", ["a", "b"]),
        ('{"a": null}', {"a": None}),
        ("[not a list", "[not a list"),
        ("[" * 50_000, "[" * 50_000),
        ("__import__('os')", "__import__('os')"),
        ("plain", "plain"),
        (5, 5),
    ],
)
def test_lists_and_objects_in_a_cell(value: Any, found: Any) -> None:
    assert parse_nested(value) == found


def test_words_that_count_as_empty_are_a_setting_and_never_a_label() -> None:
    assert read([{"question": "0 / 0 in JavaScript?", "answer": "NaN"}], missing=()).examples[0].answer == "NaN"
    labeled = read(
        [{"question": "q", "answer": "nan"}, {"question": "r", "answer": "ok"}], labels={"nan": "", "ok": ""}
    )
    assert [example.answer for example in labeled.examples] == ["nan", "ok"]


def test_answers_that_may_be_left_of_empty_cells_are_told() -> None:
    rows = [{"question": f"q{i}", "answer": word} for i, word in enumerate(["None", "None", "NA", "\\N", "fine"])]
    assert read(rows).understood.notes == (
        "2 answers are 'None': drop the rows if that is an empty cell",
        "1 answer is 'NA': drop the row if that is an empty cell",
        r"1 answer is '\\N': drop the row if that is an empty cell",
    )
    assert read(rows, labels={"None": "", "NA": "", "\\N": "", "fine": ""}).understood.notes == ()
    decimals = [{"question": f"q{i}", "answer": f"{i}.0"} for i in range(3)]
    assert read(decimals).understood.notes[0].startswith("all answers end in .0")


def test_answers_and_options_that_a_spreadsheet_turned_into_dates_are_told() -> None:
    told = (
        " like what a spreadsheet makes of 1-2 or 3/4, such as '2-Jan': format the column as text there, and restore "
    )
    rows = [
        {"question": f"q{i}", "answer": text} for i, text in enumerate(["2-Jan", "13-15", "04. M\u00e4r", "2 January"])
    ]
    assert read(rows).understood.notes == (f"2 answers or options look{told}them",)
    options = [{"question": "q", "A": "2-Jan", "B": "13-15", "answer": "B"}]
    assert read(options, name="multiple_choice").understood.notes == (f"1 answer or option looks{told}it",)
    assert read(rows, labels=["2-Jan", "13-15", "04. M\u00e4r", "2 January"]).understood.notes == ()


def test_numbers_with_more_digits_than_anybody_writes_are_told() -> None:
    golds = [3.3333333333333335, "0.6666666666666666", "10 / 3\n#### 3.3333333333333335", "0.25", "1/3"]
    (note,) = read(
        [{"question": f"q{i}", "answer": gold} for i, gold in enumerate(golds)], name="numeric"
    ).understood.notes
    assert note.startswith(
        "3 answers have 12 decimals or more, such as 3.3333333333333335. Numbers are compared exactly"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Tom &amp; Ann&#39;s", "1 row contains HTML entities, such as &amp;: decode them ('&'?)"),
        ("x &#x27;y&#x27;", "1 row contains HTML entities, such as &#x27;: decode them (\"'\"?)"),
        *(
            (
                text.encode().decode(encoding, "ignore" if encoding == "cp1252" else "strict"),
                f"1 row contains characters that were read in a wrong encoding, such as {{}} ({meant}?): save the original",
            )
            for text, meant in (("caf\u00e9", "\u00e9"), ("it\u2019s", "\u2019"), ("\u00a35", "\u00a3"), ("\u043f\u043e", "\u043f\u043e"))
            for encoding in ("cp1252", "latin-1")
        ),
        ("AT&T & co; a&b; NÃO, GARÇON, ÂGE, â la, caf\u00e9, \u00c4\u201c, \u00ab\u00d1\u00bb", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("labels", [None, ["a", "b"]])
def test_rows_that_hold_html_or_a_wrong_encoding_are_told(text: str, told: str, labels: list[str] | None) -> None:
    rows = [{"question": f"Is it {text}?", "answer": "a"}, {"question": "Is it plain?", "answer": "b"}]
    notes = read(rows, **({"labels": labels} if labels else {})).understood.notes
    before, _, after = told.partition("{}")
    assert bool(notes) == bool(told) and all(note.startswith(before) and after in note for note in notes)


@pytest.mark.parametrize("column", ["answer", "answers", "labels"])
def test_rows_with_several_answers_are_counted(column: str) -> None:
    rows = [{"question": f"q{i}", column: ["fees", "urgent"][: 1 + i % 2]} for i in range(4)]
    columns = {"answer": column}
    assert read(rows, columns=columns).understood.notes == (
        "2 rows list several answers, such as 'fees' or 'urgent': any one counts as right, and the first is learned",
    )
    assert read(rows[::2], columns=columns).understood.notes == ()
    assert read(rows[:2], columns=columns).understood.notes[0].startswith("1 row lists several answers")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("0.30000000000000004", 0.3),
        ("-19.989999999999995", -19.99),
        ("0.10000000149011612", 0.1),
        ("3.299999952316284", 3.3),
        ("1.0999999999999999e-07", 1.1e-7),
        ("0.3", None),
        ("3.141592653589793", None),
        ("0.3333333333333333", None),
        ("12345678901234567890", None),
        ("1e400", None),
        ("nan", None),
        ("three", None),
    ],
)
def test_digits_left_over_from_computing_are_told_from_digits_that_mean_something(
    text: str, meant: float | None
) -> None:
    assert find_meant(text) == meant


def test_answers_with_digits_left_over_from_computing_are_told() -> None:
    rows = [{"question": f"q{i}", "answer": number} for i, number in enumerate([0.1 + 0.2, 0.1 + 0.7, 0.5])]
    (told,) = read(rows, name="numeric").understood.notes
    assert told == ("2 answers have floating-point rounding errors, such as 0.30000000000000004: round them (0.3?)")


TALK = turns(("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Open?"), ("assistant", "Yes."))


def test_of_several_turns_the_last_answer_is_learned_or_each() -> None:
    rows = place([{"id": "t", "messages": TALK}, {"id": "u", "messages": PLAIN}])
    (last,), (every,) = read_all(task_for(), [rows]), read_all(task_for(), [rows], all_turns=[True])
    assert [shown(e) for e in last.examples] == [("Open?", "Yes.", "Be kind.", "Hi", "Hello."), ("Open?", "Yes.")]
    assert [shown(e) for e in every.examples] == [("Hi", "Hello.", "Be kind."), *(shown(e) for e in last.examples)]
    assert [e.id for e in every.examples] == ["t/1", "t/2", "u"] and (last.expanded, every.expanded) == (False, True)
    assert every.wheres[:2] == ["train.jsonl:1 (answer 1 of 2)", "train.jsonl:1 (answer 2 of 2)"]


@pytest.mark.parametrize("no", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"loss": False}])
def test_an_answer_of_weight_0_is_read_and_never_learned(no: dict[str, Any]) -> None:
    said = [*TALK[:2], {**TALK[2], **no}, TALK[3], {**TALK[4], "weight": 1}]
    (every,) = read_all(task_for(), [place([{"messages": said}])], all_turns=[True])
    assert [shown(e) for e in every.examples] == [("Open?", "Yes.", "Be kind.", "Hi", "Hello.")]
    ends = [*TALK[:4], {**TALK[4], **no}]
    (every,) = read_all(task_for(), [place([{"messages": ends}])], all_turns=[True])
    assert [shown(e) for e in every.examples] == [("Hi", "Hello.", "Be kind.")]
    with pytest.raises(
        DatasetError, match=r"train\.jsonl:1: .*a last answer that is to be learned \(its weight is 0\): remove"
    ):
        read([{"messages": ends}])
    with pytest.raises(DatasetError, match=r"expected 0 or 1 as the weight of a turn \(weight is 0\.5\)"):
        read([{"messages": [*TALK[:4], {**TALK[4], "weight": 0.5}]}])


def test_keys_of_turns_that_nobody_reads_are_told() -> None:
    said = [PLAIN[0], {**PLAIN[1], "reasoning_content": "Hm.", "tool_calls": [], "refusal": None, "weight": 1}]
    assert read([{"messages": said, "source": "web"}]).understood.unused == ("source", "messages[].reasoning_content")


def test_a_draft_keeps_its_sources_place_in_the_conversation() -> None:
    task = task_for()
    source = task.read(place([{"messages": TALK}])[0])
    made = task.compose({"question": "Closed?", "answer": "No."}, source=source, given={}, example_id="s")
    assert isinstance(made, Example) and shown(made) == ("Closed?", "No.", "Be kind.", "Hi", "Hello.")


@pytest.mark.parametrize("name", ["exact_match", "judge", "numeric", "multiple_choice"])
def test_who_writes_judges_and_solves_a_row_sees_what_comes_before_it(name: str) -> None:
    task = task_for(name)
    talk = [*TALK[:3], *turns(("user", "How many?"), ("assistant", "5"))]
    row = (
        {"messages": talk[:4], "answer": "5", "choices": ["5", "6"]}
        if name == "multiple_choice"
        else {"messages": talk}
    )
    example, before = task.read(place([row])[0]), "System: Be kind.\nUser: Hi\nAssistant: Hello."
    assert task.show(example)["earlier_turns"] == before == task.assign(example, [], Random(0))["earlier_turns"]
    posed = task.pose(example, Random(0))
    assert posed is None or posed.question == f"{before}\nUser: How many?"
    other = example.model_copy(update={"history": (), "system": None})
    assert task.misanswer(example, other)["earlier_turns"] == before and "earlier_turns" not in task.show(other)
    assert "earlier_turns" not in task.misanswer(other, example)


def test_a_reader_sees_the_whole_conversation() -> None:
    example = read([{"messages": TALK}]).examples[0]
    assert example.conversation == "System: Be kind.\nUser: Hi\nAssistant: Hello.\nUser: Open?"
    assert read([{"messages": PLAIN}]).examples[0].conversation == "Open?"


def test_a_third_partys_task_gets_turns_and_reports_no_columns() -> None:
    class Own(ExactMatch):
        def __init__(self, config: TaskConfig) -> None:
            super().__init__(config)
            self.fields = {}

        def read(self, row: RawRow) -> Example:
            return Example(id=row.where, prompt=row.fields["messages"][-2]["content"], answer="x")

    (file,) = read_all(Own(TaskConfig(name="own")), [place([{"messages": TALK, "extra": 1}])])
    assert shown(file.examples[0]) == ("Open?", "x", "Be kind.", "Hi", "Hello.") and file.understood.unused == ()


@pytest.mark.parametrize(
    ("row", "accepted"),
    [
        ({"answer": "Paris"}, ["Paris"]),
        ({"answer": ["Paris", "paris ", "City of Light"]}, ["Paris", "City of Light"]),
        ({"answers": '["Paris", "City of Light"]'}, ["Paris", "City of Light"]),
        ({"answers": {"text": ["Paris"], "answer_start": [3]}}, ["Paris"]),
        ({"answer": {"value": "Paris", "aliases": ["City of Light"], "normalized_value": "paris"}}, ["Paris", "City of Light"]),
        ({"answer": {"text": ["Paris", "City of Light"], "answer": "Paris"}}, ["Paris", "City of Light"]),
        ({"answer": '["a", "b"]'}, ['["a", "b"]']),
        ({"answer": True}, ["true"]),
    ],
)  # fmt: skip
def test_several_answers_may_be_right(row: dict[str, Any], accepted: list[str]) -> None:
    task = task_for()
    example = task.read(place([{"question": "Which?", **row}])[0])
    assert example.answer == accepted[0] and task.gold(example) == " / ".join(accepted)
    assert [answer(task, example, text.upper()).value for text in accepted] == ["correct"] * len(accepted)
    assert answer(task, example, "Lyon").value == "wrong"


@pytest.mark.parametrize("value", [[], [None], [["x", object()]], {"other": "x"}])
def test_a_list_without_an_answer_is_refused(value: Any) -> None:
    with pytest.raises(DatasetError, match=r"field 'answer' is .*, but expected one answer, or a list of answers"):
        read([{"question": "Which?", "answer": value}])


def test_parts_of_an_answer_that_are_not_read_are_told() -> None:
    rows = [
        {"question": "How heavy?", "answer": {"value": 5, "unit": "kg", "aliases": ["five"], "normalized_value": "5"}}
    ]
    assert read(rows).understood.unused == ("answer[].unit",)
    spans = {"question": "q", "context": "by two springs", "answers": {"text": ["two springs"], "answer_start": [3]}}
    assert read([spans], name="extractive_qa").understood.unused == ()


@pytest.mark.parametrize("answer", [{"text": "Paris", "value": 2}, {"text": "Rome", "answer": "B"}])
def test_an_answer_under_two_names_is_refused(answer: dict[str, Any]) -> None:
    assert read([{"question": "q", "answer": {"text": "Rome", "answer": "rome"}}]).examples[0].answer == "Rome"
    assert read([{"question": "q", "answer": {"value": 5.0, "text": "5 "}}]).examples[0].answer == "5.0"
    with pytest.raises(DatasetError, match="expected one answer, or a list of answers"):
        read([{"question": "Which?", "answer": answer}])


@pytest.mark.parametrize(
    ("cells", "read_as"),
    [
        (["3.0", "4"], ["3", "4"]),
        (["3.0", 4], ["3", "4"]),
        (["-3.0", 4.0], ["-3", "4"]),
        ([3.0, 4], ["3", "4"]),
        (["3.0", "4.0"], ["3.0", "4.0"]),
        (["3.0", "4.5", "4"], ["3.0", "4.5", "4"]),
        (["3.0", "4", "none of them"], ["3.0", "4", "none of them"]),
        (["1.0", "007"], ["1.0", "007"]),
        (["1.00", "2"], ["1.00", "2"]),
    ],
)
def test_whole_numbers_that_a_spreadsheet_wrote_with_a_point_are_integers(cells: list[Any], read_as: list[str]) -> None:
    rows = [{"question": f"q{i}", "answer": cell} for i, cell in enumerate(cells)]
    (found,) = read_all(task_for(), [place(rows, "train.csv")])
    assert [e.answer for e in found.examples] == read_as


@pytest.mark.parametrize(
    ("where", "cells", "read_as"),
    [
        ("python.jsonl", ["3.0", "3", "2"], ["3.0", "3", "2"]),
        ("python.json.gz[:50%]", ["3.0", "3", "2"], ["3.0", "3", "2"]),
        ("hub:a/python/train", ["3.0", "3", "2"], ["3.0", "3", "2"]),
        ("python.csv", ["3.0", "3", "2"], ["3", "3", "2"]),
        ("python.jsonl", ["3.0", 4], ["3", "4"]),
    ],
)
def test_a_file_that_tells_texts_from_numbers_keeps_its_texts(where: str, cells: list[Any], read_as: list[str]) -> None:
    rows = [{"question": f"q{i}", "answer": cell} for i, cell in enumerate(cells)]
    (file,) = read_all(task_for(), [place(rows, where)])
    assert [e.answer for e in file.examples] == read_as


def test_a_gap_shows_that_a_column_of_texts_was_one_of_integers() -> None:
    task = task_for("multiple_choice", labels=["1", "2"])
    rows = [{"question": "q", "answer": "1.0", "fold": "1.0"}, {"question": "r", "answer": "2.0", "fold": ""}]
    (file,) = read_all(task, [place(rows, "f")])
    assert [e.answer for e in file.examples] == ["1", "2"]
    (tidy,) = write_whole_numbers_as_such([place(rows, "f")], [Settled()])
    assert [row.fields["fold"] for row in tidy] == ["1", ""]


@pytest.mark.parametrize(
    ("train", "validation", "read_as"),
    [
        ([1.0, 0.5], [1.0, 2.0], [["1.0", "0.5"], ["1.0", "2.0"]]),
        ([1.0, 2.0], [1.0, 4], [["1", "2"], ["1", "4"]]),
        (["1.0", "2.0"], ["1.0", "2"], [["1", "2"], ["1", "2"]]),
        (["1.0", "0.5"], ["1.0", "2"], [["1.0", "0.5"], ["1.0", "2"]]),
        ([1.0, 2.0], ["1.0", "2.0"], [["1", "2"], ["1", "2"]]),
        ([1.0, 2.0], ["1.0", "0.5"], [["1.0", "2.0"], ["1.0", "0.5"]]),
    ],
)
@pytest.mark.parametrize("other_name", ["answer", "target"])
def test_whole_numbers_are_written_alike_in_all_files(
    train: list[Any], validation: list[Any], read_as: list[list[str]], other_name: str
) -> None:
    files = [
        place([{"question": f"q{i}", name: value} for i, value in enumerate(values)], f"{name}-{i}")
        for i, (name, values) in enumerate([("answer", train), (other_name, validation)])
    ]
    assert [[e.answer for e in file.examples] for file in read_all(task_for(), files)] == read_as


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ([(3.0, 4.5), (1.0, 2.0)], [("3.0", "4.5"), ("1.0", "2.0")]),
        ([(3.0, 4), (1.0, 2.0)], [("3", "4"), ("1", "2")]),
        ([("3.0", "4"), ("1.0", "2")], [("3", "4"), ("1", "2")]),
        ([("3.0", "4.0", "5.0"), ("1.0", "2.0", "")], [("3.0", "4.0", "5.0"), ("1.0", "2.0")]),
        ([("3.0", "3", "2"), ("1.0", "2", "4")], [("3.0", "3", "2"), ("1.0", "2", "4")]),
        ([(Decimal("3.0"), 3), (1.0, 2.0)], [("3.0", "3"), ("1.0", "2.0")]),
    ],
)
def test_whole_numbers_are_written_alike_in_all_columns_of_options(
    rows: list[tuple[Any, ...]], options: list[tuple[str, ...]]
) -> None:
    named = [{"question": "q", **dict(zip("ABC", row, strict=False)), "answer": "A"} for row in rows]
    (found,) = read_all(task_for("multiple_choice"), [place(named, "train.csv")])
    assert [e.options for e in found.examples] == options


def test_columns_that_are_joined_are_written_each_in_their_own_way() -> None:
    rows = [{"size": 3.0, "price": 0.5, "answer": "a"}, {"size": 4.0, "price": 1.0, "answer": "b"}]
    found = read(rows, columns={"question": ["size", "price"]})
    assert [e.prompt for e in found.examples] == ["3\n\n0.5", "4\n\n1.0"]


@pytest.mark.parametrize("places", [("rows.jsonl", "rows.jsonl"), ("hub:a/b/train[:50%]", "hub:a/b/train[50%:]")])
def test_slices_of_a_file_have_one_form(places: tuple[str, str]) -> None:
    train = [{"prompt": "one", "text": "", "answer": "a"}]
    validation = [{"prompt": "", "text": "other", "answer": "a"}]
    with pytest.raises(DatasetError, match="the question could be 'prompt' or 'text'"):
        read_all(task_for(), [place(train, places[0]), place(validation, places[1])])
    files = read_all(task_for(), [place(train, "a.jsonl"), place(validation, "b.jsonl")])
    assert [file.examples[0].prompt for file in files] == ["one", "other"]
