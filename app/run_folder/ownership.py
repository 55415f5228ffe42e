"""Decides to whom a folder belongs. A run writes, replaces and deletes only in its own folder."""

import json
from pathlib import Path
from threading import Lock
from typing import IO, NamedTuple

from pada_agent.app.adapters.storage.artifacts import write_atomically
from pada_agent.app.run_folder import layout
from pada_agent.app.run_folder.claiming import holds_work
from pada_agent.core.errors import ArtifactError, ConfigError

OWNER = ".owner.json"
"""On a server: records the thread whose run this is."""


_held: dict[Path, IO[str]] = {}
"""The locks of the folders in which runs of this process work. The system releases them if the process is killed."""
_begun: dict[Path, str] = {}
"""By folder, the identity of the run of this process that works there or waits for a person. Where adapters are shared, it is theirs."""
_changing = Lock()


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

    A run's folder belongs to its thread permanently. Only if its run has ended and nothing was computed or paid for can
    the same user's next thread take it over. From now on, until `leave_folder`, the run counts as working.

    Raises:
        ConfigError: it belongs to another thread, or to no thread.
        ArtifactError: it cannot be created, or its file system cannot lock files.
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
    with _changing:
        _take_over(folder, owner)


def _take_over(folder: Path, owner: Owner) -> None:
    found = _read_owner(folder / OWNER)
    if found is None:
        raise ConfigError(f"{folder.name}: a run folder that no thread created. Choose another `name`.")
    is_free = _hold(folder)
    if found.thread == owner.thread:
        return
    if found.user == owner.user and is_free and not holds_work(folder):
        write_atomically(folder / OWNER, json.dumps(owner._asdict()))
        return
    if is_free:
        _let_go(folder)
    way_out = ", or continue that thread" if found.user == owner.user and not layout.is_finished(folder) else ""
    raise ConfigError(f"{folder.name}: the folder of another thread's run. Choose another `name`{way_out}.")


def begin_run(folder: Path, identity: str, *, again: bool) -> Path:
    """Note that the run with this identity (see `RunSummary`) works in the folder from now on, until `end_run` with the path that is returned.

    Args:
        again: its thread starts again, maybe with other rows.

    Raises:
        ConfigError: another run works there, or has published results that would be replaced.
    """
    place = folder.resolve()
    with _changing:
        if not again and _begun.get(place, identity) != identity:
            raise ConfigError(
                f"{folder}: another run, with other settings or rows, works there or waits for a person. Give this one another `name`."
            )
        if _read_identity(folder) not in ("", identity):
            raise ConfigError(
                f"{folder}: contains the results of a run with other settings or rows, and they would be replaced. Give this one another"
                " `name`, or move that folder away."
            )
        _begun[place] = identity
    return place


def end_run(place: Path) -> None:
    """No run of this process works in the folder any more. Takes no lock and asks no file system: signals and event loops may call it."""
    _begun.pop(place, None)


def _read_identity(folder: Path) -> str:
    """That of the run whose results are in the folder. Empty if there are none, or none that say it."""
    try:
        return str(json.loads((folder / layout.SUMMARY).read_bytes()).get("identity", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def leave_folder(folder: Path) -> None:
    """No run of this process works in the folder any more."""
    with _changing:
        _let_go(folder)


def _hold(folder: Path) -> bool:
    """Hold the folder's lock from now on. False if a run holds it already, of this process or of another."""
    if folder in _held or (lock := layout.try_lock(folder)) is None:
        return False
    _held[folder] = lock
    return True


def _let_go(folder: Path) -> None:
    if lock := _held.pop(folder, None):
        lock.close()


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
