"""Objects in an object store (`pada-agent[cluster]`), for machines that share no folder."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from pydantic import ValidationError

from pada_agent.app.adapters.storage.artifacts import explain_writing
from pada_agent.core.damage import word_damage
from pada_agent.core.durability import replace_durably
from pada_agent.core.errors import ArtifactError, ConfigError, TrainingError
from pada_agent.core.machine import hash_once
from pada_agent.core.records import Record

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Bucket

SCHEMES = ("s3", "gs", "az", "file")
MANIFEST = "done.json"
CHECKPOINT = "checkpoint"
CHUNK_BYTES = 8 * 2**20
"""What is read with one request. The library's time limit of 30 seconds is per request."""
PARALLEL_PARTS = 4
MOVES = 10
"""Attempts to replace a folder that other processes replace too."""
TEST_PATIENCE = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}


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
            raise TrainingError(f"{self._url}/{key} is not in the object store. Continue the run to publish it again.")
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
                replace_durably(scratch, file)
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

    def clear(self) -> None:
        """Remove everything below the address, as far as that is permitted."""
        import obstore

        with suppress(ArtifactError), self._explained("cleaned up"):
            self._delete([file["path"] for part in obstore.list(self._bucket) for file in part])
        if self._url.startswith("file://"):  # folders are files' names elsewhere
            shutil.rmtree(unquote(urlsplit(self._url).path), ignore_errors=True)

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
            f"{self._url}/{key}: damaged ({name}: {what}). Delete everything below this address, then continue the run: it"
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
    while True:
        with suppress(FileNotFoundError):  # another process of this machine replaces the folder at this moment
            return _describe(folder)


def _describe(folder: Path) -> dict[str, StoredFile]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {path.relative_to(folder): path for path in files}
    return {
        name.as_posix(): StoredFile(n_bytes=path.stat().st_size, sha256=hash_once(path))
        for name, path in names.items()
        if not any(part.startswith(".") for part in name.parts)
    }


def _put_in_place(scratch: Path, folder: Path, files: dict[str, StoredFile]) -> None:
    """Move the files to the folder. Others that are there make room, unless another process has brought the same meanwhile."""
    aside = scratch.with_name(f"{scratch.name}.old")
    for _ in range(MOVES):
        try:
            replace_durably(scratch, folder)
        except OSError as exc:
            if describe(folder) == files:
                return
            problem = exc
            with suppress(FileNotFoundError):  # another process was faster
                folder.replace(aside)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            return
    raise problem


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
