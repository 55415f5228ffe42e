"""The models of a run that are files on this machine, and whether they are still those that it was started with."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pada_agent.app.adapters.compute.local_compute import list_content
from pada_agent.app.adapters.storage.model_store import catalogue
from pada_agent.core.config import RunConfig
from pada_agent.core.machine import hash_once
from pada_agent.core.records import Record

STUDENT = "student.model"


class ModelFile(Record):
    """What tells a file from another. Its bytes are only read again if its size or time of change differs."""

    sha256: str
    n_bytes: int
    mtime_ns: int


ModelFiles = Mapping[str, Mapping[str, ModelFile]]
"""Files by the setting that names their model, then by path within it."""


def describe_models(config: RunConfig) -> dict[str, dict[str, ModelFile]]:
    """The files of the student, the embedder and the teachers. Hub ids and names of the catalog stand for themselves."""
    return {key: _describe(_list_files(path)) for key, path in _locate_models(config).items()}


def find_changed_models(before: ModelFiles, config: RunConfig) -> list[str]:
    """Settings whose models have other files than `before`. Models that are no longer here are left out."""
    paths = _locate_models(config)
    return [key for key, files in before.items() if key in paths and not _is_same(files, _list_files(paths[key]))]


def _locate_models(config: RunConfig) -> dict[str, Path]:
    roles = {"analyst": config.models.analyst, "generator": config.models.generator, "judge": config.models.judge}
    teachers = {f"models.{r}.model": m.model.partition(":")[2] for r, m in roles.items() if m.provider == "local"}
    names = {STUDENT: config.student.model, "models.embedder": config.models.embedder, **teachers}
    return {key: Path(name) for key, name in names.items() if name not in catalogue() and Path(name).exists()}


def _list_files(path: Path) -> dict[str, Path]:
    """An embedder has further files in folders such as `1_Pooling`."""
    files = [*list_content(path), *(file for part in path.glob("[0-9]_*") for file in list_content(part))]
    return {str(file.relative_to(path.parent)): file for file in files}


def _describe(files: Mapping[str, Path]) -> dict[str, ModelFile]:
    """Without files that cannot be read: whoever loads the model explains why."""
    found = {}
    for name, file in files.items():
        with suppress(OSError):
            stat = file.stat()
            found[name] = ModelFile(sha256=hash_once(file), n_bytes=stat.st_size, mtime_ns=stat.st_mtime_ns)
    return found


def _is_same(before: Mapping[str, ModelFile], now: Mapping[str, Path]) -> bool:
    return before.keys() == now.keys() and all(_is_unchanged(file, now[name]) for name, file in before.items())


def _is_unchanged(before: ModelFile, path: Path) -> bool:
    with suppress(OSError):
        stat = path.stat()
        is_untouched = (stat.st_size, stat.st_mtime_ns) == (before.n_bytes, before.mtime_ns)
        return is_untouched or (stat.st_size == before.n_bytes and hash_once(path) == before.sha256)
    return False
