import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.core.errors import DatasetError


def write(tmp_path: Path, name: str, content: str | bytes) -> str:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_json_lines_skip_blank_lines_and_keep_line_numbers(tmp_path: Path) -> None:
    location = write(tmp_path, "train.jsonl", '\ufeff{"q": "a\u2028b"}\r\n\r\n{"q": 2}')
    rows = FileDatasets().read(location)
    assert [row.fields for row in rows] == [{"q": "a\u2028b"}, {"q": 2}]
    assert [row.where for row in rows] == [f"{location}:1", f"{location}:3"]


def test_the_limit_counts_rows_and_spares_what_follows(tmp_path: Path) -> None:
    location = write(tmp_path, "train.jsonl", '{"q": 1}\n{"q": 2}\nnot json\n')
    assert len(FileDatasets().read(location, limit=2)) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"q": 1}\n{"q": \n', r"train\.jsonl:2: not valid JSON: "),
        (
            '{"q": "\\ud800"}',
            r"train\.jsonl:1: not valid JSON: at column \d+, a text contains \\ud800, which is half of a character",
        ),
        (
            '{"q": 1}\n[1]\n',
            r"train\.jsonl:2: expected an object with named fields, found a list\. Write one object on each line",
        ),
        ("", r"train\.jsonl: is empty"),
        ("\n\n", r"train\.jsonl: is empty"),
        (b'{"q": 1}\n{"q": "\xe9"}\n', r"train\.jsonl:2: not UTF-8 \(byte 8 of the line is E9\)"),
        ("[" * 100_000, r"train\.jsonl:1: not valid JSON: "),
    ],
)
def test_bad_json_lines_name_file_and_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        FileDatasets().read(write(tmp_path, "train.jsonl", content))


def test_a_missing_file_names_path_and_working_folder() -> None:
    with pytest.raises(DatasetError, match=f"nowhere/train.jsonl: no such file .*{Path.cwd()}"):
        FileDatasets().read("nowhere/train.jsonl")


def test_an_unknown_format_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"unknown format '\.xlsx'; use \.jsonl"):
        FileDatasets().read(write(tmp_path, "train.xlsx", "x"))


def test_csv_cells_may_hold_line_breaks(tmp_path: Path) -> None:
    location = write(tmp_path, "train.csv", 'q,a\n"one\ntwo",1\n\n"x, y",2\n')
    rows = FileDatasets().read(location)
    assert [row.fields for row in rows] == [{"q": "one\ntwo", "a": "1"}, {"q": "x, y", "a": "2"}]
    assert rows[1].where == f"{location}:5"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q,a\n1\n", r"train\.csv:2: 1 value for 2 columns\. Is a cell missing here"),
        ("q,q\n1,2\n", r"train\.csv:1: two columns have the same name: q"),
        ('q,a\n1,"open\n', r"train\.csv:2: not valid CSV"),
        ("q,a\n", r"train\.csv: has no rows: there is only the line with the names q, a"),
        ("", r"train\.csv: is empty"),
        (b"q,a\n\xff,1\n", r"train\.csv:2: not UTF-8"),
    ],
)
def test_bad_csv_names_file_and_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        FileDatasets().read(write(tmp_path, "train.csv", content))


def test_parquet_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DatasetError, match=r"pip install 'pada-agent\[data\]'"):
        FileDatasets().read(write(tmp_path, "train.parquet", "PAR1"))


def test_parquet_rows_and_damage(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    location = str(tmp_path / "train.parquet")
    parquet.write_table(pyarrow.table({"q": ["a", "b", "c"], "n": [1, 2, 3]}), location)
    rows = FileDatasets().read(location, limit=2)
    assert [(row.where, row.fields) for row in rows] == [
        (f"{location}:1", {"q": "a", "n": 1}),
        (f"{location}:2", {"q": "b", "n": 2}),
    ]
    with pytest.raises(DatasetError, match="not a readable Parquet file"):
        FileDatasets().read(write(tmp_path, "broken.parquet", "x"))


class HubRows(list[dict[str, Any]]):
    def select(self, indices: range) -> "HubRows":
        return HubRows(self[i] for i in indices)


def test_the_hub_is_asked_for_repository_configuration_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def load_dataset(repository: str, name: str | None, *, split: str) -> HubRows:
        asked.append((repository, name, split))
        return HubRows([{"q": 1}, {"q": 2}])

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert FileDatasets().read("hub:openai/gsm8k:main/train", limit=1)[0].where == "hub:openai/gsm8k:main/train:1"
    assert len(FileDatasets().read("hub:rajpurkar/squad/validation", limit=5)) == 2
    assert asked == [("openai/gsm8k", "main", "train"), ("rajpurkar/squad", None, "validation")]


def test_a_hub_failure_is_a_dataset_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(DatasetError, match=r"hub:a/b/train: cannot be loaded: no route"):
        FileDatasets().read("hub:a/b/train")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DatasetError, match=r"pip install 'pada-agent\[data\]'"):
        FileDatasets().read("hub:a/b/train")


def test_a_hub_location_without_split_is_refused() -> None:
    with pytest.raises(DatasetError, match="expected hub:owner/name/split"):
        FileDatasets().read("hub:squad")


def test_a_workspace_keeps_paths_inside(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    secret = write(tmp_path, "secret.jsonl", json.dumps({"q": 1}))
    (inside / "link.jsonl").symlink_to(secret)
    source = FileDatasets(workspace=inside)
    for location in (secret, str(inside / ".." / "secret.jsonl"), str(inside / "link.jsonl")):
        with pytest.raises(DatasetError, match="outside the workspace"):
            source.read(location)


@pytest.mark.parametrize(
    ("limits", "message"), [({"max_rows": 1}, "more than 1 rows"), ({"max_file_bytes": 9}, "9 bytes")]
)
def test_rows_of_the_input_are_held_to_the_same_limits(limits: dict[str, int], message: str) -> None:
    given = [{"question": "a"}, {"question": "b"}]
    rows = FileDatasets().accept(given, location="input.train")
    assert [(r.where, r.fields) for r in rows] == [("input.train:1", given[0]), ("input.train:2", given[1])]
    with pytest.raises(DatasetError, match=f"input.train: .*{message}"):
        FileDatasets(**limits).accept(given, location="input.train")
