"""A GGUF student that several processes convert at once."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pada_agent.training import students


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
