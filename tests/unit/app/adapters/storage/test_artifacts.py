import errno
import json
import math
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pada_agent.app.adapters.storage import artifacts
from pada_agent.app.adapters.storage.artifacts import (
    SCRATCH,
    FileArtifactStore,
    check_new,
    is_disk_full,
    make_folder,
    making_beside,
    move,
    write_atomically,
)
from pada_agent.core.errors import ArtifactError, ConfigError
from pada_agent.core.records import Example, Prediction, Ref

TEXT = st.text() | st.sampled_from(["a\u2028b", "a\r\nb\n", "\x85", '"\\'])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)
EXAMPLES = st.builds(
    Example, id=TEXT, prompt=TEXT, answer=TEXT, options=st.lists(TEXT).map(tuple), reference=st.dictionaries(TEXT, JSON)
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FileArtifactStore:
    """One folder for all examples: each replaces what the one before wrote."""
    return FileArtifactStore(tmp_path_factory.mktemp("objects"))


@settings(max_examples=40)
@given(rows=st.lists(EXAMPLES, max_size=4))
def test_rows_come_back_as_they_were(rows: list[Example], store: FileArtifactStore) -> None:
    path = store.write_rows("rows-1", rows)
    assert store.read_rows("rows-1", Example) == rows
    assert path == store.rows_path("rows-1")
    assert store.has("rows-1")


@settings(max_examples=40)
@given(value=st.dictionaries(TEXT, JSON))
def test_values_come_back_as_they_were(value: dict[str, object], store: FileArtifactStore) -> None:
    store.write_json("value-1", value)
    assert store.read_json("value-1") == value


def test_infinite_scores_survive(tmp_path: Path) -> None:
    store = FileArtifactStore(tmp_path)
    store.write_rows("p", [Prediction(example_id="a", response="", option_scores=(-math.inf, 0.5))])
    assert store.read_rows("p", Prediction)[0].option_scores == (-math.inf, 0.5)


def test_the_key_depends_on_kind_and_content_but_not_on_key_order(tmp_path: Path) -> None:
    store = FileArtifactStore(tmp_path)
    key = store.key("rows", {"a": 1, "b": [Ref(key="x", rows=2)]}, None)
    assert key == store.key("rows", {"b": [Ref(key="x", rows=2)], "a": 1}, None)
    assert key.startswith("rows-")
    assert len(key) == len("rows-") + 16
    others = [store.key("other", {"a": 1}), store.key("rows", {"a": 2}), store.key("rows", Ref(key="x", rows=3))]
    assert len({key, *others}) == 4


def test_inputs_without_a_stable_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="JSON-able"):
        FileArtifactStore(tmp_path).key("rows", {1, 2})


def test_an_empty_folder_is_not_an_object(tmp_path: Path) -> None:
    store = FileArtifactStore(tmp_path / "objects")
    assert not store.has("k")
    assert store.folder("k").is_dir()
    assert not store.has("k")


def test_a_damaged_row_names_the_file_the_line_and_the_way_out(tmp_path: Path) -> None:
    store = FileArtifactStore(tmp_path)
    path = store.write_rows("k", [Ref(key="x"), Ref(key="y")])
    path.write_text(path.read_text()[:-8] + "\n")
    with pytest.raises(
        ArtifactError,
        match=rf"{path}: damaged \(line 2: .*Delete the folder {path.parent}.*pada resume.*or on a server, start it again",
    ):
        store.read_rows("k", Ref)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff"])
def test_a_damaged_value_is_an_artifact_error(tmp_path: Path, content: bytes) -> None:
    store = FileArtifactStore(tmp_path)
    store.write_json("k", {}).write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        store.read_json("k")


def test_a_missing_object_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="missing"):
        FileArtifactStore(tmp_path).read_rows("k", Ref)


def test_a_full_disk_leaves_the_old_file_and_no_scrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_atomically(tmp_path / "value.json", "old")

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(ArtifactError, match="the disk is full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_a_file_has_the_permissions_that_the_umask_gives(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        path = write_atomically(tmp_path / "value.json", "{}")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_nobody_is_told_to_delete_what_cannot_be_read_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    store = FileArtifactStore(tmp_path)
    store.write_rows("rows", [Ref(key="x")])
    store.write_json("value", {})
    store.write_matrix("matrix", np.zeros((2, 2)))
    monkeypatch.setattr(Path, "read_bytes", fail)
    monkeypatch.setattr(np, "load", fail)
    reads = (
        lambda: store.read_rows("rows", Ref),
        lambda: store.read_json("value"),
        lambda: store.read_matrix("matrix"),
    )
    for read in reads:
        with pytest.raises(ArtifactError, match=rf"cannot be read \({os.strerror(number)}\)\. Check") as caught:
            read()
        assert "Delete" not in str(caught.value) and "damaged" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_an_artifact_error(tmp_path: Path) -> None:
    (tmp_path / "objects").write_text("a file")
    with pytest.raises(ArtifactError, match="cannot be written"):
        FileArtifactStore(tmp_path / "objects").write_json("k", {})


def test_rows_are_one_json_object_a_line(tmp_path: Path) -> None:
    path = FileArtifactStore(tmp_path).write_rows("k", [Ref(key="ä\n"), Ref(key="b", rows=1)])
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == [
        {"key": "ä\n", "rows": 0},
        {"key": "b", "rows": 1},
    ]


def test_rows_are_parsed_once_until_their_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    parse = artifacts.read_json_lines
    monkeypatch.setattr(artifacts, "read_json_lines", lambda path, *a, **k: read.append(path) or parse(path, *a, **k))
    store = FileArtifactStore(tmp_path)
    store.write_rows("refs", [Ref(key="a")])
    first = store.read_rows("refs", Ref)
    first.append(Ref(key="mine"))
    assert store.read_rows("refs", Ref) == [Ref(key="a")], "a reader's list is its own"
    assert len(read) == 1
    store.write_rows("refs", [Ref(key="a"), Ref(key="b")])
    assert len(store.read_rows("refs", Ref)) == 2 and len(read) == 2


def test_what_is_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "MAX_KEPT_ROWS", 3)
    store = FileArtifactStore(tmp_path)
    for name in "abc":
        store.write_rows(name, [Ref(key=name)] * 2)
        store.read_rows(name, Ref)
    assert list(store._kept) == [("c", Ref)]


def test_a_matrix_comes_back_as_it_was_and_a_damaged_one_is_an_artifact_error(tmp_path: Path) -> None:
    store, matrix = FileArtifactStore(tmp_path), np.arange(6, dtype=np.float32).reshape(2, 3)
    assert store.read_matrix("m") is None
    path = store.write_matrix("m", matrix)
    found = store.read_matrix("m")
    assert found is not None and found.dtype == np.float32 and found.tolist() == matrix.tolist()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="damaged"):
        store.read_matrix("m")


@pytest.mark.parametrize("name", ["file/new", "x" * 300])
def test_a_place_that_cannot_be_written_to_is_told_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    for act in (make_folder, check_new, lambda path: move(tmp_path / "none", path)):
        if act is check_new and "/" in name:
            continue
        with pytest.raises(ArtifactError, match=rf"{name}: cannot be written \(.*Change its permissions"):
            act(tmp_path / name)


def test_a_new_folder_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with pytest.raises(ArtifactError, match="later"), making_beside(out) as scratch:
        write_atomically(make_folder(scratch / "made") / "a", "1")
        raise ArtifactError("later")
    assert list(out.parent.iterdir()) == []
    with making_beside(out) as scratch:
        write_atomically(make_folder(scratch / "made") / "a", "1")
        move(scratch / "made", out)
    assert [path.name for path in out.parent.iterdir()] == ["out"] and (out / "a").read_text() == "1"
    with pytest.raises(ConfigError, match="already exists"):
        check_new(out)


def test_two_exports_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with making_beside(out) as first:
        write_atomically(make_folder(first / "made") / "a", "1")
        with pytest.raises(ConfigError, match="already exists"), making_beside(out) as second:
            write_atomically(make_folder(second / "made") / "b", "2")
            move(first / "made", out)
            move(second / "made", out)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "a"]


def test_what_a_killed_export_left_does_not_block_the_next_one(tmp_path: Path) -> None:
    make_folder(tmp_path / f"{SCRATCH}0123456789ab" / "made")
    check_new(tmp_path)
    with making_beside(tmp_path) as scratch:
        write_atomically(make_folder(scratch / "made") / "a", "1")
        move(scratch / "made", tmp_path)
    assert (tmp_path / "a").read_text() == "1"


@pytest.mark.skipif(Path("/dev/shm").stat().st_dev == Path("/tmp").stat().st_dev, reason="needs two file systems")
def test_an_empty_folder_on_another_disk_is_filled(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        (tmp_path / "out").symlink_to(other)
        with making_beside(tmp_path / "out") as scratch:
            write_atomically(make_folder(scratch / "made" / "data") / "a", "1")
            move(scratch / "made", tmp_path / "out")
        assert [path.name for path in Path(other).rglob("*")] == ["data", "a"]
        assert (tmp_path / "out").is_symlink()


def test_a_disk_that_is_full_while_a_folder_is_copied_is_recognized() -> None:
    assert is_disk_full(shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")]))
    assert not is_disk_full(shutil.Error([("a", "b", "[Errno 13] Permission denied: 'b'")]))
