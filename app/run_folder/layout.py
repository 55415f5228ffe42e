"""A run's directory: who may use it, and the records of how the run was started."""

import fcntl
import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml
from pydantic import ValidationError

from pada_agent.app.adapters.storage.artifacts import write_atomically
from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import flatten, load_config
from pada_agent.core.errors import ArtifactError, ConfigError
from pada_agent.core.machine import hash_file
from pada_agent.core.records import Record
from pada_agent.graph.summary import RunSummary

CONFIG = "config.yaml"
MANIFEST = "manifest.json"
SUMMARY = "summary.json"
REPORT = "report.html"
EVENTS = "events.jsonl"
CHECKPOINTS = "checkpoints.sqlite"
CALLS = "llm_calls.sqlite"
_DATABASES = (CHECKPOINTS, CALLS)
_PACKAGES = ("pada-agent", "langgraph", "langchain-core", "torch", "transformers", "peft", "xllamacpp", "scikit-learn")


class Manifest(Record):
    """Under which conditions a run was started."""

    started_at: str
    command: tuple[str, ...]
    working_folder: str
    python: str
    platform: str
    n_cpus: int | None
    packages: dict[str, str]
    data_sha256: dict[str, str]
    """By location, local files only."""


def claim_folder(config: RunConfig) -> Path:
    """The run's folder: made, or found with the same settings, so that the run goes on. The budget may differ: the new one holds.

    Raises:
        ConfigError: the folder holds another run, or something else.
    """
    folder = Path(config.runs_folder) / config.name
    if (folder / CONFIG).is_file():
        found = load_run_config(folder)
        if not (changed := _find_changed(found, config)):
            if found.budget != config.budget:
                write_atomically(folder / CONFIG, dump_config(found.model_copy(update={"budget": config.budget})))
            return folder
        if holds_work(folder):
            raise ConfigError(
                f"{folder}: holds a run with other settings ({', '.join(changed)} differ).\n"
                f"Go on with it:   pada resume {folder}\nStart a new one: set another `name`, or give --out."
            )
        with locked(folder):
            start_over(folder)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: exists and is not a run's folder. Choose another `name` or --out.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ArtifactError(f"{folder}: cannot be made ({exc.strerror}). Choose another --out.") from exc
    write_atomically(folder / CONFIG, dump_config(config))
    write_atomically(folder / MANIFEST, describe_machine(config).model_dump_json(indent=2) + "\n")
    return folder


def holds_work(folder: Path) -> bool:
    """Whether something was computed or paid for: a job's output, an answer of a language model, a step after `prepare`."""
    objects = folder / "objects"
    # Where objects are shared, they are other runs' too.
    made = () if objects.is_symlink() else (f for f in objects.glob("*-*") if f.is_dir() and _is_job(f))
    return (
        is_finished(folder)
        or any(any(f.iterdir()) for f in made)
        or _has_calls(folder / CALLS)
        or _is_beyond_preparing(folder / EVENTS)
    )


def _is_job(folder: Path) -> bool:
    return folder.name.partition("-")[0] in ("fine_tune", "predict", "export")


def _has_calls(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as calls:
            return calls.execute("SELECT 1 FROM calls LIMIT 1").fetchone() is not None
    except sqlite3.DatabaseError:
        return True  # what cannot be read may be worth keeping


def _is_beyond_preparing(path: Path) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return any('"mode": "updates"' in line and '"prepare"' not in line for line in text.split("\n"))


def start_over(folder: Path) -> None:
    """Remove what a run wrote that ended before anything was worth keeping, so that corrected settings can take its place."""
    for name in (CONFIG, MANIFEST, EVENTS, *(f"{stem}{end}" for stem in _DATABASES for end in ("", "-wal", "-shm"))):
        (folder / name).unlink(missing_ok=True)
    objects = folder / "objects"
    if objects.is_symlink():
        objects.unlink()
    else:
        shutil.rmtree(objects, ignore_errors=True)
    (folder / "worker.log").unlink(missing_ok=True)


def load_run_config(folder: Path) -> RunConfig:
    """The settings of the run in `folder`.

    Raises:
        ArtifactError: not a run's folder.
    """
    if not (folder / CONFIG).is_file():
        raise ArtifactError(f"{folder}: not a run's folder (it has no {CONFIG}). `pada run CONFIG` starts a run.")
    return load_config(folder / CONFIG)


def check_place(folder: Path, config: RunConfig) -> None:
    """An unfinished run goes on only where its settings place it: its state names that folder.

    Raises:
        ArtifactError: the folder was moved, or the working directory is another.
    """
    home = Path(config.runs_folder) / config.name
    if home.resolve() != folder.resolve():
        raise ArtifactError(
            f"{folder}: its settings place this run at {home}, seen from {Path.cwd()}."
            f" Move it back, or resume from the working folder that its {MANIFEST} names."
        )


def is_finished(folder: Path) -> bool:
    """Whether the run has published its result."""
    return (folder / SUMMARY).is_file()


def load_summary(folder: Path) -> RunSummary:
    """The result of a finished run.

    Raises:
        ArtifactError: not finished, or damaged.
    """
    path = folder / SUMMARY
    try:
        return RunSummary.model_validate_json(path.read_bytes())
    except FileNotFoundError as exc:
        raise ArtifactError(f"{path}: missing; the run is not finished. Go on with: pada resume {folder}") from exc
    except (OSError, ValidationError) as exc:
        raise ArtifactError(f"{path}: damaged ({exc}). Delete it, then: pada resume {folder}") from exc


def dump_config(config: RunConfig) -> str:
    """The settings as YAML, with every default."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes away from the run.

    Raises:
        ArtifactError: another process is at work on it.
    """
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise ArtifactError(
                f"{folder}: another pada process is at work on this run. Wait for it, or end it."
            ) from exc
        yield


def describe_machine(config: RunConfig) -> Manifest:
    """The manifest of a run that starts now."""
    return Manifest(
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=tuple(sys.argv),
        working_folder=str(Path.cwd()),
        python=platform.python_version(),
        platform=platform.platform(),
        n_cpus=os.cpu_count(),
        packages={name: found for name in _PACKAGES if (found := _find_version(name))},
        data_sha256=_hash_data(config),
    )


def _find_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _hash_data(config: RunConfig) -> dict[str, str]:
    locations = (config.data.train, config.data.validation, config.data.test, config.task.database)
    files = {location: Path(location).expanduser() for location in locations if location}
    return {location: hash_file(path) for location, path in files.items() if path.is_file()}


def _find_changed(found: RunConfig, wanted: RunConfig) -> list[str]:
    """Keys of settings that differ, without those that a run may go on with."""
    here, there = flatten(found.model_dump(mode="json")), flatten(wanted.model_dump(mode="json"))
    # Keys of a free mapping (task.columns, prompts) may be on one side only.
    keys = sorted(k for k in here.keys() | there.keys() if here.get(k) != there.get(k))
    return [k for k in keys if k not in ("name", "runs_folder") and not k.startswith("budget.")]
