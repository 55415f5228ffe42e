"""Decides to whom a folder belongs. A run writes, replaces and deletes only in its own folder."""

import json
from pathlib import Path
from typing import NamedTuple

from pada_agent.app.adapters.storage.artifacts import write_atomically
from pada_agent.app.run_folder import layout
from pada_agent.app.run_folder.claiming import holds_work
from pada_agent.core.errors import ArtifactError, ConfigError

OWNER = ".owner.json"
"""On a server: records the thread whose run this is."""


class Owner(NamedTuple):
    """Who asks a server for a folder."""

    thread: str
    user: str = ""
    """Empty if the server has no users."""


def check_folder(folder: Path) -> None:
    """Check that a run may work in this folder: it does not exist yet, is empty, or already belongs to a run.

    Raises:
        ConfigError: it is something else, or is inside another run's folder.
    """
    around = next((parent for parent in folder.absolute().parents if _is_run_folder(parent)), None)
    if around:
        raise ConfigError(f"{folder}: is inside the folder of the run {around.name}. Choose another `runs_folder`.")
    if folder.exists() and not _is_run_folder(folder) and not _is_empty(folder):
        raise ConfigError(f"{folder}: exists and is not a run folder. Choose another `name` or `runs_folder`.")


def own_folder(folder: Path, owner: Owner) -> None:
    """Make the folder this thread's, or check that it already is.

    A run's folder belongs to its thread permanently. Only if nothing was computed or paid for can the same user's next
    thread take it over.

    Raises:
        ConfigError: it belongs to another thread, or to no thread.
    """
    check_folder(folder)
    marker = folder / OWNER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if _is_empty(folder):
            with marker.open("x", encoding="utf-8") as file:
                json.dump(owner._asdict(), file)
    except FileExistsError:
        pass  # another thread was quicker
    except OSError as exc:
        raise ArtifactError(f"{folder}: cannot be created ({exc.strerror}).") from exc
    found = _read_owner(marker)
    if found is None:
        raise ConfigError(f"{folder.name}: a run folder that no thread created. Choose another `name`.")
    if found.thread != owner.thread:
        if found.user != owner.user or holds_work(folder):
            raise ConfigError(
                f"{folder.name}: the folder of another thread's run. Choose another `name`, or continue that thread."
            )
        write_atomically(marker, json.dumps(owner._asdict()))


def _is_run_folder(folder: Path) -> bool:
    """Recognized by files that only runs have, because other projects have a config.yaml too."""
    marks = ((OWNER,), (layout.CALLS,), (layout.CONFIG, layout.MANIFEST))
    return any(all((folder / name).is_file() for name in names) for names in marks)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and all(entry.name == layout.LOCK for entry in folder.iterdir())


def _read_owner(marker: Path) -> Owner | None:
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
        return Owner(thread=str(found["thread"]), user=str(found["user"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
