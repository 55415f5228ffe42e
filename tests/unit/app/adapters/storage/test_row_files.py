"""Files as spreadsheets, scripts and the hub write them."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.core.errors import DatasetError

ROWS = [{"q": "Which bin?", "a": "blue"}, {"q": "And jars?", "a": "green"}]
CSV = "q,a\nWhich bin?,blue\nAnd jars?,green\n"


def read(folder: Path, name: str, content: str | bytes) -> list[dict[str, Any]]:
    return [row.fields for row in FileDatasets().read(write(folder, name, content))]


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
PRETTY = json.dumps(ROWS, indent=2)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.ndjson", LINES),
        ("a.json", LINES),
        ("a.JSONL", LINES),
        ("a.jsonl", LINES.replace("\n", "\r\n")),
        ("a.jsonl", f"\n\n{LINES}\n"),
        ("a.jsonl", "\ufeff" + LINES),
        ("a.jsonl", LINES.replace("\n", "\n\ufeff", 1)),
        ("a.jsonl", LINES.encode("utf-16")),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("a.json", json.dumps(ROWS)),
        ("a.jsonl", json.dumps(ROWS)),
        ("a.json", PRETTY),
        ("a.json", "\ufeff" + PRETTY),
        ("a.json.gz", gzip.compress(PRETTY.encode(), mtime=0)),
        ("a.json", json.dumps({"version": 1, "data": ROWS}, indent=1)),
        ("a.json", json.dumps({"train": ROWS})),
        ("a.json", "".join(json.dumps(row, indent=2) + "\n" for row in ROWS)),
        ("a.csv", CSV),
        ("a.CSV", CSV),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("a.csv", "\ufeff" + CSV.replace("\n", "\r\n")),
        ("a.csv", CSV.replace(",", ";")),
        ("a.csv", CSV.replace(",", "\t")),
        ("a.csv", CSV.replace(",", "|")),
        ("a.tsv", CSV.replace(",", "\t")),
        ("a.tsv.gz", gzip.compress(CSV.replace(",", "\t").encode(), mtime=0)),
        ("a.csv", CSV.replace(",", "\t").encode("utf-16")),
        ("a.csv", "sep=;\n" + CSV.replace(",", ";")),
        ("a.csv", CSV.replace("\n", ",,\n") + ",,,\n,,,\n"),
        ("a.csv", CSV.replace("\n", "\r")),
        ("a.csv", 'q, a\n"Which bin?", "blue"\n"And jars?", "green"\n'),
        ("a.csv", CSV.replace("q,a", " q , a ")),
        ("a.csv", f"{CSV}\n\n"),
    ],
)
def test_the_same_rows_in_many_files(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert read(tmp_path, name, content) == ROWS


def test_rows_of_an_array_are_named_by_their_lines(tmp_path: Path) -> None:
    location = write(tmp_path, "a.json", PRETTY)
    assert [row.where for row in FileDatasets().read(location)] == [f"{location}:2", f"{location}:6"]
    location = write(tmp_path, "b.json", json.dumps({"data": ROWS}))
    assert [row.where for row in FileDatasets().read(location)] == [f"{location}:data[1]", f"{location}:data[2]"]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
        {"question": "q", "choices": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}], "answer": "A"},
        {"data": "x", "answer": "y"},
        {"data": [1, 2], "answer": "y"},
    ],
)
def test_the_only_row_of_a_file_is_not_taken_apart(tmp_path: Path, row: dict[str, Any]) -> None:
    assert read(tmp_path, "a.json", json.dumps(row)) == [row]
    assert read(tmp_path, "b.json", json.dumps(row, indent=2)) == [row]
    assert read(tmp_path, "c.jsonl", json.dumps({"data": [row]})) == [{"data": [row]}], "lines are rows"


def test_rows_on_one_line_of_an_array_have_places_of_their_own(tmp_path: Path) -> None:
    location = write(tmp_path, "a.json", json.dumps(ROWS) + "\n")
    assert [row.where for row in FileDatasets().read(location)] == [f"{location}:1", f"{location}:1 (row 2)"]
    location = write(tmp_path, "b.json", '[{"q": 1}, {"q": 2},\n{"q": 3}, {"q": 4}]')
    places = [row.where.removeprefix(f"{location}:") for row in FileDatasets().read(location)]
    assert places == ["1", "1 (row 2)", "2", "2 (row 4)"]


def test_squads_own_files_are_opened(tmp_path: Path) -> None:
    question = {"id": "1", "question": "Who?", "answers": [{"text": "Ann", "answer_start": 0}], "is_impossible": False}
    article = {"title": "T", "paragraphs": [{"context": "Ann did.", "qas": [question, {**question, "id": "2"}]}]}
    rows = read(tmp_path, "dev-v2.0.json", json.dumps({"version": "v2.0", "data": [article]}))
    assert rows == [{"title": "T", "context": "Ann did.", **question, "id": i} for i in ("1", "2")]


def test_each_question_of_squads_own_files_has_a_place_of_its_own(tmp_path: Path) -> None:
    """By its place a row is dropped from one split if it is in another."""
    paragraph = {"context": "Ann did.", "qas": [{"question": f"Who {i}?", "answers": [{"text": "Ann"}]} for i in "ab"]}
    path = tmp_path / "train-v2.0.json"
    path.write_text(json.dumps({"data": [{"title": "T", "paragraphs": [paragraph] * 2}] * 2}))
    wheres = [row.where for row in FileDatasets().read(str(path))]
    assert wheres[:2] == [f"{path}:data[1].paragraphs[1].qas[{k}]" for k in (1, 2)]
    assert len(set(wheres)) == len(wheres) == 8


def test_numbers_keep_all_their_digits(tmp_path: Path) -> None:
    text = '{"a": 0.1234567890123456789, "b": 123456789012345678901234567890, "c": 1e400, "d": 1.50}'
    (row,) = read(tmp_path, "a.jsonl", text)
    assert row == {"a": Decimal("0.1234567890123456789"), "b": 123456789012345678901234567890, "c": Decimal("1E+400"), "d": Decimal("1.50")}  # fmt: skip
    assert str(row["d"]) == "1.50"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", str(ROWS[0]), r"a\.jsonl:1: not valid JSON: keys and texts need double quotes"),
        ("a.jsonl", LINES.replace("}\n", "},\n"), r"a\.jsonl:1: not valid JSON: it ends with a comma. Remove it, or put all rows"),
        ("a.jsonl", '{"a": 1, "a": 2}', r"a\.jsonl:1: not valid JSON: the key 'a' appears twice"),
        ("a.jsonl", '{"a": 1e99999999999999999999}', r"a\.jsonl:1: not valid JSON: the number 1e9+ is out of range"),
        ("a.jsonl", '{\n"a": 1\n}', r"a\.jsonl:1: an object spans several lines, but this format has one object per line.* Or name the file \.json"),
        ("a.json", '[\n{"a": 1},\n{"a": }\n]', r"a\.json:3: not valid JSON: at column 7, a value is expected, but there is '}'\."),
        ("a.json", '[\n{"a": 1}\n{"a": 2}\n]', r"a\.json:3: not valid JSON: expected a comma or the end of the array"),
        ("a.json", '[\n{"a": 1},\n]', r"a\.json:3: not valid JSON: "),
        ("a.json", '[{"a": 1}]\n[2]', r"a\.json:2: not valid JSON: there is something after the end of the array\. Put all rows"),
        ("a.json", '[{"a": 1}, 2]', r"a\.json:1 \(row 2\): expected an object with named fields, found a number"),
        ("a.json", '[\n{"b": "\\ud83d\\ude00 \\\\ud",\n "a": "\\ud800"}]', r"a\.json:3: not valid JSON: at column 8, a text contains \\ud800, which is half of a character"),
        ("a.json", "[]", r"a\.json: has no rows"),
        ("a.json", "", r"a\.json: is empty"),
        ("a.json", "[" * 100_000, r"a\.json:1: not valid JSON"),
        ("a.jsonl.gz", b"\x1f\x8bnot", r"a\.jsonl\.gz: not a readable \.gz file"),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-8], r"a\.jsonl\.gz: not a readable \.gz file"),
        ("a.jsonl.gz", LINES, r"a\.jsonl\.gz: not a readable \.gz file"),
        ("a.gz", gzip.compress(b"x", mtime=0), r"a\.gz: unknown format '\.gz'; use \.jsonl"),
        ("a.xlsx.gz", gzip.compress(b"x", mtime=0), r"unknown format '\.xlsx'; use \.jsonl, \.json, \.csv, \.tsv or \.parquet"),
        ("a.csv", "q,a,a\n1,2,3\n", r"a\.csv:1: two columns have the same name: a"),
        ("a.csv", "q,a\n1\n", r"a\.csv:2: 1 value for 2 columns"),
        ("a.csv", "q,a\n1,2,3\n", r"a\.csv:2: 3 values for 2 columns"),
        ("a.csv", 'q,a\n"say \\"no\\"",2\n', r"a\.csv:2: not valid CSV: .*double each quote inside"),
        ("a.csv", 'q,a\n1,2\n"open,3\n', r"a\.csv:3: not valid CSV"),
        ("a.csv", "sep=;\nq;a\n1\n", r"a\.csv:3: 1 value for 2 columns"),
        ("a.csv", "q,a\ncaf\xe9,1\n".encode("cp1252"), r"a\.csv:2: not UTF-8 \(byte 4 of the line is E9\).* Save it as UTF-8"),
        ("a.csv", "\ufeffq,a\n1,2\n".encode("utf-16")[:-3], r"a\.csv: starts as UTF-16 but is damaged"),
        ("a.csv", ",\n,\n", r"a\.csv: is empty"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_says_where_and_why(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, name, content)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('q;a\n"Which bin; please?";"blue, dark"\n', [{"q": "Which bin; please?", "a": "blue, dark"}]),
        ("q,a\nOne; two,three\n", [{"q": "One; two", "a": "three"}]),
        ("question; long,a\n1,2\n", [{"question; long": "1", "a": "2"}]),
        ('q,a\n"Which\nbin?",blue\n', [{"q": "Which\nbin?", "a": "blue"}]),
        ('q,a\nHe said "no" twice,blue\n', [{"q": 'He said "no" twice', "a": "blue"}]),
        (",q,a\n0,Which bin?,blue\n", [{"column 1": "0", "q": "Which bin?", "a": "blue"}]),
        ("q,,a\n1,,2\n3,x,4\n", [{"q": "1", "a": "2"}, {"q": "3", "column 2": "x", "a": "4"}]),
        ("q\nalone\n", [{"q": "alone"}]),
        ("q,a\nx\u2028y,\x0cz\n", [{"q": "x\u2028y", "a": "\x0cz"}]),
        ("q,a\n 1, 2\n", [{"q": " 1", "a": " 2"}]),
    ],
)
def test_tables_as_they_come(tmp_path: Path, content: str, rows: list[dict[str, str]]) -> None:
    assert read(tmp_path, "a.csv", content) == rows


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    long = "word " * 60_000
    assert read(tmp_path, "a.csv", f"q,a\n{long},b\n")[0]["q"] == long


def test_a_limit_counts_rows_and_reads_no_further(tmp_path: Path) -> None:
    location = write(tmp_path, "a.csv", "q,a\n1,2\n,\n3,4\nbroken\n")
    assert [row.where for row in FileDatasets().read(location, limit=2)] == [f"{location}:2", f"{location}:4"]


def test_what_is_packed_is_held_to_the_limit_on_bytes(tmp_path: Path) -> None:
    location = write(tmp_path, "a.jsonl.gz", gzip.compress(b" " * 2_000_000 + LINES.encode(), mtime=0))
    with pytest.raises(DatasetError, match="more than 100000 bytes after unpacking are not accepted here"):
        FileDatasets(max_file_bytes=100_000).read(location)
    assert len(FileDatasets(max_file_bytes=3_000_000).read(location)) == 2


def test_rows_may_share_an_id(tmp_path: Path) -> None:
    assert len(read(tmp_path, "a.jsonl", '{"id": 1, "q": "x"}\n{"id": 1, "q": "y"}\n')) == 2


def test_a_file_that_is_packed_twice_says_so(tmp_path: Path) -> None:
    content = gzip.compress(gzip.compress(b"q,a\n1,2\n"))
    with pytest.raises(DatasetError, match=r"/a\.csv\.gz: is packed twice\. Unpack it once, and keep its name"):
        read(tmp_path, "a.csv.gz", content)
    with pytest.raises(DatasetError, match=r"/a\.csv: is gzip, not csv\. Add \.gz to its name"):
        read(tmp_path, "a.csv", content)
