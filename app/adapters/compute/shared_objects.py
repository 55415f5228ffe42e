"""How the machines of a cluster find each other's objects: in a folder that they share, or in an object store (`pada-agent[cluster]`)."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from pydantic import ValidationError

from pada_agent.app.adapters.compute.local_compute import has_output, hash_once
from pada_agent.app.adapters.storage.artifacts import explain_writing
from pada_agent.core.damage import word_damage
from pada_agent.core.errors import ArtifactError, ConfigError, TrainingError
from pada_agent.core.records import Record

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Bucket

SCHEMES = ("s3", "gs", "az", "file")
MANIFEST = "done.json"
CHECKPOINT = "checkpoint"
CHUNK_BYTES = 8 * 2**20
"""What is read with one request. The library's time limit of 30 seconds is per request."""
PARALLEL_PARTS = 4
TEST_PATIENCE = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}


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
    """A folder that all machines have under the same path. Writers move whole objects into it, so nothing is left to do."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, key: str) -> bool:
        return has_output(self._folder / key)

    def publish(self, key: str, folder: Path) -> None:
        del key, folder

    def fetch(self, key: str, folder: Path) -> None:
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


class StoredFile(Record):
    """What a file has to be after it was downloaded."""

    n_bytes: int
    sha256: str


class Manifest(Record):
    """The attempt whose files are the object. Whoever writes this first has published it."""

    attempt: str
    files: dict[str, StoredFile]
    """By path below the object's folder."""


class ObjectStore:
    """Objects below a URL, as `KEY/ATTEMPT/…` and `KEY/done.json`.

    Every writer has its own attempt. The manifest `done.json` is written last, and only if there is none. A reader
    follows the manifest, so it never sees half an object.
    """

    def __init__(self, url: str, bucket: "Bucket | None" = None) -> None:
        self._url = url
        self._bucket = open_bucket(url) if bucket is None else bucket

    def has(self, key: str) -> bool:
        return self._read_manifest(key) is not None

    def publish(self, key: str, folder: Path) -> None:
        mine = describe(folder)
        winner = self._read_manifest(key) or self._upload(key, folder, mine)
        if winner.files != mine:
            self._bring(key, winner, folder)

    def fetch(self, key: str, folder: Path) -> None:
        """The copy that is here is compared with the manifest, so one that is damaged or of another time is replaced."""
        manifest = self._read_manifest(key)
        if manifest is None:
            raise TrainingError(
                f"{self._url}/{key} is not in the object store. `pada resume` the run to publish it again."
            )
        if describe(folder) != manifest.files:
            self._bring(key, manifest, folder)

    def save(self, key: str, file: Path) -> None:
        self._put(f"{key}/{CHECKPOINT}", file)

    def load(self, key: str, file: Path) -> None:
        """Read with one request, because between two the file may be replaced."""
        import obstore

        scratch = file.with_name(f"{file.name}.{uuid4().hex[:12]}")
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with suppress(FileNotFoundError), self._explained("read"):
                stream = obstore.get(self._bucket, f"{key}/{CHECKPOINT}").stream()
                with scratch.open("wb") as out:
                    out.writelines(stream)
                scratch.replace(file)
        finally:
            scratch.unlink(missing_ok=True)

    def forget(self, key: str) -> None:
        self._delete([f"{key}/{CHECKPOINT}"])

    def test(self) -> None:
        """Write a small file twice. The second time has to be refused, because otherwise two writers would not notice each other.

        Raises:
            ArtifactError: the store cannot be written to, or replaces files.
        """
        path = f"test-{uuid4().hex[:12]}"
        written, replaced = self._put_new(path, b"1"), self._put_new(path, b"2")
        self._delete([path])
        if not written or replaced:
            raise ArtifactError(
                f"compute.cluster.store: {self._url} ignores `If-None-Match: *`, so two writers would replace each other's files."
            )

    def _read_manifest(self, key: str) -> Manifest | None:
        import obstore

        try:
            with self._explained("read"):
                content = bytes(obstore.get(self._bucket, f"{key}/{MANIFEST}").bytes())
        except FileNotFoundError:
            return None
        try:
            manifest = Manifest.model_validate_json(content)
        except ValidationError as exc:
            raise self._damaged(key, MANIFEST, word_damage(exc)) from exc
        for name in manifest.files:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise self._damaged(key, MANIFEST, f"it names a file outside of the object: {name}")
        return manifest

    def _upload(self, key: str, folder: Path, files: dict[str, StoredFile]) -> Manifest:
        """Write the files, then the manifest. Returns the manifest that counts, which is another's if that one was faster."""
        mine = Manifest(attempt=uuid4().hex[:12], files=files)
        for name in files:
            self._put(f"{key}/{mine.attempt}/{name}", folder / name)
        if self._put_new(f"{key}/{MANIFEST}", mine.model_dump_json().encode()):
            return mine
        winner = self._read_manifest(key)
        if winner is None:
            raise self._damaged(key, MANIFEST, "it was removed a moment ago")
        if winner.attempt != mine.attempt:
            self._delete([f"{key}/{mine.attempt}/{name}" for name in files])
        return winner

    def _bring(self, key: str, manifest: Manifest, folder: Path) -> None:
        """Download the files aside, check them, and move them into place."""
        scratch = folder.with_name(f".{folder.name}.{uuid4().hex[:12]}")
        try:
            with explain_writing(folder):
                for name, file in manifest.files.items():
                    self._download(f"{key}/{manifest.attempt}/{name}", file, scratch / name, key)
                _put_in_place(scratch, folder, manifest.files)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _download(self, path: str, file: StoredFile, target: Path, key: str) -> None:
        import obstore

        digest = hashlib.sha256()
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as out:
            try:
                with self._explained("read"):
                    n_bytes = obstore.head(self._bucket, path)["size"]
                for start in range(0, min(n_bytes, file.n_bytes), CHUNK_BYTES):
                    with self._explained("read"):
                        chunk = obstore.get_range(
                            self._bucket, path, start=start, end=min(start + CHUNK_BYTES, n_bytes)
                        )
                    digest.update(chunk)
                    out.write(chunk)
            except FileNotFoundError as exc:
                raise self._damaged(key, target.name, "missing") from exc
        if digest.hexdigest() != file.sha256:
            raise self._damaged(key, target.name, "not what was published")

    def _put(self, path: str, file: Path | bytes) -> None:
        import obstore

        try:
            with self._explained("written"):
                obstore.put(self._bucket, path, file, max_concurrency=PARALLEL_PARTS)
        except FileNotFoundError as exc:  # there is no such bucket
            raise self._out_of_reach("written", exc) from exc

    def _put_new(self, path: str, content: bytes) -> bool:
        """Write the file if there is none. Returns whether it was written."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            with self._explained("written"):
                obstore.put(self._bucket, path, content, mode="create")
        except AlreadyExistsError:
            return False
        except FileNotFoundError as exc:
            raise self._out_of_reach("written", exc) from exc
        return True

    def _delete(self, paths: list[str]) -> None:
        """Remove what nobody will read. Harmless if that is not permitted."""
        import obstore

        with suppress(ArtifactError, FileNotFoundError), self._explained("cleaned up"):
            obstore.delete(self._bucket, paths)

    def _damaged(self, key: str, name: str, what: str) -> ArtifactError:
        return ArtifactError(
            f"{self._url}/{key}: damaged ({name}: {what}). Delete everything below this address, then `pada resume` the run: it"
            " publishes or computes it again."
        )

    @contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        from obstore.exceptions import AlreadyExistsError, BaseError

        try:
            yield
        except (AlreadyExistsError, FileNotFoundError):
            raise
        except (BaseError, OSError, ValueError) as exc:
            raise self._out_of_reach(done, exc) from exc

    def _out_of_reach(self, done: str, exc: Exception) -> ArtifactError:
        reason = " ".join(str(exc).split("Debug source")[0].split())[:300]
        return ArtifactError(
            f"compute.cluster.store: {self._url} cannot be {done} from {os.uname().nodename} ({reason.rstrip('.')}). Credentials"
            " come from the environment of each machine."
        )


def describe(folder: Path) -> dict[str, StoredFile]:
    """The folder's files, without hidden ones. Empty if there is no such folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {path.relative_to(folder): path for path in files}
    return {
        name.as_posix(): StoredFile(n_bytes=path.stat().st_size, sha256=hash_once(path))
        for name, path in names.items()
        if not any(part.startswith(".") for part in name.parts)
    }


def _put_in_place(scratch: Path, folder: Path, files: dict[str, StoredFile]) -> None:
    """Move the files to the folder. Others that are there make room, unless another process has brought the same meanwhile."""
    try:
        scratch.replace(folder)
    except OSError:
        if describe(folder) == files:
            return
        aside = scratch.with_name(f"{scratch.name}.old")
        folder.replace(aside)
        scratch.replace(folder)
        shutil.rmtree(aside, ignore_errors=True)


def check_url(url: str) -> None:
    """Check the settings of an object store without reaching for it.

    Raises:
        ConfigError: the library is not installed, or it is no address of a store.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES or not rest.strip("/"):
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ConfigError(f"compute.cluster.store: {url} is not the address of an object store. There are: {known}.")
    if find_spec("obstore") is None:
        raise ConfigError("compute.cluster.store needs obstore: pip install 'pada-agent[cluster]'")


def open_bucket(url: str, **options: Any) -> "Bucket":
    """The store at this address. Keys and endpoints come from the environment, under the names that its provider uses.

    Raises:
        ConfigError: the address or the environment do not say enough.
    """
    check_url(url)
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    options |= {"mkdir": True} if url.startswith("file:") else {}
    try:
        return from_url(url, **options)
    except (BaseError, OSError, ValueError) as exc:
        reason = " ".join(str(exc).split("Debug source")[0].split())
        raise ConfigError(f"compute.cluster.store: {url} cannot be opened ({reason.rstrip('.')}).") from exc


def try_store(url: str) -> None:
    """Write a small file, which a second writer must not replace, and remove it. Gives up after seconds.

    Raises:
        ConfigError: the store cannot be used.
    """
    patience = {} if url.startswith("file:") else {"retry_config": TEST_PATIENCE}
    try:
        ObjectStore(url, open_bucket(url, **patience)).test()
    except ArtifactError as exc:
        raise ConfigError(str(exc)) from exc


def name_content(folder: Path) -> str:
    """A key for what is in the folder."""
    files = "".join(f"{name} {file.sha256}\n" for name, file in describe(folder).items())
    return f"input-{hashlib.sha256(files.encode()).hexdigest()[:16]}"


def is_url(place: str) -> bool:
    """Whether the place is an object store, not a folder."""
    return "://" in place


@lru_cache(maxsize=64)
def open_objects(place: str) -> SharedObjects:
    """The objects at a URL or in a folder."""
    return ObjectStore(place) if is_url(place) else SharedFolder(Path(place))


def find_folder(place: str) -> Path:
    """Where this node keeps the objects of that place: the shared folder itself, or its own copies of what is in the store."""
    if not is_url(place):
        return Path(place)
    root = os.environ.get("PADA_OBJECTS") or Path.home() / ".cache" / "pada-agent" / "objects"
    return Path(root) / hashlib.sha256(place.encode()).hexdigest()[:16]
