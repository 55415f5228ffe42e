"""Where there is no file, the error says what may be meant; a name in another Unicode form is found."""

import json
from pathlib import Path

import pytest

from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.app.adapters.storage.slices import split_slice
from pada_agent.app.run_folder.layout import hash_data
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import DatasetError

ROW = json.dumps({"q": "a"})
SLICES = "A slice is written like [:100], [-50:] or [60%:80%]: only whole numbers and whole percentages, without spaces"


@pytest.mark.parametrize(
    ("location", "hint"),
    [
        ("mteb/banking77", "Did you mean 'hub:mteb/banking77/train', or is the folder missing?"),
        ("mteb/banking77/test", "Did you mean 'hub:mteb/banking77/test', or is the folder missing?"),
        ("openai/gsm8k:main/train[:10%]", "Did you mean 'hub:openai/gsm8k:main/train', or is the folder missing?"),
        ("https://huggingface.co/datasets/x/y/resolve/main/train.jsonl", "Did you mean 'hub:x/y/train'? Otherwise download the file, and write its path."),
        ("https://example.org/train.jsonl", "Addresses are not opened: download the file, and write its path."),
        ("s3://bucket/train.jsonl", "Only files of this machine and the hub are read: copy the file here, and write its path."),
        ("file:///tmp/train.jsonl", "Write the path alone, without file://."),
        ("$HOME/train.jsonl", "Variables are not replaced in settings: write the whole path, or begin it with ~."),
        ("%HOME%/train.jsonl", "Variables are not replaced in settings: write the whole path, or begin it with ~."),
        ("data\\train.jsonl", "Write the path with / instead of \\."),
        ("*.jsonl", "Patterns are not expanded: name one file, or join the files into one."),
        ("train[0-9].jsonl", "Patterns are not expanded: name one file, or join the files into one."),
        ("train.jsonl[10]", f"{SLICES}."),
        ("train.jsonl[:33.3%]", f"{SLICES}."),
        ("train.jsonl[ :60% ]", f"{SLICES}."),
        ("train.jsonl[:60%] ", f"{SLICES}."),
        ("train.jsonl [:60%]", "A space is read as part of the name: leave it out, also before a slice."),
        (" train.jsonl", "A space is read as part of the name: leave it out, also before a slice."),
        ("a.jsonl, b.jsonl", "One file is expected here: join the files into one."),
        ("\u201ctrain.jsonl\u201d", "The quotes are read as part of the name: leave them out."),
        ("trian.jsonl", "Did you mean 'train.jsonl'?"),
        ("rows/train", "Did you mean 'train.csv'?"),
        ("rows/other.csv", ""),
        ("nowhere/at/all.csv", ""),
    ],
)  # fmt: skip
def test_what_may_be_meant_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str, hint: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.jsonl").write_text(ROW)
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "train.csv").write_text("q\na\n")
    with pytest.raises(DatasetError) as caught:
        FileDatasets().read(location)
    shown = split_slice(location)[0]
    shown = shown if shown == shown.strip() else repr(shown)
    assert str(caught.value) == f"{shown}: no such file (in {tmp_path}){f'. {hint}' if hint else ''}"


def test_a_server_does_not_tell_names_of_other_files(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(ROW)
    with pytest.raises(DatasetError, match=r"trian\.jsonl: no such file in the workspace$"):
        FileDatasets(workspace=tmp_path).read("trian.jsonl")


@pytest.mark.parametrize("is_confined", [False, True])
def test_a_file_is_found_in_either_unicode_form(tmp_path: Path, is_confined: bool) -> None:
    folder = tmp_path / "donne\u0301es"
    folder.mkdir()
    (folder / "r\u00e9sum\u00e9.jsonl").write_text(ROW)
    asked = "donn\u00e9es/re\u0301sum\u00e9.jsonl"
    found = FileDatasets(workspace=tmp_path).read(asked) if is_confined else FileDatasets().read(f"{tmp_path}/{asked}")
    assert [row.where for row in found] == [f"{asked if is_confined else f'{tmp_path}/{asked}'}:1"]
    with pytest.raises(DatasetError, match="no such file"):
        FileDatasets().read(f"{tmp_path}/donn\u00e9es/autre\u0301.jsonl")
    recorded = RunConfig.model_validate({"data": {"train": f"{tmp_path}/{asked}"}, "task": {"name": "exact_match"}})
    assert list(hash_data(recorded)) == [f"{tmp_path}/{asked}"]


def test_a_file_in_another_form_stays_inside_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "secre\u0301t.jsonl").write_text(ROW)
    workspace = tmp_path / "inside"
    workspace.mkdir()
    (workspace / "le\u0301a.jsonl").symlink_to(tmp_path / "secre\u0301t.jsonl")
    with pytest.raises(DatasetError, match="outside the workspace"):
        FileDatasets(workspace=workspace).read("l\u00e9a.jsonl")
