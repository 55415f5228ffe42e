"""Files that are not what their names say: the error says what they are, and the way out."""

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.core.errors import DatasetError

ROWS: list[dict[str, Any]] = [{"q": f"Which bin for glass, number {i}?", "a": "blue"} for i in range(4)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = "q,a\n" + "".join(f'"{row["q"]}",{row["a"]}\n' for row in ROWS)


def read(folder: Path, name: str, content: str | bytes) -> list[dict[str, Any]]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [row.fields for row in FileDatasets().read(str(path))]


def zip_files(**files: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return packed.getvalue()


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.tsv"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zip_files(a_csv=CSV, b_csv=CSV), r"is a ZIP archive, not \w+\. Unpack it, and name the file inside \(a\.csv, b\.csv\)"),
        (zip_files(xl__workbook_xml="<x/>"), r"is an Excel workbook, not \w+\. Save the sheet as CSV \(UTF-8\)"),
        (zip_files(mimetype="application/vnd.oasis.opendocument.spreadsheet", content_xml=""), "is an OpenDocument file"),
        (b"PK\x03\x04" + b"\0\x14" * 200, "is a ZIP archive, not"),
        (gzip.compress(LINES.encode(), mtime=0), r"is gzip, not \w+\. Add \.gz to its name"),
        (b"PAR1" + b"\0" * 100, r"is Parquet, not \w+\. Name it \.parquet"),
        (b"SQLite format 3\0" + b"\0" * 100, "is an SQLite database, not"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 100, "is an old Excel or Word file, not"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 100, "is zstd, not"),
        (b"x" * 257 + b"ustar\0", "is a tar archive, not"),
        (b"\x80\x04\x95", "is a Python pickle, which may run code, not"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "is a pointer of Git LFS, not the data, .*git lfs pull"),
        ("\n<!DOCTYPE html>\n<html></html>", "is a web page, not .*Fetch the file itself"),
        ('<?xml version="1.0"?>', "is XML, not"),
        (bytes(range(256)) * 4 + b"\0" * 2000, "is not a text file"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_named_by_what_it_is(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(DatasetError, match=rf"/{name}: {message}"):
        read(tmp_path, name, content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", LINES, r"a\.csv: is JSON Lines \(an object on each line\), not CSV\. Name it \.jsonl"),
        ("a.tsv", LINES, r"a\.tsv: is JSON Lines"),
        ("a.csv", json.dumps(ROWS), r"a\.csv: is JSON, not CSV\. Name it \.json"),
        ("a.csv", json.dumps(ROWS, indent=1), r"a\.csv: is JSON, not CSV\. Name it \.json"),
        ("a.jsonl", CSV, r"a\.jsonl: is CSV, not JSON\. Name it \.csv"),
        ("a.json", CSV.replace(",", ";"), r"a\.json: is CSV, not JSON\. Name it \.csv"),
        ("a.jsonl", CSV.replace(",", "\t"), r"a\.jsonl: is TSV, not JSON\. Name it \.tsv"),
        ("a.jsonl", '"question, long","answer"\n"a","b"\n', r"a\.jsonl: is CSV, not JSON"),
        ("a.parquet", CSV, r"a\.parquet: not a readable Parquet file\. It looks like CSV: if it is, name it \.csv"),
        ("a.parquet", LINES, r"not a readable Parquet file\. It looks like JSON Lines: if it is, name it \.jsonl"),
        ("a.parquet", gzip.compress(b"x", mtime=0), r"a\.parquet: is gzip, not parquet\. Add \.gz"),
        ("a.txt", CSV, r"unknown format '\.txt'; use \.jsonl.*\. It looks like CSV: if it is, name it \.csv"),
        ("a.txt", json.dumps(ROWS), r"It looks like JSON: if it is, name it \.json"),
        ("a.xlsx", zip_files(xl__workbook_xml="<x/>"), r"unknown format '\.xlsx'; .*It is an Excel workbook\. Save the sheet"),
        ("a", "q", "its name does not say which format it has; use"),
        ("a.jsonl.gz", LINES, r"not a readable \.gz file: it is not packed\. Take \.gz off its name"),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-20], r"not a readable \.gz file: it ends too early, as after a broken"),
        ("a.csv", "", r"a\.csv: is empty$"),
        ("a.parquet", "", r"a\.parquet: is empty$"),
        ("a.jsonl", "\n \n", r"a\.jsonl: is empty$"),
        ("a.csv.gz", gzip.compress(b"", mtime=0), r"a\.csv\.gz: is empty$"),
    ],
)  # fmt: skip
def test_a_file_of_another_format_says_how_to_name_it(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, name, content)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize(
    "rows",
    [
        ROWS,
        [{"q": "どのゴミ箱ですか", "a": "青"}, {"q": "一二三一二三一二三", "a": "緑"}],
        [{"q": "🎉" * 20, "a": "é"}, {"q": "x", "a": "y"}],
    ],
)
def test_wide_encodings_are_read_with_and_without_a_mark(
    tmp_path: Path, encoding: str, rows: list[dict[str, Any]]
) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    table = "q;a\r\n" + "".join(f"{row['q']};{row['a']}\r\n" for row in rows)
    assert read(tmp_path, "a.jsonl", lines.encode(encoding)) == rows
    assert read(tmp_path, "a.csv", table.encode(encoding)) == rows


def test_zero_bytes_in_a_cell_are_text(tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", "q,a\nWhich\0bin?,blue\n") == [{"q": "Which\0bin?", "a": "blue"}]


def test_a_wide_file_that_is_cut_off_names_its_encoding(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.csv: starts as UTF-16-LE but is damaged\. Save the file as UTF-8"):
        read(tmp_path, "a.csv", CSV.encode("utf-16-le")[:-1])


@pytest.mark.parametrize("location", ["x" * 5000, "[{'q': 1}]" * 400, "~nobody-there/a.csv", "a\0b.csv"])
def test_what_cannot_be_a_path_is_told_shortly(location: str) -> None:
    with pytest.raises(DatasetError, match=r"no such (file|folder|user)") as caught:
        FileDatasets().read(location)
    assert len(str(caught.value)) < 500


def test_a_folder_is_no_file_of_rows(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"{tmp_path}: is a folder. Name a file in it"):
        FileDatasets().read(str(tmp_path))


def test_a_file_that_may_not_be_opened_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.csv").write_text(CSV)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DatasetError, match=r"a\.csv: cannot be read \(Permission denied\)"):
        FileDatasets().read(str(tmp_path / "a.csv"))
