"""Files of one record a line: what is read, and what is said of one that cannot be."""

from pathlib import Path

import pytest

from pada_agent.core.errors import ArtifactError
from pada_agent.core.json_lines import read_json_lines
from pada_agent.core.records import Ref


@pytest.mark.parametrize("end", ["\n", ""], ids=["whole", "without a last line end"])
def test_every_line_is_a_record(tmp_path: Path, end: str) -> None:
    path = tmp_path / "refs.jsonl"
    path.write_text('{"key": "a\\u2028b"}\n{"key": "c", "rows": 2}' + end)
    assert read_json_lines(path, Ref) == [Ref(key="a\u2028b"), Ref(key="c", rows=2)]
    assert read_json_lines(path, Ref, limit=1) == [Ref(key="a\u2028b")]


def test_an_empty_file_holds_none(tmp_path: Path) -> None:
    (tmp_path / "refs.jsonl").write_text("")
    assert read_json_lines(tmp_path / "refs.jsonl", Ref) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "missing. Run it again."),
        (b'{"key": "a"}\n{"key": 1}\n', "damaged (line 2: key: Input should be a valid string). Delete it."),
        (b'{"key": "a"}\n{"ke', "damaged (line 2: Invalid JSON"),
        (b'{"key": "a"}\n\n{"key": "b"}\n', "damaged (line 2: Invalid JSON"),
        (b"\xff\n", "damaged ('utf-8' codec can't decode"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "refs.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        read_json_lines(path, Ref, if_missing="Run it again.", if_damaged="Delete it.")
    assert str(caught.value).startswith(f"{path}: {told}")
