"""Both ends of a process that is asked by JSON lines on stdin and answers on stdout."""

import os
import queue
import sys
import threading
from collections.abc import Iterator
from typing import TextIO


def claim_stdout() -> TextIO:
    """The real stdout, for answers only. Whatever libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def read_stdin() -> Iterator[str]:
    """Lines as they come. A thread waits for the end of stdin, to end the process even while it works."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield lines.get()
