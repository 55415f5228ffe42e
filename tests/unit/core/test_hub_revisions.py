"""Names of branches, tags and commits: what becomes part of a path is checked by git's rules."""

from pathlib import Path

import pytest
from huggingface_hub import constants
from pydantic import ValidationError

from pada_agent.app.adapters.storage.artifacts import FileArtifactStore
from pada_agent.app.adapters.storage.datasets import FileDatasets
from pada_agent.app.adapters.storage.hub_commits import pin_commit
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ConfigError, DatasetError

ODD = [
    *("../../../../secret.env", "..", "a..b", "/etc/passwd", "a/", "a//b", "a/.b", ".a", "a.", "-a", "@", "a@{1}", "a.lock"),
    *("a.lock/b", "a b", "a\\b", "a\nb", "a\n", "a\x7f", "a:b", "a*", "a?b", "a[b", "a~1", "a^"),
]  # fmt: skip
PLAIN = ["main", "v1.0", "refs/pr/1", "refs/convert/parquet", "feature/x_y-z", "a" * 40, "übung", "release@2"]


@pytest.mark.parametrize("revision", ODD)
def test_a_revision_that_git_would_refuse_is_refused_with_the_settings(revision: str) -> None:
    with pytest.raises(ValidationError, match="is not the name of a branch, tag or commit"):
        RunConfig.model_validate({"student": {"model": "me/student", "revision": revision}})


@pytest.mark.parametrize("revision", [*PLAIN, "", None])
def test_other_revisions_are_taken(revision: str | None) -> None:
    student = RunConfig.model_validate({"student": {"model": "me/student", "revision": revision}}).student
    assert student.revision == (revision or None)


@pytest.mark.parametrize("split", ["train", "validation", "test", "held_back"])
def test_the_revision_of_rows_is_checked_too(split: str) -> None:
    location = "hub:me/rows@../../secret:en/train"
    with pytest.raises(ValidationError, match=rf"data\.{split}\n.*'\.\./\.\./secret' is not the name of a branch"):
        RunConfig.model_validate({"data": {split: location}})
    with pytest.raises(DatasetError, match=r"hub:me/rows@.*'\.\./\.\./secret' is not the name of a branch"):
        FileDatasets().read(location)
    RunConfig.model_validate({"data": {split: "hub:me/rows@refs/convert/parquet:en/train"}})


@pytest.mark.parametrize("location", ["hub:me/rows:../train", "hub:me/rows:./train", "hub:me/rows:a\\b/train"])
def test_the_configuration_of_rows_is_no_way_to_another_folder(location: str) -> None:
    with pytest.raises(DatasetError, match="expected hub:owner/name/split"):
        FileDatasets().read(location)


@pytest.fixture
def downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the hub's cache has of `me/student`, on a machine without a network."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "models--me--student"
    (folder / "refs").mkdir(parents=True)
    (folder / "snapshots" / ("a" * 40) / "onnx").mkdir(parents=True)
    return folder


def test_the_text_of_another_file_never_becomes_a_commit(downloaded: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.env").write_text("PASSWORD=hunter2\n")
    (downloaded / "refs" / "main").write_text("PASSWORD=hunter2\n")
    (downloaded / "refs" / "v1").write_text("b" * 40 + "\n")
    store = FileArtifactStore(tmp_path / "objects")
    with pytest.raises(ConfigError, match=r"student\.revision: .* is not the name of a branch"):
        pin_commit("me/student", "../../../secret.env", store)
    assert pin_commit("me/student", "main", store) == "me/student"
    assert not list(tmp_path.glob("objects/*"))
    assert pin_commit("me/student", "v1", store) == "me/student@" + "b" * 40


def test_only_a_commit_names_a_folder_of_files(downloaded: Path, tmp_path: Path) -> None:
    store = FileArtifactStore(tmp_path / "objects")
    assert pin_commit("me/student", "a" * 40, store) == "me/student@" + "a" * 40
    assert (downloaded / "snapshots" / ("a" * 40 + "/onnx")).is_dir()
    assert pin_commit("me/student", "a" * 40 + "/onnx", store) == "me/student"
