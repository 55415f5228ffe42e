"""A GGUF student that several processes convert at once."""

import errno
import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from pada_agent.core.errors import TrainingError
from pada_agent.training import students
from tests.tiny_models import save_student


def test_is_converted_once_and_never_taken_from_who_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "student.gguf"
    file.write_bytes(b"weights")
    written: list[Path] = []

    def write_slowly(_: Path, folder: Path) -> None:
        written.append(folder)
        folder.mkdir()
        time.sleep(0.3)
        (folder / "tokenizer.json").write_text("{}")

    monkeypatch.setattr(students, "_write_dequantized", write_slowly)
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(students.convert_gguf, [file] * 4))
    assert set(folders) == {tmp_path / "student.gguf-fp32"}
    assert len(written) == 1
    assert (folders[0] / "tokenizer.json").read_text() == "{}"
    assert {path.name for path in tmp_path.iterdir()} == {"student.gguf", "student.gguf-fp32"}


@pytest.fixture
def content_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies that hold nothing but the content of their file."""

    def write(file: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "content").write_bytes(file.read_bytes())

    monkeypatch.setattr(students, "_write_dequantized", write)


@pytest.mark.usefixtures("content_alone")
def test_a_file_that_replaces_another_and_is_older_gets_a_copy_of_its_own(tmp_path: Path) -> None:
    file, other = tmp_path / "m.gguf", tmp_path / "other.gguf"
    file.write_bytes(b"first")
    other.write_bytes(b"other")
    os.utime(other, (1_700_000_000, 1_700_000_000))
    students.convert_gguf(file)
    other.replace(file)
    assert (students.convert_gguf(file) / "content").read_bytes() == b"other"


@pytest.mark.usefixtures("content_alone")
def test_a_copy_is_kept_while_its_file_is_the_same_and_made_again_if_it_does_not_say_how_it_was_read(
    tmp_path: Path,
) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"first")
    copy = students.convert_gguf(file)
    (copy / "content").write_bytes(b"kept")
    os.utime(file)
    assert (students.convert_gguf(file) / "content").read_bytes() == b"kept"
    (copy / students.SOURCE_HASH).unlink()
    assert (students.convert_gguf(file) / "content").read_bytes() == b"first"
    (copy / "content").write_bytes(b"read in another way")
    (copy / students.SOURCE_HASH).write_text(hashlib.sha256(b"first").hexdigest())
    assert (students.convert_gguf(file) / "content").read_bytes() == b"first"


@pytest.mark.parametrize("content", [b"GGUF", b"GGUF" + bytes(40), b"<html>"])
def test_a_damaged_file_is_told_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(TrainingError, match=r"student file \S+/m\.gguf cannot be converted.*fetch it again"):
        students.convert_gguf(tmp_path / "m.gguf")


def test_a_file_system_without_locks_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(TrainingError, match=rf"student file in {tmp_path}: its file system cannot lock files"):
        students.convert_gguf(tmp_path / "m.gguf")


def test_weights_that_are_cut_off_are_told_by_their_file(tmp_path: Path) -> None:
    weights = save_student(tmp_path / "mine") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(TrainingError, match=r"student \S+/mine/model\.safetensors: is cut off"):
        students.load_student(str(tmp_path / "mine"), torch.device("cpu"))
