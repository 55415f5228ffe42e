"""How rows name the right option: one way for all rows of all files, or a refusal that names two rows."""

from typing import Any

import pytest

from pada_agent.core.errors import DatasetError
from pada_agent.evaluation.rows.options import find_option_columns
from tests.unit.evaluation.cases import read_all
from tests.unit.evaluation.rows.test_forms import place, read, task_for

STARS = ["1 star", "2 stars", "3 stars", "4 stars", "5 stars"]
DIGITS = list("12345")


def labels_of(labels: Any, *files: list[Any], **settings: Any) -> list[list[str]]:
    task = task_for("multiple_choice", labels=labels, **settings)
    rows = [
        place([{"question": f"q{n}", "label": v} for n, v in enumerate(f)], f"f{i}") for i, f in enumerate(files, 1)
    ]
    return [[example.answer for example in file.examples] for file in read_all(task, rows)]


@pytest.mark.parametrize(
    ("labels", "values", "read_as"),
    [
        (["no", "yes"], ["yes", "No "], ["yes", "no"]),
        (["can't pay", "18-25"], ["can\u2019t pay", "18\u201325"], ["can't pay", "18-25"]),
        (["18-25", "18\u201325"], ["18-25", "18\u201325"], ["18-25", "18\u201325"]),
        (["no", "yes"], ["yes\u200b", "\ufeffno"], ["yes", "no"]),
        (["no", "yes"], ["\u202ayes\u202c", "no\u2069"], ["yes", "no"]),
        (["\u2764\ufe0f", "\u2639"], ["\u2764", "\u2639\ufe0f"], ["\u2764\ufe0f", "\u2639"]),
        (["no", "yes"], [0, 1], ["no", "yes"]),
        (["no", "yes"], ["0", "1"], ["no", "yes"]),
        (["no", "yes"], [True, False], ["yes", "no"]),
        (["false", "true"], [True, False], ["true", "false"]),
        (["false", "true"], ["True", "False"], ["true", "false"]),
        (DIGITS, [1, 2, 5], ["1", "2", "5"]),
        (DIGITS, ["1", "2", "5"], ["1", "2", "5"]),
        (DIGITS, [1.0, 2.0, None], None),
        (DIGITS, [1.0, 2.0], ["1", "2"]),
        (DIGITS, ["1.0", "2.0"], ["1", "2"]),
        (STARS, [0, 1, 4], ["1 star", "2 stars", "5 stars"]),
        (STARS, [1, 2, 5], ["1 star", "2 stars", "5 stars"]),
        (STARS, ["1", "5"], ["1 star", "5 stars"]),
        (DIGITS, [1.0, 2, "3.0", "4"], ["1", "2", "3", "4"]),
        (STARS, [0.0, 1.0, 4.0], ["1 star", "2 stars", "5 stars"]),
        (STARS, ["0.0", "1.0", "4.0"], ["1 star", "2 stars", "5 stars"]),
        (STARS, ["1.0", "5.0"], ["1 star", "5 stars"]),
        (["left", "right"], ["1", "2"], ["left", "right"]),
        (["yes", "no"], [1, 2], ["yes", "no"]),
        (["yes", "no", "maybe"], [0, 1, 2], ["yes", "no", "maybe"]),
        (["no", "yes", "maybe"], [0, 1], ["no", "yes"]),
        (["5.0", "4.0", "3.0", "2.0", "1.0"], [1.0, 2.0, 5.0], ["1.0", "2.0", "5.0"]),
        ([5.0, 4.0, 3.0, 2.0, 1.0], ["1", "2.00", "5.0"], ["1.0", "2.0", "5.0"]),
        ([1.0, 0.0], [0.0, 1.0], ["0.0", "1.0"]),
        ([1.0, 0.0], [False, True], ["0.0", "1.0"]),
        (["03", "02", "01"], [1, 3], ["01", "03"]),
        (["-1.0", "-0.5", "0"], [0.0, -0.5, -1], ["0", "-0.5", "-1.0"]),
        (["1.1", "1.10"], ["1.10", "1.1"], ["1.10", "1.1"]),
        (["2", "4", "6", "8"], [2, 4, 8], ["2", "4", "8"]),
        (["caf\u00e9", "bar"], ["cafe\u0301", "bar"], ["caf\u00e9", "bar"]),
        ({"pos": "x"} | {"neg": "y"}, [["pos"], ["neg"]], ["pos", "neg"]),
    ],
)
def test_labels_are_read_in_one_way(labels: Any, values: list[Any], read_as: list[str] | None) -> None:
    if read_as is None:
        with pytest.raises(DatasetError, match="f1:3: field 'label' is empty"):
            labels_of(labels, values)
    else:
        assert labels_of(labels, values) == [read_as]


@pytest.mark.parametrize(
    ("labels", "files", "message"),
    [
        (DIGITS, [[0, 1, 2, 3, 4]], "f1:1: field 'label' is 0, which is not a label; but 1 at f1:2 is one"),
        (DIGITS, [[1, 2], [0]], "f2:1: field 'label' is 0, which is not a label; but 1 at f1:1 is one"),
        (["2", "4", "6", "8"], [[0, 2]], "f1:1: field 'label' is 0, which is not a label; but 2 at f1:2"),
        (STARS, [[1, 2, 4]], "field 'label' is 1, which as a position from 0 is '2 stars' and as a position from 1 is '1 star'"),
        (["no", "yes"], [[1, 1]], "which as a position from 0 is 'yes' and as a position from 1 is 'no'"),
        (STARS, [[0, 1], [5]], "f2:1: field 'label' is 5, which is not a position from 0; but 0 at f1:1 is one"),
        (["yes", "no"], [[0, 1]], "which as a position from 0 is 'yes' and as a binary value is 'no', and no row"),
        (["true", "false"], [["1"]], "which as a position from 0 is 'false' and as a binary value is 'true'"),
        (["Positive", "Negative"], [[0.0]], "as a position from 0 is 'Positive' and as a binary value is 'Negative'"),
        (["yes", "no", "maybe"], [[0], [1]], "as a binary value is 'no', .* or say in task.label_values which value"),
        (["1.0", "2.0", "3.0"], [[0, 1, 2]], "f1:1: field 'label' is 0, which is not a label; but 1 at f1:2 is one"),
        (["neg", "neutral", "pos"], [[0, 1], [-1]], "f2:1: field 'label' is -1, which is not a position, so 0 at f1:1 may not be one either. .* task.label_values"),
        (["neg", "neutral", "pos"], [["1", "-1"]], "f1:2: field 'label' is '-1', which is not a position, so '1' at f1:1"),
        (["low", "mid", "high"], [[0, 0.5, 1.0]], "f1:2: field 'label' is 0.5, which is not a position"),
        (["low", "mid", "high"], [[0, 50, 100]], "f1:2: field 'label' is 50, which is not a position"),
        (["no", "yes"], [["no", 1]], "f1:2: field 'label' is 1, which is not a label; but 'no' at f1:1 is one"),
        (["no", "yes"], [["no"], [0, 1]], "f2:1: field 'label' is 0, which is not a label; but 'no' at f1:1 is one"),
        (["negative", "positive"], [[0, 1, -1]], "f1:3: field 'label' is -1, but .*-1 usually hides a label: drop such rows"),
        (["negative", "positive"], [["0", "1", "-1"]], "f1:3: field 'label' is '-1', but .*-1 usually hides a label"),
        (["bad", "good"], [[True, False]], "field 'label' is True, but the options are bad, good"),
        (["a", "b"], [["c"]], "field 'label' is 'c', but the options are a, b"),
        (["a", "b"], [[["a", "b"]]], r"field 'label' is \['a', 'b'\], but the options are a, b"),
    ],
)  # fmt: skip
def test_labels_that_no_one_reading_fits_are_refused(labels: Any, files: list[list[Any]], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        labels_of(labels, *files)


JOINED = ". Several labels are joined: one label per row is expected"
QUOTED = ". The quote is part of the text: take it out"


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("fees, Delivery", JOINED),
        ("fees|lost card", JOINED),
        ("fees and delivery", JOINED),
        ("'fees', 'delivery'", JOINED),
        (["fees", "delivery"], JOINED),
        ("'fees'", QUOTED),
        ("'lost card", QUOTED),
        ("\u201cfees\u201d", QUOTED),
        ("fees, refund", ""),
        (["fees", {"x": 1}], ""),
        ("refund", ""),
        (",", ""),
    ],
)
def test_labels_that_are_joined_or_in_quotes_are_told(value: Any, hint: str) -> None:
    with pytest.raises(DatasetError) as caught:
        labels_of(["fees", "lost card", "delivery"], ["fees", value])
    assert str(caught.value) == (
        f"f1:2: field 'label' is {value!r}, but the options are fees, lost card, delivery{hint}"
    )


@pytest.mark.parametrize("columns", [{}, {"answer": "topic"}])
def test_a_column_for_each_label_is_told(columns: dict[str, str]) -> None:
    rows = [{"question": f"q{n}", "fees": n, "Lost_card": 1 - n} for n in (0, 1)]
    settings: dict[str, Any] = {"labels": ["fees", "lost card"], "columns": columns}
    for name in ("multiple_choice", "exact_match"):
        with pytest.raises(DatasetError, match="There is a column for each label: write the name of each row's label"):
            read(rows, name=name, **settings)
        labeled = [{**row, "topic": "fees"} for row in rows]
        assert len(read(labeled, name=name, labels=["fees", "lost card"], columns={"answer": "topic"}).examples) == 2


def test_another_file_tells_from_where_positions_count() -> None:
    assert labels_of(STARS, [1, 2], [0, 4]) == [["2 stars", "3 stars"], ["1 star", "5 stars"]]


@pytest.mark.parametrize(
    ("settings", "values", "read_as"),
    [
        ({"gold_is": "index_from_1"}, [1, 2], ["1 star", "2 stars"]),
        ({"gold_is": "index"}, [1, 2], ["2 stars", "3 stars"]),
        ({"label_values": {"good": "5 stars", "bad": "1 star"}}, ["good", "Bad"], ["5 stars", "1 star"]),
        ({"label_values": {-1: "1 star", 0: "3 stars", 1: "5 stars"}}, [-1, 0, 1], ["1 star", "3 stars", "5 stars"]),
        ({"label_values": {0: "5 stars", 1: "1 star"}}, [1, "0"], ["1 star", "5 stars"]),
        ({"label_values": {True: "5 stars", False: "1 star"}}, [True, False], ["5 stars", "1 star"]),
    ],
)
def test_settings_say_how_labels_are_given(settings: dict[str, Any], values: list[Any], read_as: list[str]) -> None:
    assert labels_of(STARS, values, **settings) == [read_as]


@pytest.mark.parametrize("settings", [{"gold_is": "index"}, {"label_values": {"0": "yes", "1": "no"}}])
def test_settings_say_that_0_and_1_are_positions(settings: dict[str, Any]) -> None:
    assert labels_of(["yes", "no"], [0, 1], **settings) == [["yes", "no"]]


def test_exact_match_reads_labels_alike() -> None:
    rows = [{"question": "a", "label": 0}, {"question": "b", "label": 1}]
    assert [e.answer for e in read(rows, labels=["no", "yes"]).examples] == ["no", "yes"]
    with pytest.raises(DatasetError, match="which is not a label"):
        read([{"question": "a", "label": "no"}, {"question": "b", "label": 1}], labels=["no", "yes"])


def gold_of(choices: Any, *answers: Any, **settings: Any) -> list[str]:
    rows = [{"question": f"q{n}", "choices": choices, "answer": answer} for n, answer in enumerate(answers)]
    return [example.answer for example in read(rows, name="multiple_choice", **settings).examples]


@pytest.mark.parametrize(
    ("choices", "answers", "read_as"),
    [
        (["x", "y"], ["B"], ["y"]),
        (["x", "y"], ["b", "A"], ["y", "x"]),
        (["x", "y"], ["(B)"], ["y"]),
        (["x", "y"], ["B."], ["y"]),
        (["x", "y"], ["B) y", "A: x"], ["y", "x"]),
        (["x", "y"], [["A"]], ["x"]),
        (["x", "y"], ["y"], ["y"]),
        (["x", "y"], [0], ["x"]),
        (["x", "y", "z"], [0, 2], ["x", "z"]),
        (["x", "y", "z"], [1, 3], ["x", "z"]),
        (["2", "4", "6", "8"], ["2"], ["2"]),
        (["2", "4", "6", "8"], [2, 6], ["2", "6"]),
        ([10, 20], [10], ["10"]),
        ([10, 20], ["A"], ["10"]),
        ([True, "x"], ["A"], None),
        (["paris", "Paris"], ["Paris"], ["Paris"]),
        (["same", "same"], ["A"], ["same"]),
        ('["x", "y"]', ["B"], ["y"]),
        ("['x', 'y']", ["B"], ["y"]),
        ('{"A": "x", "B": "y", "C": null}', ["B"], ["y"]),
        ({"label": ["1", "2"], "text": ["x", "y"]}, ["1"], ["x"]),
        ({"label": ["1", "2"], "text": ["x", "y"]}, [1, 2], ["x", "y"]),
        ({"id": ["B", "A"], "text": ["x", "y"]}, ["A"], ["y"]),
        ([{"id": "B", "text": "x"}, {"id": "A", "text": "y"}], ["A", "(B)"], ["y", "x"]),
        ([{"id": n, "text": t} for n, t in ((2, "x"), (0, "y"), (1, "z"))], [0, 1], ["y", "z"]),
        ([{"letter": "b", "text": "x"}, {"letter": "a", "text": "y"}], ["A"], ["y"]),
        ([{"label": "B", "text": "x", "id": 71}, {"label": "A", "text": "y", "id": 70}], ["A"], ["y"]),
        ([{"id": "q7-1", "text": "x"}, {"id": "q7-2", "text": "y"}], ["B"], ["y"]),
        ([{"text": "x", "is_correct": False}, {"text": "y", "is_correct": True}], ["B"], ["y"]),
        (["A) x", "B) y"], ["B", "A"], ["B) y", "A) x"]),
        (["1. x", "2. y", "3. z"], [0, 2], ["1. x", "3. z"]),
        (["3. May", "1. June"], ["B"], ["1. June"]),
        (["B) x", "A) y"], ["A) y"], ["A) y"]),
        ({"label": ["A", "B", "C"], "text": ["C. elegans", "E. coli", "B. subtilis"]}, ["B"], ["E. coli"]),
        (["E. coli", "B. subtilis"], ["A"], ["E. coli"]),
        ({"label": ["A", "B"], "text": ["x", "y"], "source": ["w"]}, ["B"], ["y"]),
        ([{"text": "x", "votes": 1}, {"text": "y", "votes": 7}], [1, 0], ["y", "x"]),
        ([{"label": "A", "text": "x", "rank": 2}, {"label": "B", "text": "y", "rank": 1}], [1, 0], ["y", "x"]),
    ],
)
def test_the_right_option_is_read_in_one_way(choices: Any, answers: list[Any], read_as: list[str] | None) -> None:
    if read_as is None:
        with pytest.raises(DatasetError, match="expected strings"):
            gold_of(choices, *answers)
    else:
        assert gold_of(choices, *answers) == read_as


def test_ids_that_count_all_options_of_a_file_are_no_labels() -> None:
    rows = [
        {"question": f"q{n}", "choices": [{"id": 3 * n + i, "text": f"{n}.{i}"} for i in range(3)], "answer": n % 3}
        for n in range(4)
    ]
    assert [e.answer for e in read(rows, name="multiple_choice").examples] == ["0.0", "1.1", "2.2", "3.0"]


@pytest.mark.parametrize(
    ("choices", "answers", "message"),
    [
        (["2", "4", "6", "8"], [2], "which as an option's text is '2' and as a position from 0 is '6'"),
        (["1", "2", "3", "4"], [2], "which as an option's text is '2' and as a position from 0 is '3'"),
        (["x", "y", "z"], [1], "which as a position from 0 is 'y' and as a position from 1 is 'x'"),
        (["B", "A", "C"], ["A"], "which as a label is 'B' and as an option's text is 'A'"),
        (
            ["x", "y"],
            ["A", "y"],
            "train.jsonl:2: field 'answer' is 'y', which is not a label; but 'A' at train.jsonl:1",
        ),
        (["x", "y"], ["y", 0], "train.jsonl:2: field 'answer' is 0, which is not"),
        ({"label": ["1", "2"], "text": ["x", "y"]}, [0, 1], "field 'answer' is 0, which is not a label; but 1 at"),
        (["x", "y"], ["A, B"], "field 'answer' is 'A, B', but the options are A, B"),
        (["x", "y"], ["B) x"], "field 'answer' is 'B\\) x', but the options are A, B"),
        (["x", "y"], [2.5], "field 'answer' is 2.5, but the options are A, B"),
        (["x"], ["A"], "expected a list of two or more options"),
        ([{"label": "B", "text": "x"}, {"text": "y"}], ["B"], "expected a label for each option"),
        ([{"id": "B", "text": "x"}, {"id": "B", "text": "y"}], ["B"], "expected a different id for each option"),
        ({"label": ["A"], "text": ["x", "y"]}, ["A"], "expected as many labels as texts"),
        (
            ["B) x", "A) y"],
            ["(A)"],
            r"field 'answer' is '\(A\)', but it could mean two options \('B\) x' or 'A\) y'\): give each option as",
        ),
        (["A) x", "C) y", "z"], ["C"], r"it could mean two options \('z' or 'C\) y'\)"),
        (["2) x", "1) y"], [1, 2], r"it could mean two options \('2\) x' or '1\) y'\)"),
        ([{"name": "B", "text": "x"}, {"name": "A", "text": "y"}], ["A"], "it could mean two options"),
        ([{"value": n, "text": f"t{n}"} for n in (2, 0, 1)], [0], r"it could mean two options \('t2' or 't0'\)"),
        (
            [{"text": "x", "is_correct": False}, {"text": "y", "is_correct": True}],
            ["A"],
            r"field 'answer' is 'A', but the options mark another one as right \('y'\): correct the row",
        ),
        ([f"o{n}" for n in range(30)], ["AC"], r"the options are A, B, .*L, … \(30\)"),
    ],
)
def test_right_options_that_no_one_reading_fits_are_refused(choices: Any, answers: list[Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        gold_of(choices, *answers)


def test_settings_say_whether_a_letter_is_that_of_an_options_text() -> None:
    assert gold_of(["B) x", "A) y"], "A", gold_is="label") == ["B) x"]
    with pytest.raises(DatasetError, match="it could mean two options"):
        read([{"question": "Which?", "A": "B) x", "B": "A) y", "answer": "A"}], name="multiple_choice")


def test_keys_of_options_that_are_not_read_are_told() -> None:
    options = [{"id": "B", "text": "x", "why": "it is not"}, {"id": "A", "text": "y", "is_correct": True, "hint": ""}]
    row = {"question": "Which?", "options": options, "answer": "A", "source": "web"}
    assert read([row], name="multiple_choice").understood.unused == ("source", "options[].why")


@pytest.mark.parametrize(("way", "found"), [("text", "2"), ("index", "6"), ("index_from_1", "4")])
def test_settings_say_how_the_right_option_is_given(way: str, found: str) -> None:
    assert gold_of(["2", "4", "6", "8"], 2, gold_is=way) == [found]


@pytest.mark.parametrize(
    ("row", "options", "right"),
    [
        ({"A": "x", "B": "y", "C": "z", "D": "", "answer": "B"}, ("x", "y", "z"), "y"),
        ({"option_a": "x", "option_b": "y", "answer": "b"}, ("x", "y"), "y"),
        ({"option_a": "x", "option_b": "y", "answer": "option_b"}, ("x", "y"), "y"),
        ({"Option 1": "x", "Option 2": "y", "answer": "2"}, ("x", "y"), "y"),
        ({"option1": 10, "option2": 20, "answer": 1}, ("10", "20"), "10"),
        ({"ending0": "x", "ending1": "y", "ending2": "z", "label": 0}, ("x", "y", "z"), "x"),
        ({"opa": "x", "opb": "y", "opc": "z", "answer": "c"}, ("x", "y", "z"), "z"),
        ({"answerA": "x", "answerB": "y", "label": "A"}, ("x", "y"), "x"),
        ({"options": {"A": "x", "B": "y"}, "answer_idx": "B", "answer": "y"}, ("x", "y"), "y"),
    ],
)
def test_options_may_have_a_column_each(row: dict[str, Any], options: tuple[str, ...], right: str) -> None:
    example = read([{"question": "Which?", **row}], name="multiple_choice").examples[0]
    assert (example.options, example.answer) == (options, right)


def test_settings_name_the_columns_of_options() -> None:
    row = {"question": "Which?", "first": "x", "other": "y", "answer": "y"}
    file = read([row], name="multiple_choice", columns={"choices": ["first", "other"]})
    assert (file.examples[0].options, file.understood.unused) == (("x", "y"), ())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"A": "x", "B": "", "answer": "A"}, "field 'choices' is missing"),
        ({"option1": "x", "option2": "y", "option4": "z", "answer": "1"}, "field 'choices' is missing"),
    ],
)
def test_columns_of_options_with_holes_are_refused(row: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read([{"question": "Which?", **row}], name="multiple_choice")


@pytest.mark.parametrize(
    ("values", "way_out"),
    [
        (["fees", "lost card", "no", "caf\u00e9"] * 2, ": [caf\u00e9, fees, lost card, 'no']"),
        ([1, 0, 1, 0], ": ['0', '1']"),
        ([f"l{i:02}" for i in range(11)] * 2, f": [{', '.join(f'l{i:02}' for i in range(10))}, \u2026] (11 in all)"),
        (["a", "b", "c"], ""),
        (["same"] * 4, ""),
        ([f"answer {i}" for i in range(201)] * 2, ""),
    ],
)
def test_rows_without_options_lead_to_the_labels(values: list[Any], way_out: str) -> None:
    rows = [{"text": f"q{n}", "topic": value} for n, value in enumerate(values)]
    with pytest.raises(DatasetError) as caught:
        read(rows, name="multiple_choice", columns={"question": "text", "answer": "topic"})
    assert str(caught.value) == (
        "train.jsonl:1: field 'choices' is missing; the row has text, topic. Name the right column in task.columns."
        f" If all rows have the same options, list them in task.labels{way_out}"
    )


def test_rows_of_a_benchmark_are_not_led_to_labels() -> None:
    with pytest.raises(DatasetError) as caught:
        read([{"ctx": "q", "label": 0}], name="hellaswag")
    assert "task.labels" not in str(caught.value)


def test_an_option_that_is_empty_before_others_is_refused() -> None:
    rows = [{"question": "q", "A": "x", "B": b, "C": "z", "answer": "A"} for b in ("y", "")]
    with pytest.raises(DatasetError, match=r"train.jsonl:2: field 'A' \+ 'B' \+ 'C' is .* expected some text in 'B'"):
        read(rows, name="multiple_choice")


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["question", "answer", "id"], ()),
        (["a", "b", "answer"], ()),
        (["A", "B", "Q"], ("A", "B")),
        (["choice_1", "choice_2", "A", "B", "C"], ("A", "B", "C")),
        (["op1", "op2", "op3"], ("op1", "op2", "op3")),
        (["score1", "score2"], ()),
    ],
)
def test_columns_of_options_are_known_by_their_names(names: list[str], columns: tuple[str, ...]) -> None:
    assert find_option_columns(names) == columns


def test_a_readers_choice_is_told() -> None:
    assert read(
        [{"question": "q", "label": 0}, {"question": "r", "label": 1}], labels=["no", "yes"]
    ).understood.gold == ("the right option is given as a position from 0")


@pytest.mark.parametrize(
    ("choices", "options"),
    [
        (["ruler ", "\nbalance"], ("ruler", "balance")),
        ([{"label": "A", "text": " ruler"}, {"label": "B", "text": "balance\u00a0"}], ("ruler", "balance")),
        (["    print(1)", "print(1)"], ("    print(1)", "print(1)")),
        (["same", "same "], ("same", "same ")),
    ],
)
def test_spaces_around_options_are_left_out_unless_they_tell_them_apart(choices: Any, options: tuple[str, ...]) -> None:
    rows = [{"question": "Which?", "choices": choices, "answer": "A"}]
    assert read(rows, name="multiple_choice").examples[0].options == options
    if isinstance(choices[0], str):
        columns = [{"question": "Which?", "A": choices[0], "B": choices[1], "answer": "A"}]
        assert read(columns, name="multiple_choice").examples[0].options == options
