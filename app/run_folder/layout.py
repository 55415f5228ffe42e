"""A run's directory: the files in it, and the records of how the run was started."""

import fcntl
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TypeVar

from pydantic import Field, ValidationError

from pada_agent.app.adapters.storage.missing_files import find_other_form
from pada_agent.app.adapters.storage.model_store import catalogue
from pada_agent.app.adapters.storage.slices import split_slice
from pada_agent.app.run_folder.model_files import ModelFile, describe_models
from pada_agent.app.run_folder.versions import find_commit, find_version, refuse_content, tell_other
from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import expand_home, find_local_names, load_config
from pada_agent.core.damage import is_file, refuse_unread, tell_no_locks
from pada_agent.core.errors import ArtifactError, ConfigError
from pada_agent.core.json_lines import read_json_lines
from pada_agent.core.machine import LLAMA_SERVER, hash_file
from pada_agent.core.records import Record
from pada_agent.core.wording import count
from pada_agent.core.yaml_values import write_values
from pada_agent.graph.summary import RunSummary

CONFIG = "config.yaml"
MANIFEST = "manifest.json"
SUMMARY = "summary.json"
REPORT = "report.html"
EVENTS = "events.jsonl"
CHECKPOINTS = "checkpoints.sqlite"
CALLS = "llm_calls.sqlite"
LOCK = ".lock"
RecordT = TypeVar("RecordT", bound=Record)
_FIRST_AND_LAST = ("name", "data", "prompts")
"""Keys of a run's settings as they are written, in every version."""
_RESTORE = (
    "Restore the settings that the run was started with (`pada config show FILE > {path}`), or start another run."
)
_PACKAGES = ("pada-agent", "langgraph", "langchain-core", "torch", "transformers", "peft", "xllamacpp", "scikit-learn")


class Manifest(Record):
    """The conditions under which a run was started."""

    started_at: str
    command: tuple[str, ...]
    working_folder: str
    python: str
    platform: str
    n_cpus: int | None
    packages: dict[str, str]
    commit: str | None = None
    """Git commit of pada-agent. Empty if it came without git, null in runs of versions that did not record it."""
    llama_server: str = ""
    """The user's own llama.cpp (`PADA_LLAMA_SERVER`), where the embedded engine has one."""
    data_sha256: dict[str, str]
    """By location. Local files only."""
    files_of_models: dict[str, dict[str, ModelFile]] = Field(default_factory=dict)
    """See `ModelFiles`. Runs of earlier versions have none."""


def folder_of(config: RunConfig) -> Path:
    """The folder of the run with these settings."""
    return Path(config.runs_folder) / config.name


def load_run_config(folder: Path) -> RunConfig:
    """The settings of the run in `folder`.

    Raises:
        ArtifactError: this is not a run's folder, or its settings are incomplete or cannot be read.
        ConfigError: the settings are complete but cannot be used.
    """
    path = folder / CONFIG
    if not is_file(path):
        raise ArtifactError(_describe_other(folder))
    try:
        config = load_config(path)
    except ConfigError as exc:
        if isinstance(exc.__cause__, OSError):
            raise refuse_unread(path, exc.__cause__) from exc
        other = tell_other(folder / MANIFEST) if exc.__cause__ is None else ""  # else it is not YAML
        raise ConfigError(f"{exc}\n{other or _RESTORE.format(path=path)}") from exc
    # A run writes all its settings down, so what is missing was lost, and the defaults are not what it ran with.
    if missing := [key for key in _FIRST_AND_LAST if key not in config.model_fields_set]:
        raise ArtifactError(f"{path}: damaged ({', '.join(missing)} is missing). {_RESTORE.format(path=path)}")
    return config


def _describe_other(folder: Path) -> str:
    """What there is in place of a run's folder."""
    if folder.is_dir() and (runs := sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))):
        table = " Their table is in its results.md." if (folder / "results.md").is_file() else ""
        return f"{folder}: holds {count(len(runs), 'run')}. Name one of them, such as {runs[0]}.{table}"
    if folder.is_dir():
        return f"{folder}: not a run folder (it has no {CONFIG}). `pada run CONFIG` starts a run."
    if folder.exists():
        return f"{folder}: is a file, not a run folder. Name a folder such as runs/NAME."
    return f"{folder}: no such folder (in {Path.cwd()}). `pada run CONFIG` starts a run."


def word_resume(folder: Path) -> str:
    """The command that continues the run, as a shell takes it."""
    return f"pada resume {shlex.quote(str(folder))}"


def check_place(folder: Path, config: RunConfig) -> None:
    """Check that an unfinished run is in the folder that its settings name, because its state refers to that folder, and that
    relative paths in its settings name what they named at its start.

    Raises:
        ArtifactError: the folder was moved, or this is a different working directory.
    """
    home, started_in = folder_of(config), _find_working_folder(folder)
    if home.resolve() == folder.resolve() and not (started_in and _is_elsewhere(started_in, config)):
        return
    if started_in is not None and (started_in / home).resolve() == folder.resolve():
        way_out = f"cd {shlex.quote(str(started_in))} && {word_resume(home)}"
        raise ArtifactError(f"{folder}: its settings are relative to the folder that it was started in: {way_out}")
    raise ArtifactError(
        f"{folder}: according to its settings this run belongs at {home}, relative to {started_in or Path.cwd()}."
        " Move it back to resume it."
    )


def _is_elsewhere(started_in: Path, config: RunConfig) -> bool:
    """Whether a setting may name something else here than in the folder that the run was started in."""
    with suppress(OSError):  # a folder that may not be searched is like one that is no more
        if not started_in.is_dir() or started_in.samefile(Path.cwd()):
            return False
        paths = (Path(split_slice(name)[0]) for name in find_local_names(config) if name not in catalogue())
        return any(not p.is_absolute() and (_exists(started_in / p) or _exists(p)) for p in paths)
    return False


def _exists(path: Path) -> bool:
    with suppress(OSError):  # a text that is too long for a name, or a folder that may not be searched
        return path.exists()
    return False


def locate(folder: Path, name: str) -> str:
    """The absolute path of what a setting of the run in `folder` names, if that is in the folder that the run was started in. Any
    other name, such as that of a hub model or of the catalog, is returned unchanged."""
    started_in = None if name in catalogue() else _find_working_folder(folder)
    return str(started_in / name) if started_in and _exists(started_in / name) else name


def _find_working_folder(folder: Path) -> Path | None:
    """Where the run was started, if its manifest can be read."""
    with suppress(OSError, ValidationError):
        return Path(Manifest.model_validate_json((folder / MANIFEST).read_bytes()).working_folder)
    return None


def is_finished(folder: Path) -> bool:
    """Whether the run has published its result.

    Raises:
        ArtifactError: the folder may not be searched.
    """
    return is_file(folder / SUMMARY)


def load_summary(folder: Path) -> RunSummary:
    """The result of a finished run.

    Raises:
        ArtifactError: it is not finished, or damaged, or of another version, or cannot be read, or there is no such run.
    """
    path = folder / SUMMARY
    try:
        return RunSummary.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as exc:
        if not is_file(folder / CONFIG):
            raise ArtifactError(_describe_other(folder)) from exc
        raise ArtifactError(f"{path}: missing; the run is not finished. Continue with: {word_resume(folder)}") from exc
    except OSError as exc:
        raise refuse_unread(path, exc) from exc
    except ValidationError as exc:
        advice = f"Delete it, then: {word_resume(folder)}"
        raise refuse_content(path, exc, folder=folder, if_damaged=advice) from exc


def read_lines(path: Path, kind: type[RecordT]) -> list[RecordT]:
    """The records in a published file, one per line.

    Raises:
        ArtifactError: it is damaged, or another version wrote it. The message names the line.
    """
    advice = f"Delete the run's {SUMMARY}: `pada resume` then writes it again."
    folder = next((parent for parent in path.parents if (parent / CONFIG).is_file()), path.parent)
    other = tell_other(folder / MANIFEST)
    return read_json_lines(path, kind, if_missing=advice, if_damaged=advice, if_unfit=other)


def dump_config(config: RunConfig) -> str:
    """The settings as YAML, with every default."""
    return write_values(config.model_dump(mode="json"))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes away from the run.

    Raises:
        ArtifactError: another process is working on it, or its file system cannot lock files.
    """
    file = try_lock(folder)
    if file is None:
        raise refuse_busy(folder)
    with file:
        yield


def refuse_busy(folder: Path) -> ArtifactError:
    """The error for a run on which another process is working."""
    return ArtifactError(f"{folder}: another pada process is working on this run. Wait for it, or stop it.")


def try_lock(folder: Path) -> IO[str] | None:
    """The lock of `locked`, held until the file is closed or this process ends. None if somebody holds it.

    Raises:
        ArtifactError: the folder cannot be written to, or its file system cannot lock files.
    """
    while True:
        file = _open_lock(folder)
        try:
            is_mine = _is_locked_now(file, folder)
        except ArtifactError:
            file.close()
            raise
        if is_mine and _is_there(file, folder / LOCK):
            return file
        file.close()
        if not is_mine:
            return None


def _is_locked_now(file: IO[str], folder: Path) -> bool:
    """Lock the file. False if somebody holds the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as exc:
        raise ArtifactError(f"{folder}: {tell_no_locks(exc)}") from exc
    return True


def _is_there(file: IO[str], path: Path) -> bool:
    """Whether this is still the file of that name. The run that held it may have removed it meanwhile."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _open_lock(folder: Path) -> IO[str]:
    try:
        return (folder / LOCK).open("a")  # in a folder that is not a run's, it may be somebody else's file
    except OSError as exc:
        raise ArtifactError(
            f"{folder}: cannot be written to ({exc.strerror}). Change its owner or permissions, or copy it and resume from there."
        ) from exc


def describe_machine(config: RunConfig) -> Manifest:
    """The manifest of a run that starts now."""
    return Manifest(
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=tuple(sys.argv),
        working_folder=str(Path.cwd()),
        python=platform.python_version(),
        platform=platform.platform(),
        n_cpus=os.cpu_count(),
        packages={name: found for name in _PACKAGES if (found := find_version(name))},
        commit=find_commit(),
        llama_server=os.environ.get(LLAMA_SERVER, ""),
        data_sha256=hash_data(config),
        files_of_models=describe_models(config),
    )


def hash_data(config: RunConfig) -> dict[str, str]:
    """SHA-256 of the files with rows and of a task's databases, by location. Without those that cannot be read: whoever reads the rows explains
    why."""
    data = config.data
    locations = (data.train, data.validation, data.test, data.held_back, config.task.database)
    hashed = {location: _hash_rows(Path(expand_home(split_slice(location)[0]))) for location in locations if location}
    return {location: sha for location, sha in hashed.items() if sha}


def _hash_rows(path: Path) -> str:
    """Empty if this is no file, or one that may not be read."""
    with suppress(OSError):
        file = path if path.is_file() else find_other_form(path) or path
        return hash_file(file) if file.is_file() else ""
    return ""
