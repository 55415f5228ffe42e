"""Objects between machines: over a folder that they share, and over an object store, with a folder of copies on each.

`PADA_TEST_STORE=s3://bucket/prefix pytest -m slow` tries that store (also `gs://`, `az://`), with credentials from the environment.
"""

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pada_agent.app.adapters.compute import object_store
from pada_agent.app.adapters.compute.object_store import ObjectStore, check_url, describe, try_store
from pada_agent.app.adapters.compute.shared_objects import SharedFolder, SharedObjects, find_folder
from pada_agent.core.errors import ArtifactError, ConfigError, TrainingError

FILES = {"adapter_model.safetensors": b"\0" * 40, "deep/er/tokens.json": b"{}", "empty": b""}


class Machine:
    """A machine with its own handle of the objects."""

    def __init__(self, folder: Path, objects: SharedObjects) -> None:
        self.folder, self.objects = folder, objects

    def finish(self, key: str, files: dict[str, bytes], attempt: str = "a") -> None:
        """What `LocalCompute` and its worker do with a job's output."""
        scratch = self.folder / f".{key}.{attempt}"
        for name, content in files.items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).write_bytes(content)
        try:
            scratch.replace(self.folder / key)
        except OSError:
            shutil.rmtree(scratch)
        self.objects.publish(key, self.folder / key)

    def read(self, key: str) -> dict[str, bytes]:
        self.objects.fetch(key, self.folder / key)
        paths = [path for path in (self.folder / key).rglob("*") if path.is_file()]
        return {path.relative_to(self.folder / key).as_posix(): path.read_bytes() for path in paths}


MakeMachine = Callable[[str], Machine]


def find_given() -> str:
    if url := os.environ.get("PADA_TEST_STORE"):
        return url
    pytest.skip("PADA_TEST_STORE names no store")


@pytest.fixture(params=["posix", "file", "memory", pytest.param("given", marks=pytest.mark.slow)])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> MakeMachine:
    if request.param == "posix":
        (tmp_path / "objects").mkdir()
        return lambda _: Machine(tmp_path / "objects", SharedFolder(tmp_path / "objects"))
    pytest.importorskip("obstore")
    from obstore.store import MemoryStore

    memory = MemoryStore() if request.param == "memory" else None
    url = f"{find_given()}/{uuid4().hex}" if request.param == "given" else f"file://{tmp_path}/bucket"

    def make(name: str) -> Machine:
        return Machine(tmp_path / name, ObjectStore(url, memory))

    return make


def test_what_one_machine_publishes_another_reads(machine: MakeMachine) -> None:
    one, other = machine("one"), machine("other")
    assert not other.objects.has("predict-1")
    one.finish("predict-1", FILES)
    assert other.objects.has("predict-1")
    assert other.read("predict-1") == one.read("predict-1") == FILES
    assert [path.name for path in other.folder.iterdir()] == ["predict-1"], "nothing else is left"


def test_a_file_of_many_parts_comes_back(machine: MakeMachine) -> None:
    content = os.urandom(12_000_000)
    machine("one").finish("fine_tune-1", {"adapter": content})
    assert machine("other").read("fine_tune-1") == {"adapter": content}


def test_what_nobody_published_is_an_error_and_no_folder(machine: MakeMachine) -> None:
    reader = machine("one")
    with pytest.raises(TrainingError, match=r"predict-1 is not (there|in the object store)"):
        reader.objects.fetch("predict-1", reader.folder / "predict-1")
    assert not (reader.folder / "predict-1").exists()


def test_of_two_writers_the_first_wins_and_both_see_the_same_bytes(machine: MakeMachine) -> None:
    first, second = machine("one"), machine("other")
    first.finish("fine_tune-1", {"adapter": b"first", "metrics": b"1"})
    second.finish("fine_tune-1", {"adapter": b"second"}, attempt="b")
    expected = {"adapter": b"first", "metrics": b"1"}
    assert first.read("fine_tune-1") == second.read("fine_tune-1") == machine("third").read("fine_tune-1") == expected


def test_of_many_writers_at_the_same_time_one_wins(machine: MakeMachine) -> None:
    machines = [machine(f"m{i}") for i in range(6)]
    threads = [
        threading.Thread(target=m.finish, args=("k", {"adapter": bytes([i]) * 1000}, str(i)))
        for i, m in enumerate(machines)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({m.read("k")["adapter"] for m in machines}) == 1


# What follows concerns copies, so only the object store.


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    pytest.importorskip("obstore")
    return tmp_path / "bucket"


def join(bucket: Path, name: str) -> Machine:
    return Machine(bucket.parent / name, ObjectStore(f"file://{bucket}"))


def test_a_writer_that_loses_leaves_no_files(bucket: Path) -> None:
    join(bucket, "one").finish("k", {"adapter": b"first"})
    late = join(bucket, "other")
    late.folder.mkdir()
    # It looked before the first one was finished.
    late.objects._read_manifest = hide_once(late.objects._read_manifest)  # type: ignore[attr-defined]
    late.finish("k", {"adapter": b"second"}, attempt="b")
    assert late.read("k") == {"adapter": b"first"}
    assert len(stored_files(bucket)) == 2


def hide_once(read: Callable[[str], Any]) -> Callable[[str], Any]:
    seen: list[str] = []
    return lambda key: read(key) if key in seen else seen.append(key)


def stored_files(bucket: Path) -> list[Path]:
    return [path for path in bucket.rglob("*") if path.is_file()]


def test_half_an_object_is_not_read(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = join(bucket, "one")

    def die(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writer.objects, "_put_new", die)
        with pytest.raises(KeyboardInterrupt):
            writer.finish("k", FILES)
    assert len(stored_files(bucket)) == len(FILES), "the files are there, and no manifest"
    reader = join(bucket, "other")
    assert not reader.objects.has("k")
    with pytest.raises(TrainingError, match="is not in the object store"):
        reader.read("k")
    writer.objects.publish("k", writer.folder / "k")
    assert reader.read("k") == FILES


@pytest.mark.parametrize("damage", ["cut", "longer", "changed", "missing"])
def test_a_damaged_object_is_not_read(bucket: Path, damage: str) -> None:
    join(bucket, "one").finish("k", {"adapter": b"weights", "metrics": b"1"})
    (file,) = bucket.glob("k/*/adapter")
    file.unlink()
    if content := {"cut": b"wei", "longer": b"weights!", "changed": b"weightz"}.get(damage):
        file.write_bytes(content)
    reader = join(bucket, "other")
    with pytest.raises(ArtifactError, match=r"bucket/k: damaged \(adapter: .*Delete everything below this address"):
        reader.read("k")
    assert not list(reader.folder.iterdir())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "damaged"),
        (b"[]", "damaged"),
        (json.dumps({"attempt": "a", "files": {"../x": {"n_bytes": 1, "sha256": ""}}}).encode(), "outside"),
        (json.dumps({"attempt": "a", "files": {"/etc/x": {"n_bytes": 1, "sha256": ""}}}).encode(), "outside"),
    ],
)
def test_a_damaged_or_hostile_manifest_is_an_error(bucket: Path, content: bytes, words: str) -> None:
    (bucket / "k").mkdir(parents=True)
    (bucket / "k" / "done.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=words):
        join(bucket, "one").read("k")


def test_copies_that_are_deleted_damaged_or_of_another_time_are_fetched_again(bucket: Path) -> None:
    writer, reader = join(bucket, "one"), join(bucket, "other")
    writer.finish("k", FILES)
    assert reader.read("k") == FILES
    shutil.rmtree(reader.folder)
    assert reader.read("k") == FILES
    (reader.folder / "k" / "adapter_model.safetensors").write_bytes(b"cut")
    (reader.folder / "k" / "more").write_bytes(b"")
    assert reader.read("k") == FILES
    shutil.rmtree(bucket)
    shutil.rmtree(writer.folder)
    writer.finish("k", {"adapter": b"again"})
    assert reader.read("k") == {"adapter": b"again"}


def test_two_workers_of_a_node_replace_a_copy_of_another_time(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both find the old copy. While one moves it aside, the other puts the new one in its place."""
    join(bucket, "one").finish("k", FILES)
    reader, replace = join(bucket, "node"), Path.replace
    copy = reader.folder / "k"
    copy.mkdir(parents=True)
    (copy / "adapter_model.safetensors").write_bytes(b"old")

    def be_slower(path: Path, target: Path) -> None:
        replace(path, target)
        if path == copy:
            shutil.copytree(bucket.parent / "one" / "k", copy)

    monkeypatch.setattr(Path, "replace", be_slower)
    assert reader.read("k") == FILES
    assert list(reader.folder.iterdir()) == [copy]


def test_a_copy_that_is_replaced_while_it_is_compared_is_compared_again(
    bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, hash_once = join(bucket, "one"), object_store.hash_once
    machine.finish("k", FILES)
    missing = [machine.folder / "k" / "adapter_model.safetensors"]

    def hash_late(path: Path) -> str:
        if path in missing:
            missing.remove(path)
            raise FileNotFoundError(path)
        return hash_once(path)

    monkeypatch.setattr(object_store, "hash_once", hash_late)
    assert machine.read("k") == FILES


def test_a_folder_that_this_machine_remembers_as_missing_is_waited_for(tmp_path: Path) -> None:
    """As on NFS after the machine has looked for it. Nobody waits where the folder may be missing for good."""
    late = threading.Timer(0.2, Machine(tmp_path, SharedFolder(tmp_path)).finish, ("k", FILES))
    late.start()
    with pytest.raises(TrainingError, match="k is not there"):
        SharedFolder(tmp_path).fetch("k", tmp_path / "k")
    SharedFolder(tmp_path, patience=30).fetch("k", tmp_path / "k")
    late.join()
    assert describe(tmp_path / "k").keys() == FILES.keys()


def test_a_store_that_is_cleared_is_empty(bucket: Path) -> None:
    writer, other = join(bucket, "one"), Machine(bucket.parent / "two", ObjectStore(f"file://{bucket}-other"))
    for each in (writer, other):
        each.finish("k", FILES)
    ObjectStore(f"file://{bucket}").clear()
    assert not bucket.exists() and other.objects.has("k")


def test_large_files_are_read_in_chunks(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "CHUNK_BYTES", 1000)
    content = os.urandom(2500)
    join(bucket, "one").finish("k", {"adapter": content})
    assert join(bucket, "other").read("k") == {"adapter": content}


def test_hidden_files_are_not_published(bucket: Path) -> None:
    writer = join(bucket, "one")
    writer.finish("k", {"rows.jsonl": b"{}", ".rows.jsonl-x1": b"half", ".a/b": b""})
    assert join(bucket, "other").read("k") == {"rows.jsonl": b"{}"}
    assert list(describe(writer.folder / "k")) == ["rows.jsonl"]


def test_a_full_disk_leaves_no_scrap(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    join(bucket, "one").finish("k", FILES)
    reader = join(bucket, "other")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(object_store, "_put_in_place", fail)
    with pytest.raises(ArtifactError, match="the disk is full"):
        reader.read("k")
    assert not list(reader.folder.iterdir())


@pytest.mark.slow
def test_the_given_store_passes_the_trial() -> None:
    try_store(find_given())


def test_the_trial_passes_where_the_first_wins_and_leaves_nothing(bucket: Path) -> None:
    try_store(f"file://{bucket}")
    assert stored_files(bucket) == []


def test_a_store_that_replaces_files_is_refused(bucket: Path) -> None:
    store = ObjectStore(f"file://{bucket}")
    store._put_new = lambda path, content: store._put(path, content) is None  # type: ignore[method-assign]
    with pytest.raises(ArtifactError, match=r"compute\.cluster\.store: file://.* ignores `If-None-Match: \*`"):
        store.test()


def test_a_folder_that_cannot_be_made_is_an_error_with_the_key(tmp_path: Path, bucket: Path) -> None:
    del bucket
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"compute\.cluster\.store: file://.*/file/x cannot be opened \("):
        try_store(f"file://{tmp_path}/file/x")


def test_a_server_that_does_not_answer_is_told_within_seconds(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del bucket
    settings = {"ENDPOINT_URL": "http://127.0.0.1:1", "ALLOW_HTTP": "true", "REGION": "x", "ACCESS_KEY_ID": "a"}
    for name, value in {**settings, "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with pytest.raises(ConfigError, match=r"compute\.cluster\.store: s3://b/p cannot be written from .*127\.0\.0\.1:1"):
        try_store("s3://b/p")


def test_an_account_that_is_missing_is_told(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del bucket
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(ConfigError, match=r"az://c/p cannot be opened \(.*Account must be specified\)"):
        try_store("az://c/p")


@pytest.mark.parametrize("url", ["ftp://a/b", "memory://", "s3://", "/mnt/shared", "bucket/prefix", "file:///"])
def test_what_is_no_address_of_a_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=rf"compute\.cluster\.store: {url} is not the address .*s3://, gs://, az://"):
        check_url(url)


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "find_spec", lambda _: None)
    with pytest.raises(
        ConfigError, match=r"compute\.cluster\.store needs obstore: pip install 'pada-agent\[cluster\]'"
    ):
        check_url("s3://b/p")


def test_copies_of_different_stores_have_different_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADA_OBJECTS", str(tmp_path))
    one, other = find_folder("s3://b/one"), find_folder("s3://b/other")
    assert one.parent == other.parent == tmp_path and one != other
    assert find_folder("/runs/objects") == Path("/runs/objects")


def test_a_folder_of_copies_may_begin_in_the_folder_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PADA_OBJECTS", "~/copies")
    assert find_folder("s3://b/one").parent == tmp_path / "copies"
    monkeypatch.delenv("PADA_OBJECTS")
    assert find_folder("s3://b/one").parent == tmp_path / ".cache" / "pada-agent" / "objects"
