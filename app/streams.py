"""Standard streams that are closed, or whose reader has gone: work goes on in silence."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

GONE = (errno.EPIPE, errno.EIO)
"""The reader of a pipe has ended, or a terminal was closed."""


@contextmanager
def surviving(stream: IO[str] | None) -> Iterator[None]:
    """Write to the stream inside. If nobody reads it any more, nothing more is written, because a long run must not end
    with the program that its messages go to.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno not in GONE:
            raise
        with suppress(OSError, ValueError, AttributeError):  # a stream without a file
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())  # type: ignore[union-attr]
            os.close(null)


def open_closed() -> None:
    """Give standard streams that were closed when the program began to nothing, so that no file takes their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  (it stays open)
