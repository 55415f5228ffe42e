"""What is renamed is on the disk before it has its new name."""

import os
from pathlib import Path

import pytest

from pada_agent.core.durability import replace_durably


@pytest.mark.parametrize("is_folder", [True, False])
def test_everything_is_on_the_disk_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_folder: bool
) -> None:
    made, place = tmp_path / "made", tmp_path / "place"
    if is_folder:
        (made / "deep").mkdir(parents=True)
    files = [made / "adapter.bin", made / "deep" / "metrics.json"] if is_folder else [made]
    for file in files:
        file.write_text("1")
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def record(number: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{number}").readlink()), place.exists()))
        fsync(number)

    monkeypatch.setattr("os.fsync", record)
    replace_durably(made, place)
    assert {(str(file), False) for file in files} <= set(synced)
    assert synced[-1] == (str(tmp_path), True)
    assert place.is_dir() == is_folder and not made.exists()


def test_what_links_point_to_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "gone").symlink_to(tmp_path / "nowhere")
    replace_durably(tmp_path / "made", tmp_path / "place")
    assert (tmp_path / "place" / "gone").is_symlink()


def test_files_that_do_not_reach_the_disk_are_not_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    (tmp_path / "made").write_text("1")
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        replace_durably(tmp_path / "made", tmp_path / "place")
    assert not (tmp_path / "place").exists()
