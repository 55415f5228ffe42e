"""Rows that cannot be read: the line at fault, why, and the way out; the same fault in many rows is one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.core.config import RunConfig, TaskConfig
from pada_agent.core.errors import DatasetError
from pada_agent.evaluation.rows.reading import read_files
from pada_agent.evaluation.tasks.registry import make_task
from tests.unit.evaluation.cases import read_all

ROWS = [{"question": f"Which bin, number {i}?", "answer": ("blue", "green")[i % 2]} for i in range(4)]
TABLE = "".join(f"{row['question'].replace(',', '')},{row['answer']}\n" for row in ROWS)
WAY = r'Write one object on each line, such as \{"question": "…", "answer": "…"\}\.'


def read(folder: Path, name: str, content: str) -> list[dict[str, Any]]:
    (folder / name).write_text(content, encoding="utf-8")
    return [row.fields for row in FileDatasets().read(str(folder / name))]


def read_examples(folder: Path, name: str, content: str) -> list[str]:
    """What `pada check` tells of rows that cannot be read."""
    (folder / name).write_text(content, encoding="utf-8")
    task = make_task(RunConfig.model_validate({"task": {"name": "exact_match"}}).task)
    (file,) = read_files(task, [FileDatasets().read(str(folder / name))])
    return [str(problem) for problem in file.problems]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1} // one\n', rf":1: not valid JSON: there is a comment, which JSON does not have\. Remove it\. {WAY}"),
        ('// mine\n{"a": 1}\n', r":1: not valid JSON: there is a comment"),
        ('{"a": 1}\n# mine\n', r":2: not valid JSON: there is a comment"),
        ('{"a": 1}{"a": 2}, {"a": 3}\n', rf":1: this line contains 3 objects\. {WAY}"),
        ('{"a": 1}\n{"a": "half', r":2: not valid JSON: it ends in the middle of an object\. Is the file cut off"),
        ('{\n  "a": 1\n}\n{\n  "a": 2\n}\n', rf":1: an object spans several lines.* {WAY} Or name the file \.json"),
        ('{"a": 1,\n "b": 2}\n', r":1: an object spans several lines"),
        (
            '{"a": None}\n',
            r":1: not valid JSON: at column 7, 'None}' is not JSON, which writes null, true and false\.",
        ),
        ("{“a”: 1}\n", r":1: not valid JSON: at column \d+, '“a”: 1}' begins with a curly quote"),
        ('{"a": 1,}\n', r":1: not valid JSON: at column \d, there is an extra comma"),
        ("{a: 1}\n", r":1: not valid JSON: at column \d+, a key in double quotes is expected, but there is 'a: 1}'"),
        ('{"a" 1}\n', r":1: not valid JSON: at column \d+, ':' is expected, but there is '1}'"),
        (
            '{"a": "he said "no""}\n',
            r":1: not valid JSON: at column \d+, ',' is expected, but there is 'no\"\"}'\. Is a quote inside",
        ),
        (
            '{"a": "\t"}\n',
            r":1: not valid JSON: at column \d+, a text contains a tab, a line break or another control character",
        ),
        ('{"a": "\\x"}\n', r":1: not valid JSON: at column \d+, a backslash is followed by what JSON does not know"),
        ('{"a": 1} x\n', r":1: not valid JSON: at column \d+, there is something after the end of the value: 'x'"),
        (
            '{"a": ' + "9" * 5_000 + "}\n",
            r":1: not valid JSON: the number 9{20}… has 5,000 digits, and 4,000 is the limit\.",
        ),
        ('{"a": 1}\n{"a": ' + "-" + "9" * 5_000 + "}\n", r":2: not valid JSON: the number -9{19}… has 5,001 digits"),
        ('{"a": ' + "[" * 5_000 + "]" * 5_000 + '}\n{"a": 1}\n', r":1: not valid JSON: it is nested too deeply\."),
        ('{"a": ' + "[" * 100 + "]" * 100 + '}\n{"a": 1}\n', r":1: not valid JSON: it is nested too deeply\."),
        ('"a"\n', r":1: expected an object with named fields, found a text\."),
        ("null\n", r":1: expected an object with named fields, found null\."),
        (
            '{"a": "\\ud83d"}\n',
            r":1: not valid JSON: at column \d+, a text contains \\ud83d, which is half of a character",
        ),
    ],
)
def test_json_that_cannot_be_read_says_why_in_words(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DatasetError, match=rf"/a\.jsonl{message}") as caught:
        read(tmp_path, "a.jsonl", content)
    assert "char " not in str(caught.value) and "Expecting" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('q,a\n1,2\n"open,3\n4,5\n', r":3: not valid CSV: the quote that opens on this line is never closed"),
        ('q,a\n1,2\n"two\nlines",3\nx,"open\n4,5\n', r":5: not valid CSV: the quote that opens on this line is never closed"),
        ('q,a\n"open,3\n4,"five"\n', r":2: not valid CSV: .* is closed on line 3, in the middle of a cell"),
        ('q,a\n"he said "no" once",3\n', r":2: not valid CSV: a cell continues after its closing quote\. .*double"),
        ("q,a\n1,2\none, two,3\n", r":3: 3 values for 2 columns\. Does a cell contain a comma\? Put such cells in quotes"),
        ("q;a\n1;2\none; two;3\n", r":3: 3 values for 2 columns\. Does a cell contain a semicolon\?"),
        ("q,a\n1,2\n3\n", r":3: 1 value for 2 columns\. Is a cell missing here, or does a column's name contain a comma\?"),
        ("Export of May;\n;\nq;a\n1, 2;2\n3;4\n", r":1: 'Export of May;' looks like a title or a comment, and .* seem to be on line 3\. Delete"),
        ("sep=;\nExport of May\nq;a\n1, 2;2\n3, 4;4\n", r":2: 'Export of May' looks like a title .* on line 3"),
        ("Export\n\nq,a\n1,2\n", r":1: 'Export' looks like a title"),
        ("# mine\n#\nq,a\n1,2\n", r":1: '# mine' looks like a title or a comment, .* on line 3"),
        ("q,a\n'1','2'\n'3, 4','5'\n", r": the cells are in single quotes, which CSV reads as text\. Use double quotes"),
        ("'q';'a'\n'1';'2'\n'3';'4'\n", r": the cells are in single quotes"),
        ("__label__a one, two\n__label__b three\n", r": is in fastText's format, not CSV\. Write two columns"),
        ("tool,tool\nx,y\n", r":1: two columns have the same name: tool\. .* put a line with the names above it"),
    ],
)  # fmt: skip
def test_csv_that_cannot_be_read_names_the_line_at_fault(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DatasetError, match=rf"/a\.csv{message}"):
        read(tmp_path, "a.csv", content)


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("my text;label\nhello, a;x\nfoo, b;y\n", ["my text", "label"]),
        ("#,q\n1,a\n2,b\n", ["#", "q"]),
        ("some words\none\ntwo\n", ["some words"]),
        ("q\n'one'\n'two'\n", ["q"]),
        ("q,a\n'one' or 'two',b\n'x',y\n", ["q", "a"]),
        ('all turns\n"[1, 2]"\n"[3, 4]"\n', ["all turns"]),
    ],
)
def test_what_only_looks_like_a_title_or_like_quotes_is_read(tmp_path: Path, content: str, columns: list[str]) -> None:
    assert [list(row) for row in read(tmp_path, "a.csv", content)] == [columns, columns]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.tsv", 'text\tlabel\nGood.\tpos\n"Never again.\tneg\nNot for any price."\tneg\n', "a.tsv:3: a quote joins 2 lines"),
        ("a.tsv", 'text\tlabel\n"Never.\tneg\nFine.\t\n\nNo."\tneg\n', "a.tsv:2: a quote joins 3 lines"),
        ("a.tsv", 'id\ttext\tlabel\n1\t"Never.\tneg\n2\tNo."\tneg\n', "a.tsv:2: a quote joins 2 lines"),
        ("a.csv", 'text;label\r\n"Never again.;neg\r\nNot for any price.";neg\r\n', "a.csv:2: a quote joins 2 lines"),
    ],
)  # fmt: skip
def test_quotes_of_texts_that_join_lines_are_told(tmp_path: Path, name: str, content: str, told: str) -> None:
    with pytest.raises(DatasetError, match=rf"/{told} into one row, .* Put cells that contain a quote, a line break"):
        read(tmp_path, name, content)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.csv", 'text,label\n"Hello,you\nBye",pos\n', "Hello,you\nBye"),
        ("a.csv", 'text;label\n"I waited; in vain.\nNever again.";neg\n', "I waited; in vain.\nNever again."),
        ("a.tsv", 'text\tlabel\n"Hello\nyou"\tpos\n', "Hello\nyou"),
        ("a.tsv", 'text\tlabel\n"a\tb\nc\td"\tpos\n', "a\tb\nc\td"),
        ("a.tsv", 'text\n"Hello\nyou"\n', "Hello\nyou"),
    ],
)
def test_a_cell_over_several_lines_is_one(tmp_path: Path, name: str, content: str, text: str) -> None:
    assert [row["text"] for row in read(tmp_path, name, content)] == [text]


def test_a_row_over_several_lines_is_named_by_the_first(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('q,a\n"one\ntwo",1\n\nx,2\n')
    assert [row.where.rpartition(":")[2] for row in FileDatasets().read(str(tmp_path / "a.csv"))] == ["2", "5"]


def test_texts_that_a_spreadsheet_exports_as_formulas_are_texts(tmp_path: Path) -> None:
    rows = read(tmp_path, "a.csv", 'q,"=""a"""\n"=""007""","=""he said """"no"""""""\n="8",=A1\n')
    assert rows == [{"q": "007", "a": 'he said "no"'}, {"q": "8", "a": "=A1"}]


def test_a_header_between_joined_files_is_no_row(tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", "q,a\n1,2\nq,a\n3,4\n") == [{"q": "1", "a": "2"}, {"q": "3", "a": "4"}]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "q,a\n" + "1,2\n1,2,3\n" * 9, "a.csv:3: 3 values for 2 columns. Does a cell contain a comma? Put such cells in quotes. (9 rows like this: 3, 5, 7, …)"),
        ("a.jsonl", '{"a": 1}\n{"a": \n{"b": \n', "a.jsonl:2: not valid JSON: it ends in the middle of an object. Is the file cut off, or a quote not closed? Write one object on each line, such as {\"question\": \"…\", \"answer\": \"…\"}. (2 rows like this: 2, 3)"),
        ("a.json", '[["a", "b"],\n["c", "d"]]', "a.json:1: expected an object with named fields, found a list. Write one object on each line, such as {\"question\": \"…\", \"answer\": \"…\"}. (2 rows like this: 1, 2)"),
    ],
)  # fmt: skip
def test_the_same_fault_in_many_rows_is_one_line(tmp_path: Path, name: str, content: str, told: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, name, content)
    assert str(caught.value) == f"{tmp_path}/{told}"


def test_different_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, "a.csv", "q,a\n1\n1,2,3\n4\n")
    first, second = str(caught.value).split("\n")
    assert "a.csv:2: 1 value" in first and "(2 rows like this: 2, 4)" in first and "a.csv:3: 3 values" in second


def test_rows_behind_the_limit_are_nobodys_problem(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("q,a\n1,2\n3,4\n5\n")
    assert len(FileDatasets().read(str(tmp_path / "a.csv"), limit=2)) == 2


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"question": [r["question"] for r in ROWS], "answer": [r["answer"] for r in ROWS]}),
        json.dumps({key: {str(i): row[key] for i, row in enumerate(ROWS)} for key in ROWS[0]}),
        json.dumps({str(i): row for i, row in enumerate(ROWS)}, indent=2),
        json.dumps({"columns": list(ROWS[0]), "index": [0, 1, 2, 3], "data": [list(row.values()) for row in ROWS]}),
        json.dumps({"schema": {"fields": []}, "data": ROWS}),
    ],
)
def test_tables_as_pandas_writes_them_are_rows(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, "a.json", content) == ROWS


def test_rows_under_their_ids_are_rows(tmp_path: Path) -> None:
    found = read(tmp_path, "a.json", json.dumps({f"q-{i}": row for i, row in enumerate(ROWS)}))
    assert found == [{"id": f"q-{i}", **row} for i, row in enumerate(ROWS)]
    with_ids = {f"k{i}": {"id": i, **row} for i, row in enumerate(ROWS)}
    assert read(tmp_path, "b.json", json.dumps(with_ids)) == [{"id": i, **row} for i, row in enumerate(ROWS)]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [{"role": "user", "content": "x"}] * 2, "completion": [{"role": "assistant", "content": "y"}] * 2},
        {"question": "x", "choices": ["a", "b"]},
        {"question": {"text": "x"}, "answer": {"text": "y"}},
        {"question": {"text": "x", "lang": "en"}, "answer": {"text": "y", "lang": "en"}},
        {"columns": ["a"], "index": [0], "data": [[1, 2]]},
        {"choices": ["a", "b"], "tags": ["c"]},
    ],
)
def test_what_may_be_one_row_is_one(tmp_path: Path, row: dict[str, Any]) -> None:
    assert read(tmp_path, "a.json", json.dumps(row)) == [row]


@pytest.mark.parametrize("name", ["a.json", "b.json"])
def test_a_file_of_several_splits_is_refused(tmp_path: Path, name: str) -> None:
    content = json.dumps({"train": ROWS, "test": ROWS}, indent=None if name == "a.json" else 1)
    with pytest.raises(
        DatasetError, match=rf"{name}: contains several lists of rows \('train', 'test'\)\. A file contains"
    ):
        read(tmp_path, name, content)


HEADLESS = (
    "The first line looks like a row, not like the names of columns: put a line with the names above it, such as"
    " question,answer; or if these are the names, name the right column in task.columns."
)
LONG = "Please describe in your own words the problem that you had with our service today"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", TABLE, f"a.csv:2: field 'question' is missing; the row has Which bin number 0?, blue. {HEADLESS}"),
        ("a.csv", "1,2\n3,4\n", f"field 'question' is missing; the row has 1, 2. {HEADLESS}"),
        ("a.csv", f"{LONG},Category\nIt broke,neg\n", f"the row has {LONG[:60]}…, Category. Name the right column in task.columns; or if"),
        ("a.csv", "q,a\n3,4\n", "the row has q, a. Name the right column in task.columns; or if the first line is a row already, put"),
        ("a.json", '{"x": {"question": "a"}}', "the row has x. The file is one object, and is read as one row. Write one object"),
        ("a.jsonl", '{"x": 1}\n{"x": 2}\n', "the row has x. Name the right column in task.columns."),
    ],
)  # fmt: skip
def test_a_field_that_is_missing_is_doubted_by_what_the_file_looks_like(
    tmp_path: Path, name: str, content: str, told: str
) -> None:
    problems = read_examples(tmp_path, name, content)
    assert told in problems[0]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", TABLE, f"the columns are Which bin number 0?, blue. {HEADLESS}"),
        ("a.csv", "# mine,x\n3,4\n", "the columns are # mine, x. The first line looks like a comment, not like the names of columns: delete it."),
        ("a.csv", "texts,a\n3,4\n", "the columns are texts, a. Did you mean 'texts'?"),
        ("a.jsonl", '{"x": 1}\n{"x": 2}\n', "the columns are x."),
    ],
)  # fmt: skip
def test_a_column_that_is_missing_is_doubted_by_what_the_file_looks_like(
    tmp_path: Path, name: str, content: str, told: str
) -> None:
    (tmp_path / name).write_text(content)
    task = make_task(TaskConfig(name="exact_match", columns={"question": "text", "answer": "label"}))
    with pytest.raises(DatasetError) as caught:
        read_all(task, [FileDatasets().read(str(tmp_path / name))])
    assert f"task.columns takes question from 'text', but {told}" in str(caught.value)
