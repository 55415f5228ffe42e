"""Checkpoints of a long fine-tuning. Another attempt at the same job continues from the last one."""

import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from pada_agent.core.durability import replace_durably


class JobCheckpoint:
    """The latest state of a job, in one file that is written at most every `seconds`. Without a file, nothing is kept.

    The file is replaced as a whole, so it is never half written. Reading it runs no code (`weights_only`).
    """

    def __init__(self, file: Path | None, *, seconds: float) -> None:
        self._file = file
        self._seconds = seconds
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The state that was saved last. None if there is none or the file is damaged, so the job starts over."""
        if self._file is None or not self._file.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self._file, map_location="cpu", weights_only=True)
        except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError):
            return None
        return state

    def discard(self) -> None:
        """Remove the file, so that the next attempt starts over."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def save_when_due(self, take_state: Callable[[], dict[str, Any]]) -> None:
        """Save `take_state()` if the last save (or the start) was at least `seconds` ago.

        Raises:
            OSError: the disk is full, or the folder cannot be written to. It may be the context of torch's RuntimeError.
        """
        if self._file is None or time.monotonic() - self._last < self._seconds:
            return
        partial = self._file.with_name(f"{self._file.name}.{uuid4().hex[:12]}")  # process ids may repeat across nodes
        try:
            with partial.open("wb") as file:  # given a path, torch does not say that the disk is full
                torch.save(take_state(), file)
            replace_durably(partial, self._file)
        finally:
            partial.unlink(missing_ok=True)
        self._last = time.monotonic()


NOTHING_KEPT = JobCheckpoint(None, seconds=0)
