"""Files and folders that a crash of the machine leaves whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path


def replace_durably(made: Path, place: Path) -> None:
    """Rename a file or folder to `place` once all of it is on the disk. Otherwise, after a power cut, the new name may have empty
    files.

    Raises:
        OSError: it cannot be there, or the disk is full.
    """
    sync(made)
    made.replace(place)
    _sync_folder(place.parent)


def sync(path: Path) -> None:
    """Wait until a file, or everything in a folder, is on the disk. What its links point to is left out.

    Raises:
        OSError: it cannot be written or read.
    """
    if path.is_symlink():
        return
    if not path.is_dir():
        _sync_one(path)
        return
    for member in path.iterdir():
        sync(member)
    _sync_folder(path)


def _sync_folder(path: Path) -> None:
    with suppress(OSError):  # some file systems sync files only
        _sync_one(path)


def _sync_one(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
