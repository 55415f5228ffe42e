"""Text files as people send them: compressed or not, UTF-8, UTF-16 or UTF-32, with or without a byte order mark."""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pada_agent.core.errors import DatasetError

BYTE_ORDER_MARK = "\ufeff"
_MARKS = {  # those of UTF-32 begin as those of UTF-16 do
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_CHUNK_BYTES = 2**20
_SAMPLE_BYTES = 2**16
_MANY = 0.2
"""Share of zero bytes above which a file that could be UTF-8 is none: in UTF-16 every character of ASCII has one."""


@contextmanager
def open_bytes(location: str, path: Path, max_bytes: int | None = None) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed if it is a `.gz`. More than `max_bytes` are refused.

    Raises:
        DatasetError: it cannot be opened, or is a `.gz` that is damaged or too large when decompressed.
    """
    try:
        file = path.open("rb")
    except OSError as exc:
        raise DatasetError(f"{location}: cannot be read ({exc.strerror})") from exc
    with file:
        if path.suffix.lower() != ".gz":
            yield file
            return
        with io.BytesIO() as unpacked:
            _unpack(location, file, unpacked, max_bytes)
            yield unpacked


def _unpack(location: str, packed: IO[bytes], unpacked: IO[bytes], max_bytes: int | None) -> None:
    if packed.read(2) != b"\x1f\x8b":
        raise DatasetError(f"{location}: not a readable .gz file: it is not packed. Take .gz off its name")
    packed.seek(0)
    try:
        with gzip.open(packed) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                unpacked.write(chunk)
                if max_bytes is not None and unpacked.tell() > max_bytes:
                    raise DatasetError(f"{location}: more than {max_bytes} bytes after unpacking are not accepted here")
    except EOFError as exc:
        raise DatasetError(
            f"{location}: not a readable .gz file: it ends too early, as after a broken download. Fetch or pack it again"
        ) from exc
    except (OSError, zlib.error) as exc:
        raise DatasetError(
            f"{location}: not a readable .gz file: it is damaged ({exc}). Fetch or pack it again"
        ) from exc
    unpacked.seek(0)


def read_lines(location: str, path: Path, max_bytes: int | None = None) -> Iterator[str]:
    """The file's lines, including line ends. Byte order marks are dropped, even where files were joined.

    Raises:
        DatasetError: there are bytes that are neither UTF-8 nor certainly UTF-16 or UTF-32. The message names the line.
    """
    with open_bytes(location, path, max_bytes) as file:
        encoding = find_encoding(location, file.read(_SAMPLE_BYTES))
        file.seek(0)
        lines = _decode(location, file) if encoding is None else _decode_wide(location, file, encoding)
        for line in lines:
            yield line.lstrip(BYTE_ORDER_MARK) if line.startswith(BYTE_ORDER_MARK) else line


def find_encoding(location: str, sample: bytes) -> str | None:
    """UTF-16 or UTF-32, recognized by the byte order mark or by the positions of zero bytes. None for what should be UTF-8.

    Raises:
        DatasetError: these bytes are not text.
    """
    if marked := next((encoding for mark, encoding in _MARKS.items() if sample.startswith(mark)), None):
        return marked
    n_zeros = sample.count(0)
    if not n_zeros or (n_zeros < _MANY * len(sample) and _reads_as("utf-8", sample)):
        return None
    zeros = [sample[place::4].count(0) for place in range(4)]
    order = "le" if zeros[1] + zeros[3] > zeros[0] + zeros[2] else "be"
    encoding = next((e for e in (f"utf-32-{order}", f"utf-16-{order}") if _reads_as(e, sample, _CONTROL)), None)
    if encoding is None and n_zeros >= _MANY * len(sample):
        raise DatasetError(f"{location}: is not a text file. Name a file that contains rows")
    return encoding


_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\ufffe\uffff]")


def _reads_as(encoding: str, sample: bytes, without: re.Pattern[str] | None = None) -> bool:
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return False
    return without is None or without.search(text) is None


def _decode(location: str, file: IO[bytes]) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise DatasetError(
                f"{location}:{number}: not UTF-8 (byte {exc.start + 1} of the line is {line[exc.start]:02X}): the file is in"
                " another encoding, such as Windows-1252. Save it as UTF-8."
            ) from exc


def _decode_wide(location: str, file: IO[bytes], encoding: str) -> Iterator[str]:
    try:
        text = file.read().decode(encoding)
    except UnicodeDecodeError as exc:
        raise DatasetError(f"{location}: starts as {encoding.upper()} but is damaged. Save the file as UTF-8.") from exc
    yield from io.StringIO(text, newline="\n")
