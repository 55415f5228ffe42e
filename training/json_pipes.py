"""Standard streams of a process that reads requests as JSON lines from stdin and answers on stdout."""

import os
import queue
import sys
import threading
from collections.abc import Iterator
from typing import TextIO


def claim_stdout() -> TextIO:
    """The real stdout, for answers only. Anything that libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def read_stdin() -> Iterator[str]:
    """Lines as they arrive. When stdin closes, a thread ends the process, even in the middle of its work."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield lines.get()
