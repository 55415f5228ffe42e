"""Text files as people send them: compressed or not, UTF-8 or UTF-16, with or without a byte order mark."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pada_agent.core.errors import DatasetError

BYTE_ORDER_MARK = "\ufeff"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_CHUNK_BYTES = 2**20


@contextmanager
def open_bytes(location: str, path: Path, max_bytes: int | None = None) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked if it is a `.gz`; more than `max_bytes` of them are refused.

    Raises:
        DatasetError: a `.gz` that is damaged or too large unpacked.
    """
    if path.suffix.lower() != ".gz":
        with path.open("rb") as file:
            yield file
        return
    with path.open("rb") as packed, io.BytesIO() as unpacked:
        try:
            with gzip.open(packed) as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    unpacked.write(chunk)
                    if max_bytes is not None and unpacked.tell() > max_bytes:
                        raise DatasetError(
                            f"{location}: more than {max_bytes} bytes after unpacking are not accepted here"
                        )
        except (OSError, EOFError, zlib.error) as exc:
            raise DatasetError(f"{location}: not a readable .gz file: {exc}") from exc
        unpacked.seek(0)
        yield unpacked


def read_lines(location: str, path: Path, max_bytes: int | None = None) -> Iterator[str]:
    """The file's lines with their ends; a byte order mark is dropped, also where files were joined.

    Raises:
        DatasetError: bytes that are no UTF-8, nor UTF-16 with its mark; names the line.
    """
    with open_bytes(location, path, max_bytes) as file:
        start = file.read(2)
        file.seek(0)
        lines = _decode_utf_16(location, file) if start in _UTF_16 else _decode(location, file)
        for line in lines:
            yield line.lstrip(BYTE_ORDER_MARK) if line.startswith(BYTE_ORDER_MARK) else line


def _decode(location: str, file: IO[bytes]) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise DatasetError(
                f"{location}:{number}: not UTF-8 ({exc.reason} at byte {exc.start + 1}). Save the file as UTF-8."
            ) from exc


def _decode_utf_16(location: str, file: IO[bytes]) -> Iterator[str]:
    try:
        text = file.read().decode("utf-16")
    except UnicodeDecodeError as exc:
        raise DatasetError(f"{location}: starts as UTF-16 but is damaged. Save the file as UTF-8.") from exc
    yield from io.StringIO(text, newline="\n")
