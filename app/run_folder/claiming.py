"""Decides who may use a run's folder: a new run, the same run again, or the same run with corrected settings."""

import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from pydantic import ValidationError

from pada_agent.app.adapters.storage.artifacts import write_atomically
from pada_agent.app.run_folder import layout
from pada_agent.app.run_folder.model_files import STUDENT, find_changed_models
from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import flatten
from pada_agent.core.damage import is_file
from pada_agent.core.errors import ArtifactError, ConfigError, PadaError
from pada_agent.core.wording import agree

ERROR = "error.txt"
"""Exists as long as the run's last result is an error. Its settings may then be corrected in place."""

PLACE = ("name", "runs_folder")
"""Settings that name the run's folder."""

_CHECKPOINTS = tuple(f"{layout.CHECKPOINTS}{end}" for end in ("", "-wal", "-shm"))
_CALLS = tuple(f"{layout.CALLS}{end}" for end in ("", "-wal", "-shm"))


class Claim(NamedTuple):
    """A run's folder, ready to work in."""

    folder: Path
    is_new: bool
    """Whether no run was there."""
    is_made: bool = False
    """Whether the folder itself was made just now. One that was there stays: it may be a link, a mount or the user's own."""


@contextmanager
def claim_folder(config: RunConfig) -> Iterator[Claim]:
    """The run's folder: created, or found with the same settings, rows and models, so that the run continues. It is
    locked within the `with` block.

    Changed settings are accepted if nothing is lost by it: the budget always, and all others if nothing was computed or
    paid for yet, or if the run ended with an error, because its advice must be possible to follow. The run then starts
    over with them, and finds finished work in its objects and stored answers.

    A new run that ends with an error before there is anything to keep leaves nothing behind, unless the error says how to continue.

    Raises:
        ConfigError: the folder contains another run, or something else.
        ArtifactError: another process is working on it, or the run in it was started in another folder, to which its state
            refers.
    """
    folder = layout.folder_of(config)
    is_made = _make_folder(folder)
    with _lock(folder, is_made=is_made):
        is_new = not is_file(folder / layout.CONFIG)
        if is_new and not _is_unused(folder):
            raise _refuse_folder(folder)
        claim = Claim(folder, is_new=is_new, is_made=is_made)
        try:
            if is_new:
                _write_records(folder, config)
            else:
                _take_on(folder, config)
            yield claim
        except PadaError as exc:
            if not exc.way_on:  # that names the folder
                _release(claim)
            raise


def check_finished(folder: Path, config: RunConfig) -> None:
    """Check that the finished run in `folder` has these settings, rows and models.

    Raises:
        ConfigError: it has others.
    """
    if changed := _find_changes(folder, layout.load_run_config(folder), config):
        raise ConfigError(_refuse(folder, changed))


def find_conflicts(folder: Path, config: RunConfig) -> list[str]:
    """How the run in `folder` differs from these settings, rows and models, if that keeps it from going on with them. Empty if there is none.

    Raises:
        ArtifactError: its settings are damaged.
    """
    if not is_file(folder / layout.CONFIG) or _may_change(folder):
        return []
    return _find_changes(folder, layout.load_run_config(folder), config)


def _may_change(folder: Path) -> bool:
    """Whether nothing is lost if the run starts over with other settings."""
    return not layout.is_finished(folder) and ((folder / ERROR).is_file() or not holds_work(folder))


def _take_on(folder: Path, config: RunConfig) -> None:
    """Continue the run that was found, with changes if nothing is lost by them."""
    found = layout.load_run_config(folder)
    if not layout.is_finished(folder) and (models := _find_other_models(folder, found, config)):
        _check_may_start_over(folder, models)
    changed = _find_changes(folder, found, config)
    if changed and not _may_change(folder):
        raise ConfigError(_refuse(folder, changed))
    if changed:
        _start_over(folder, config)
        return
    if not layout.is_finished(folder):
        layout.check_place(folder, found)
    if found.budget != config.budget:
        _write_budget(folder, found, config)


def change_settings(folder: Path, found: RunConfig, wanted: RunConfig) -> RunConfig:
    """Give the run in `folder`, which the caller has locked, other settings because a person says so. Returns the settings it
    continues with.

    Raises:
        ConfigError: it is finished, or the settings name another folder.
    """
    if layout.is_finished(folder):
        raise ConfigError(
            f"{folder}: this run is finished. Start another with `pada run`, under another `name` or --out."
        )
    if moved := [key for key in PLACE if getattr(found, key) != getattr(wanted, key)]:
        raise ConfigError(
            f"{folder}: {' and '.join(moved)} cannot be changed, because a run stays in its folder with all it has paid for."
            f" Leave {agree(len(moved), 'it', 'them')} out, or start another run with `pada run`."
        )
    changed = find_changed(found, wanted)
    models = _find_other_models(folder, found, wanted)
    if others := [key for key in models if key != STUDENT]:
        _check_may_start_over(folder, others)
    if changed or models:
        _start_over(folder, wanted)
    else:
        _write_budget(folder, found, wanted)
    return wanted


def check_models(folder: Path, config: RunConfig) -> None:
    """Start the run over if files of its models have changed and it may, because it ended with an error or nothing was computed.

    Raises:
        ConfigError: the files have changed, and it may not.
        ArtifactError: another process is working on it.
    """
    if models := _find_other_models(folder, config, config):
        _check_may_start_over(folder, models)
        _start_over(folder, config)


def _check_may_start_over(folder: Path, models: list[str]) -> None:
    """Jobs are found again only for the same student, but stored vectors and answers by the name of their model alone."""
    if holds_work(folder) and not ((folder / ERROR).is_file() and models == [STUDENT]):
        raise ConfigError(
            f"{folder}: the files of {', '.join(models)} have changed since this run was started. Put the files back,"
            " or start a new run under another `name` or --out."
        )


def _start_over(folder: Path, config: RunConfig) -> None:
    """Start from the beginning, reusing finished work that does not depend on the changes."""
    if not holds_work(folder):
        _clear(folder)
    for name in _CHECKPOINTS:
        (folder / name).unlink(missing_ok=True)
    _write_records(folder, config)


def _release(claim: Claim) -> None:
    """Undo the claim of a run that ended before there was anything to keep."""
    if claim.is_new and not holds_work(claim.folder):
        _clear(claim.folder)
        _remove_lock(claim.folder, is_made=claim.is_made)


def _remove_lock(folder: Path, *, is_made: bool) -> None:
    """Remove the lock, and the folder if it was made just now."""
    (folder / layout.LOCK).unlink(missing_ok=True)
    if is_made:
        with suppress(OSError):  # somebody has put something into it
            folder.rmdir()


def note_error(folder: Path, text: str) -> None:
    """Remember that the run ended with an error, unless the disk is full: the error itself matters more."""
    with suppress(OSError):
        (folder / ERROR).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def forget_error(folder: Path) -> None:
    """The run is running again."""
    (folder / ERROR).unlink(missing_ok=True)


def holds_work(folder: Path) -> bool:
    """Whether anything was computed or paid for: a job's output, an LLM's answer, or a step after `prepare`."""
    objects = folder / "objects"
    # Where objects are shared, they are other runs' too.
    made = () if objects.is_symlink() else (f for f in objects.glob("*-*") if f.is_dir() and _is_job(f))
    return (
        layout.is_finished(folder)
        or any(any(f.iterdir()) for f in made)
        or _has_calls(folder / layout.CALLS)
        or _is_beyond_preparing(folder / layout.EVENTS)
    )


def find_changed(found: RunConfig, wanted: RunConfig) -> list[str]:
    """Keys of settings that differ, without those that may change while a run continues."""
    here, there = flatten(found.model_dump(mode="json")), flatten(wanted.model_dump(mode="json"))
    # Keys of a free mapping (task.columns, prompts) may be on one side only.
    keys = sorted(k for k in here.keys() | there.keys() if here.get(k) != there.get(k))
    return [k for k in keys if k not in PLACE and not k.startswith("budget.")]


def _find_changes(folder: Path, found: RunConfig, wanted: RunConfig) -> list[str]:
    models = [f"the files of {key}" for key in _find_other_models(folder, found, wanted)]
    return [*find_changed(found, wanted), *find_other_rows(folder, wanted), *models]


def find_other_rows(folder: Path, config: RunConfig) -> list[str]:
    """Files whose rows are no longer those that the run was started with."""
    try:
        before = layout.Manifest.model_validate_json((folder / layout.MANIFEST).read_bytes()).data_sha256
    except (OSError, ValidationError):
        return []
    now = layout.hash_data(config)
    return [f"the rows in {location}" for location, sha in now.items() if before.get(location, sha) != sha]


def _find_other_models(folder: Path, found: RunConfig, wanted: RunConfig) -> list[str]:
    """Settings that name the same model as before, whose files are no longer those that the run was started with."""
    try:
        before = layout.Manifest.model_validate_json((folder / layout.MANIFEST).read_bytes()).files_of_models
    except (OSError, ValidationError):
        return []
    changed = find_changed(found, wanted)
    return [key for key in find_changed_models(before, wanted) if key not in changed]


def _refuse(folder: Path, changed: list[str]) -> str:
    differ = f"({', '.join(changed)} differ)"
    if layout.is_finished(folder):
        return (
            f"{folder}: contains a finished run with other settings {differ}.\n"
            f"Show it:         pada report {shlex.quote(str(folder))}\nStart a new one: set another `name`, or use --out."
        )
    return (
        f"{folder}: contains a run with other settings {differ}.\n"
        f"Continue it:     {layout.word_resume(folder)}\n"
        f"Change it:       {layout.word_resume(folder)} --set A.B=C; finished work that does not depend on it is kept.\n"
        "Start a new one: set another `name`, or use --out."
    )


def _write_budget(folder: Path, found: RunConfig, wanted: RunConfig) -> None:
    write_atomically(folder / layout.CONFIG, layout.dump_config(found.model_copy(update={"budget": wanted.budget})))


def _make_folder(folder: Path) -> bool:
    """Make the folder if it does not exist. Returns whether it was made."""
    is_missing = not folder.exists()
    # In this order, because a process that starts a run makes the lock before anything else.
    is_used = not is_missing and not _is_unused(folder)
    if is_used and not is_file(folder / layout.CONFIG) and not is_file(folder / layout.LOCK):
        raise _refuse_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        is_denied = isinstance(exc, PermissionError)
        advice = "Change the owner or permissions of the folder that it is in, or choose" if is_denied else "Choose"
        raise ArtifactError(f"{folder}: cannot be created ({exc.strerror}). {advice} another --out.") from exc
    return is_missing


def _is_unused(folder: Path) -> bool:
    return folder.is_dir() and all(f.name == layout.LOCK for f in folder.iterdir())


def _refuse_folder(folder: Path) -> ConfigError:
    return ConfigError(f"{folder}: exists and is not a run folder. Choose another `name` or --out.")


def _lock(folder: Path, *, is_made: bool) -> IO[str]:
    try:
        lock = layout.try_lock(folder)
    except ArtifactError:  # nobody can lock it
        if is_made:
            _remove_lock(folder, is_made=True)
        raise
    if lock is None:
        raise layout.refuse_busy(folder)
    return lock


def _write_records(folder: Path, config: RunConfig) -> None:
    write_atomically(folder / layout.CONFIG, layout.dump_config(config))
    write_manifest(folder, config)


def write_manifest(folder: Path, config: RunConfig) -> None:
    """Record that the run starts now, with the files as they are."""
    machine = layout.describe_machine(config)
    write_atomically(folder / layout.MANIFEST, machine.model_dump_json(indent=2) + "\n")


def _clear(folder: Path) -> None:
    """Remove the files of a run that ended before anything was worth keeping."""
    for name in (layout.CONFIG, layout.MANIFEST, layout.EVENTS, "worker.log", ERROR, *_CHECKPOINTS, *_CALLS):
        (folder / name).unlink(missing_ok=True)
    objects = folder / "objects"
    if objects.is_symlink():
        objects.unlink()
    else:
        shutil.rmtree(objects, ignore_errors=True)


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
