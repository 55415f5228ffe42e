"""How the machines of a cluster find each other's objects: in a folder that they share, or in an object store."""

import hashlib
import os
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from pada_agent.app.adapters.compute.local_compute import has_output
from pada_agent.app.adapters.compute.object_store import ObjectStore, describe
from pada_agent.core.errors import TrainingError

LOOK_SECONDS = 0.5


class SharedObjects(Protocol):
    """Objects of a run: folders of files by key, which other machines can have too."""

    def has(self, key: str) -> bool:
        """Whether somebody has published the whole object."""
        ...

    def publish(self, key: str, folder: Path) -> None:
        """Let others have the folder's files. The first who publishes a key wins: afterwards the folder has the winner's files."""
        ...

    def fetch(self, key: str, folder: Path) -> None:
        """Make the folder have the published files.

        Raises:
            TrainingError: nobody has published them.
            ArtifactError: they are damaged, or the store cannot be read.
        """
        ...

    def save(self, key: str, file: Path) -> None:
        """Let others have this version of a file that belongs to an object but changes while the object is made."""
        ...

    def load(self, key: str, file: Path) -> None:
        """Bring the version here that was saved last, if there is one."""
        ...

    def forget(self, key: str) -> None:
        """Remove what was saved."""
        ...


class SharedFolder:
    """A folder that all machines have under the same path. Writers move whole objects into it, so nothing is left to do.

    Args:
        patience: seconds to wait for an object that must be there. A machine that looked for it before may remember that it was missing:
            NFS does so for up to a minute.
    """

    def __init__(self, folder: Path, patience: float = 0) -> None:
        self._folder = folder
        self._patience = patience

    def has(self, key: str) -> bool:
        return has_output(self._folder / key)

    def publish(self, key: str, folder: Path) -> None:
        del key, folder

    def fetch(self, key: str, folder: Path) -> None:
        end = time.monotonic() + self._patience
        while not self.has(key) and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
            with suppress(OSError):
                os.listdir(self._folder)  # noqa: PTH208  (to have the file system ask again)
        if not self.has(key):
            raise TrainingError(
                f"{folder} is not there. The runs' folder has to be one that all nodes share, under the same path; without"
                " one, set compute.cluster.store."
            )

    def save(self, key: str, file: Path) -> None:
        del key, file

    def load(self, key: str, file: Path) -> None:
        del key, file

    def forget(self, key: str) -> None:
        del key


def name_content(folder: Path) -> str:
    """A key for what is in the folder."""
    files = "".join(f"{name} {file.sha256}\n" for name, file in describe(folder).items())
    return f"input-{hashlib.sha256(files.encode()).hexdigest()[:16]}"


def is_url(place: str) -> bool:
    """Whether the place is an object store, not a folder."""
    return "://" in place


@lru_cache(maxsize=64)
def open_objects(place: str, patience: float = 0) -> SharedObjects:
    """The objects at a URL or in a folder (see `SharedFolder` for `patience`)."""
    return ObjectStore(place) if is_url(place) else SharedFolder(Path(place), patience)


def find_folder(place: str) -> Path:
    """Where this node keeps the objects of that place: the shared folder itself, or its own copies of what is in the store."""
    if not is_url(place):
        return Path(place)
    root = Path(os.environ.get("PADA_OBJECTS") or "~/.cache/pada-agent/objects").expanduser()
    return root / hashlib.sha256(place.encode()).hexdigest()[:16]
