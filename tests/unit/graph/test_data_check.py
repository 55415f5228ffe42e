"""What rows have against them is told at once, by file and line; what would mean nothing stops."""

import json
from pathlib import Path
from typing import Any

import pytest

from pada_agent.core.config_files import parse_config
from pada_agent.core.errors import ArtifactError, DatasetError, LeakageError
from pada_agent.evaluation.rows.findings import ERRORS, Finding, blame, stop, warn
from pada_agent.evaluation.tasks.registry import make_task
from pada_agent.graph.data_check import CheckedData, check_run_data, refuse
from pada_agent.prompts.prompted_model import PromptedModel
from tests.fakes import MemoryDatasets, ScriptedModel

Rows = list[dict[str, Any]]

LABELS = {"refund": "", "delivery": "", "other": ""}
MANY = {"task": {"name": "exact_match"}}


def label(split: str, labels: list[str]) -> Rows:
    return [{"question": f"{split} writes message number {i}", "answer": text} for i, text in enumerate(labels)]


def check(memory: dict[str, Rows], **settings: Any) -> CheckedData:
    data = {**{name: f"memory:{name}" for name in memory}, **settings.pop("data", {})}
    values = {"task": {"name": "multiple_choice", "labels": LABELS}, "data": data, **settings}
    config = parse_config(values, origin="test")
    task = make_task(config.task, PromptedModel(ScriptedModel([])))
    return check_run_data(config, {}, datasets=MemoryDatasets(memory), task=task)


def leave_out_sizes(findings: list[Finding]) -> list[Finding]:
    """What is found beside that there are few rows, as in most of these examples."""
    return [finding for finding in findings if "an accuracy on so few" not in finding.text]


GOOD = {
    "train": label("train", ["refund", "delivery", "other", "refund"]),
    "validation": label("validation", ["refund", "delivery", "other"]),
    "test": label("test", ["delivery", "refund"]),
}


def test_good_rows_have_nothing_against_them() -> None:
    checked = check(GOOD)
    assert leave_out_sizes(checked.findings) == []
    assert checked.labels["train"] == {"refund": 2, "delivery": 1, "other": 1}


def ask(*pairs: tuple[str, str]) -> Rows:
    return [{"question": question, "answer": answer} for question, answer in pairs]


CASES: dict[str, tuple[dict[str, Rows], dict[str, Any], list[Finding]]] = {
    "one label": (
        {"train": label("train", ["refund"] * 3)},
        {},
        [
            stop(
                "memory:train: all 3 rows have the label 'refund': there is nothing to tell apart. Add rows of every label,"
                " or name the column of the label in task.columns"
            ),
            warn("memory:validation: labels that no training row has: 'delivery' 1 row, 'other' 1 row"),
            warn("memory:test: labels that no training row has: 'delivery' 1 row"),
        ],
    ),
    "sorted, with a limit": (
        {"train": label("train", ["refund"] * 12 + ["other"] * 9 + ["delivery"])},
        {"data": {"train_limit": 11, "validation_limit": 3}},
        [
            stop(
                "memory:train: the first 11 rows have no row of 2 labels that come further down ('other' 9, 'delivery' 1):"
                " the file is sorted. Set data.shuffle to a seed, such as 0"
            ),
            warn("memory:validation: labels that no training row has: 'delivery' 1 row, 'other' 1 row"),
            warn("memory:test: labels that no training row has: 'delivery' 1 row"),
        ],
    ),
    "few rows, by a limit": (
        {"train": label("train", ["refund", "delivery", "refund", "other"])},
        {"data": {"train_limit": 3}},
        [
            warn(
                "memory:train: the first 3 rows have no row of 1 label that comes further down ('other' 1): it takes few rows,"
                " or the file is sorted. Set data.shuffle to a seed, such as 0"
            ),
            warn("memory:validation: labels that no training row has: 'other' 1 row"),
        ],
    ),
    "held-out rows sorted, with a limit": (
        {"validation": label("validation", ["refund", "delivery", "delivery", "other"])},
        {"data": {"validation_limit": 3}},
        [
            warn(
                "memory:validation: data.validation_limit leaves out all rows of 1 label (other): it takes few rows, or"
                " the file is sorted. Set data.shuffle to a seed, such as 0, or raise the limit"
            )
        ],
    ),
    "labels that are never learned": (
        {"train": label("train", ["other", "delivery"]), "test": label("test", ["refund", "refund"])},
        {},
        [
            warn("memory:validation: labels that no training row has: 'refund' 1 row"),
            stop(
                "memory:test: no row has a label of the training rows ('refund'; training rows have 'other', 'delivery')."
                " Use files of the same task"
            ),
            warn("memory:test: all 2 rows have the label 'refund': a student that always gives this label looks good"),
        ],
    ),
    "a label that only settings know": (
        {
            "train": label("train", ["refund", "delivery"]),
            "validation": label("validation", ["refund", "delivery"]),
        },
        {},
        [warn("task.labels: no training or validation row has 'other'")],
    ),
    "held-out rows of one label": (
        {"validation": label("validation", ["refund"] * 39 + ["other"] * 2)},
        {},
        [
            warn(
                "memory:validation: 39 of 41 rows have the label 'refund': a student that always gives this label looks good"
            )
        ],
    ),
    "rows that appear twice, under other ids": (
        {"train": [{**row, "id": i} for i, row in enumerate([*GOOD["train"], *GOOD["train"][:2]])]},
        {},
        [
            warn(
                "memory:train: 2 rows repeat an earlier row (memory:train:5 = memory:train:1, memory:train:6 ="
                " memory:train:2) and were dropped"
            )
        ],
    ),
    "rows that appear twice, refused": (
        {"test": [*GOOD["test"], GOOD["test"][0]]},
        {"data": {"on_duplicate": "error"}},
        [
            stop(
                "memory:test: 1 row repeats an earlier row (memory:test:3 = memory:test:1). Drop it, or set"
                " data.on_duplicate to drop"
            )
        ],
    ),
    "contradictions": (
        {"train": [*GOOD["train"], {**GOOD["train"][0], "answer": "other"}]},
        {},
        [
            warn(
                "memory:train: 1 of 5 rows repeats the question of an earlier row with another right answer (memory:train:5 ="
                " memory:train:1)"
            )
        ],
    ),
    "the question is in a column that is not read": (
        {"train": ask(("Translate.", "un"), ("Translate.", "deux"), ("Sum.", "1"), ("Sum.", "2"))},
        MANY,
        [
            stop(
                "memory:train: 2 of 4 rows repeat the question of an earlier row with another right answer (memory:train:2 ="
                " memory:train:1, memory:train:4 = memory:train:3). Is a part of the question in another column? A list in"
                " task.columns joins columns"
            )
        ],
    ),
    "every question is the same": (
        {"train": ask(("Translate.", "un"), ("Translate.", "deux"), ("Translate.", "trois"))},
        MANY,
        [stop("memory:train: all 3 rows have the same question. Name the columns of the question in task.columns")],
    ),
    "every answer is the same": (
        {"train": ask(*[(f"What is thing {i} like?", "red") for i in range(8)])},
        MANY,
        [
            stop(
                "memory:train: the right answer is 'red' in all 8 rows: there is nothing to tell apart. Name the column of"
                " the answer in task.columns"
            )
        ],
    ),
    "every answer of a first try is the same": (
        {"train": ask(("How?", "red"), ("Why?", "red"), ("When?", "red"))},
        MANY,
        [
            warn(
                "memory:train: the right answer is 'red' in all 3 rows: there is nothing to tell apart. Name the column of"
                " the answer in task.columns"
            )
        ],
    ),
    "validation rows that repeat each other": (
        {"validation": [GOOD["validation"][0]] * 3},
        {},
        [
            warn(
                "memory:validation: 2 rows repeat an earlier row (memory:validation:2 = memory:validation:1,"
                " memory:validation:3 = memory:validation:1) and were dropped"
            ),
            stop(
                "memory:validation: at least 2 validation rows are needed, found 1 when 2 rows that repeat others are dropped"
            ),
        ],
    ),
    "training rows in held-out files": (
        {
            "train": [
                *GOOD["train"],
                GOOD["test"][0],
                {**GOOD["validation"][1], "question": "VALIDATION writes message number 1!"},
            ]
        },
        {},
        [
            stop(
                "memory:train: 2 of 6 rows are also in validation or test (memory:train:5 = memory:test:1, memory:train:6 ="
                " memory:validation:2). Remove them, or set data.on_overlap to drop",
                "leak",
            )
        ],
    ),
    "training rows in held-out files, dropped": (
        {"train": [*GOOD["train"], GOOD["test"][0]]},
        {"data": {"on_overlap": "drop"}},
        [
            warn(
                "memory:train: 1 of 5 rows is also in validation or test (memory:train:5 = memory:test:1) and was dropped"
            )
        ],
    ),
    "validation rows in test": (
        {"validation": [*GOOD["validation"], GOOD["test"][0]]},
        {},
        [
            stop(
                "memory:validation: 1 of 4 rows is also in test (memory:validation:4 = memory:test:1). Remove it, or set"
                " data.on_overlap to drop",
                "leak",
            )
        ],
    ),
    "validation is test": (
        {"validation": GOOD["test"]},
        {"data": {"on_overlap": "drop"}},
        [
            stop(
                "memory:validation: all 2 rows are also in test (memory:validation:1 = memory:test:1, memory:validation:2 ="
                " memory:test:2). Use other rows",
                "leak",
            ),
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_told(name: str) -> None:
    rows, settings, expected = CASES[name]
    assert leave_out_sizes(check({**GOOD, **rows}, **settings).findings) == expected


@pytest.mark.parametrize(
    ("n_validation", "n_test", "told"),
    [
        (50, 50, []),
        (
            2,
            0,
            ["memory:validation: only 2 validation rows: an accuracy on so few is uncertain by up to ±41 points"],
        ),
        (49, 1, ["memory:validation: only 49 validation rows: ", "memory:test: only 1 test row: "]),
    ],
)
def test_too_few_rows_to_measure_on_are_told(n_validation: int, n_test: int, told: list[str]) -> None:
    rows = {"train": GOOD["train"], "validation": label("v", ["refund", "other"] * 30)[:n_validation]}
    rows |= {"test": label("t", ["other", "refund"] * 30)[:n_test]} if n_test else {}
    texts = [finding.text for finding in check(rows).findings if "an accuracy on so few" in finding.text]
    assert len(texts) == len(told) and all(map(str.startswith, texts, told))
    assert all(text.endswith("points (95% interval). Use 100 or more") for text in texts)


def test_all_rows_that_cannot_be_read_are_told_with_what_else_there_is() -> None:
    train = [*GOOD["train"], *[{"question": f"{i}?", "answer": "refnd"} for i in range(20)], GOOD["train"][0]]
    checked = check({**GOOD, "train": train, "test": [*GOOD["test"], {"question": "!", "answer": ""}]})
    texts = [finding.text for finding in checked.findings if finding.stops]
    assert texts == [
        "memory:train:5: field 'answer' is 'refnd', but the options are refund, delivery, other (20 rows like this: 5, 6, 7, …)",
        "memory:test:3: field 'answer' is empty: ''. Fill it in, or drop the row.",
    ]
    assert next(f.text for f in checked.findings if not f.stops).startswith("memory:train: 1 row repeats")


def test_files_that_are_not_there_are_told_together() -> None:
    checked = check({"validation": GOOD["validation"]}, data={"train": "no.jsonl", "test": "none.csv"})
    stops = [finding.text for finding in checked.findings if finding.stops]
    assert [text.partition(":")[0] for text in stops] == ["no.jsonl", "none.csv"]


def test_a_question_asked_of_several_passages_is_the_same_only_with_its_passage() -> None:
    def read(split: str, names: list[str]) -> Rows:
        return [
            {"question": "Who signed?", "context": f"{split}: {name} signed.", "answers": {"text": [name]}}
            for name in names
        ]

    rows = {"train": read("a", ["Ann", "Bo"]), "validation": read("b", ["Cy", "Di"]), "test": read("c", ["Ed"])}
    task = {"task": {"name": "squad"}}
    assert [f for f in check(rows, **task).findings if f.stops] == []
    rows["train"] += rows["test"]
    assert [f.kind for f in check(rows, **task).findings if f.stops] == ["leak"]


def chat(*texts: str, system: str | None = None) -> dict[str, Any]:
    said = [("assistant" if i % 2 else "user", text) for i, text in enumerate(texts)]
    said = [("system", system), *said] if system else said
    return {"messages": [{"role": role, "content": text} for role, text in said]}


def list_leaks(train: Rows, validation: Rows, name: str = "exact_match") -> list[str]:
    """Beginnings of the findings on rows that are in both files."""
    found = check({"train": train, "validation": validation}, task={"name": name}).findings
    return [f.text.partition(" (")[0] for f in found if f.kind == "leak"]


def test_a_chat_is_the_same_only_with_its_earlier_turns() -> None:
    train = [chat(f"Order {i}", "Cancel it?", "Yes please.", f"Done {i}.") for i in range(3)]
    validation = [chat(f"Order {i}", "Cancel it?", "Yes please.", f"Done {i}.") for i in range(3, 6)]
    assert list_leaks(train, validation) == []
    again = chat("order 7!", "cancel  it?", "Yes, please", "Gone.")
    assert list_leaks([*train, again], [*validation, chat("ORDER 7", "Cancel it", "yes, please!", "Ok.")]) == [
        "memory:train: 1 of 4 rows is also in validation or test"
    ]


def choose(question: str, options: str, right: str) -> dict[str, Any]:
    return {"question": question, "choices": [f"option {o}" for o in options], "answer": "ABC"[options.index(right)]}


@pytest.mark.parametrize("answers", ["text", "label"])
def test_the_order_of_options_makes_no_other_row(answers: str) -> None:
    task = {"task": {"name": "multiple_choice", "answers": answers}}
    held_out = {"validation": [choose(f"{i}?", "xyz", "y") for i in range(2)], "test": [choose("Test?", "xyz", "x")]}
    train = [choose("Which?", "xyz", "y"), choose("Which?", "xyw", "y"), choose("0?", "xyw", "w")]
    assert leave_out_sizes(check({**held_out, "train": train}, **task).findings) == []
    train += [choose("0?", "zxy", "y"), choose("TEST", "yzx", "z")]
    train += [choose("Which?", "yzx", "y"), choose("Which?", "zxy", "x")]
    assert leave_out_sizes(check({**held_out, "train": train}, **task).findings) == [
        warn("memory:train: 1 row repeats an earlier row (memory:train:6 = memory:train:1) and was dropped"),
        warn(
            "memory:train: 1 of 6 rows repeats the question of an earlier row with another right answer (memory:train:7 ="
            " memory:train:1)"
        ),
        stop(
            "memory:train: 2 of 6 rows are also in validation or test (memory:train:4 = memory:validation:1, memory:train:5"
            " = memory:test:1). Remove them, or set data.on_overlap to drop",
            "leak",
        ),
    ]


def test_system_turns_count_where_they_tell_rows_of_a_file_apart() -> None:
    def read(names: str, system: str = "Text {}") -> Rows:
        return [chat("Sum it up.", f"{name}.", system=system.format(name)) for name in names]

    assert list_leaks(read("abc"), read("def")) == []
    assert list_leaks(read("abc"), read("cde")) == ["memory:train: 1 of 3 rows is also in validation or test"]
    other = [chat("Why?", "So.", system="Be brief."), chat("How?", "Thus.", system="Be brief.")]
    assert list_leaks([chat("Why?", "So."), chat("Who?", "I.")], other) == [
        "memory:train: 1 of 2 rows is also in validation or test"
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [("10 + 3 = ?", "10 - 3 = ?"), ("n < 5", "n > 5"), ("What is C?", "What is C++?"), ("It came 😍", "It came 😡")],
)
def test_signs_make_another_question(one: str, other: str) -> None:
    train, validation = ask((one, "1"), ("Train?", "2")), ask((other, "3"), ("Validation?", "4"))
    assert list_leaks(train, validation) == []
    assert list_leaks(train, ask((f" {one.upper()} ", "1"), ("Validation?", "4"))) != []


def test_contradictions_are_found_whatever_the_case() -> None:
    alike = ask(("Where is it?", "a"), ("where is it ", "b"), ("Why?", "a"), ("why", "b"))
    rows = {"train": alike, "validation": ask(("0?", "a"), ("1?", "b"))}
    assert leave_out_sizes(check(rows, **MANY).findings) == [
        warn(
            "memory:train: 2 of 4 rows repeat the question of an earlier row, ignoring case and punctuation, with another"
            " right answer (memory:train:2 = memory:train:1, memory:train:4 = memory:train:3)"
        )
    ]


def test_greetings_of_conversations_repeat_rightly() -> None:
    def talk(last: str, answer: str) -> dict[str, Any]:
        return chat("Hi", "Hello.", last, answer)

    rows = {"train": [talk("Open?", "Yes."), talk("Far?", "No.")], "validation": [talk("0?", "a"), talk("1?", "b")]}
    checked = check(rows, task={"name": "exact_match", "turns": "all"})
    assert [e.prompt for e in checked.files["train"].examples] == ["Hi", "Open?", "Hi", "Far?"]
    assert leave_out_sizes(checked.findings) == []


def test_a_conversation_that_is_there_twice_is_a_repeated_row_though_all_its_answers_are_learned() -> None:
    first, other = chat("Hi", "Hello.", "Open?", "Yes."), chat("Hi", "Hello.", "Far?", "No.")
    rows = {
        "train": [first, other, chat("Late?", "No."), first, chat("Late?", "No.")],
        "validation": [chat("0?", "a"), chat("1?", "b")],
    }
    checked = check(rows, task={"name": "exact_match", "turns": "all"})
    assert [e.prompt for e in checked.files["train"].examples] == ["Hi", "Open?", "Hi", "Far?", "Late?"]
    assert leave_out_sizes(checked.findings) == [
        warn(
            "memory:train: 2 rows repeat an earlier row (memory:train:4 = memory:train:1, memory:train:5 = memory:train:3)"
            " and were dropped"
        )
    ]
    (found,) = [
        f
        for f in check(rows, task={"name": "exact_match", "turns": "all"}, data={"on_duplicate": "error"}).findings
        if f.stops
    ]
    assert "2 rows repeat an earlier row" in found.text


def test_of_an_array_on_one_line_only_the_rows_of_another_file_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps([*GOOD["train"], GOOD["test"][0]]))
    checked = check(GOOD, data={"train": str(tmp_path / "train.json"), "on_overlap": "drop"})
    assert len(checked.files["train"].examples) == len(GOOD["train"])


def on_passages(first: int, n_passages: int, n_rows: int) -> Rows:
    """Rows on the passages from `first` on, one after the other."""
    return [
        {"question": f"What is {first} {i}?", "context": f"Passage {first + i % n_passages}.", "answers": ["Passage"]}
        for i in range(n_rows)
    ]


@pytest.mark.parametrize(
    ("train", "validation", "told"),
    [
        ((0, 20, 20), (100, 20, 20), ()),
        ((0, 20, 20), (100, 2, 6), ()),
        ((0, 20, 20), (100, 10, 20), ("20 rows ask about 10 passages. ",)),
        ((0, 20, 20), (18, 20, 20), ()),
        ((0, 20, 20), (5, 20, 20), ("15 of 20 rows ask about passages that are also in the training rows",)),
    ],
)
def test_rows_that_share_passages_are_told(
    train: tuple[int, int, int], validation: tuple[int, int, int], told: tuple[str, ...]
) -> None:
    rows = {"train": on_passages(*train), "validation": on_passages(*validation)}
    found = [f for f in check(rows, task={"name": "extractive_qa"}).findings if "passage" in f.text]
    assert len(found) == len(told) and not any(f.stops for f in found)
    assert all(f"memory:validation: {text}" in f.text for f, text in zip(found, told, strict=True))


def test_one_error_tells_all_that_stops() -> None:
    with pytest.raises(LeakageError, match=r"^one\ntwo$"):
        refuse([stop("one", "leak"), warn("not this"), stop("two", "leak")])
    for kind, error in ERRORS.items():
        with pytest.raises(error, match=r"^one$") as alone:
            refuse([stop("one", kind)])
        assert type(alone.value) is error and blame(alone.value) == stop("one", kind)
    assert blame(ArtifactError("one")) == stop("one", "settings")
    with pytest.raises(DatasetError, match=r"^one\ntwo$") as caught:
        refuse([stop("one", "leak"), stop("two")])
    assert not isinstance(caught.value, LeakageError)
    with pytest.raises(DatasetError, match="… and 3 more problems: see all with `pada check`"):
        refuse([stop(f"problem {i}") for i in range(15)])
    refuse([warn("nothing that stops")])
