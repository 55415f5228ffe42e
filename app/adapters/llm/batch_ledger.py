"""Which batch at the provider holds which call: a run that was killed finds its batches again and pays nothing twice."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from pada_agent.core.errors import ArtifactError

_TABLES = """
CREATE TABLE IF NOT EXISTS batches (token TEXT PRIMARY KEY, id TEXT, n INTEGER NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS batched (key TEXT PRIMARY KEY, token TEXT NOT NULL);
"""
"""`token` is our own name of a batch, `id` the provider's: null from before it is sent until the provider has named it."""


class SentBatch(NamedTuple):
    """A batch as it was sent, or was about to be."""

    token: str
    id: str | None
    n: int
    """Calls in it."""
    at: float
    """When it was sent, Unix seconds."""


class BatchLedger:
    """Two tables in the file of LLM calls. Each operation opens it: there are few, and nothing is left to close."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, token: str, keys: Sequence[str]) -> SentBatch:
        """Note that a batch of these calls is about to be sent."""
        sent = SentBatch(token, None, len(keys), time.time())
        with self._open() as database, database:
            database.execute("INSERT INTO batches VALUES (?, ?, ?, ?)", sent)
            database.executemany("INSERT OR REPLACE INTO batched VALUES (?, ?)", [(key, token) for key in keys])
        return sent

    def name(self, token: str, batch_id: str) -> None:
        """Note the provider's name of it."""
        with self._open() as database, database:
            database.execute("UPDATE batches SET id = ? WHERE token = ?", (batch_id, token))

    def find(self, key: str) -> SentBatch | None:
        """The batch that holds the call."""
        query = "SELECT token, id, n, at FROM batched JOIN batches USING (token) WHERE key = ?"
        with self._open() as database:
            row = database.execute(query, (key,)).fetchone()
        return SentBatch(*row) if row else None

    def list_keys(self, token: str) -> frozenset[str]:
        """Calls of the batch that are still expected from it."""
        with self._open() as database:
            rows = database.execute("SELECT key FROM batched WHERE token = ?", (token,)).fetchall()
        return frozenset(key for (key,) in rows)

    def list_ids(self) -> frozenset[str]:
        """The provider's names of all batches that have one."""
        with self._open() as database:
            rows = database.execute("SELECT id FROM batches WHERE id IS NOT NULL").fetchall()
        return frozenset(batch_id for (batch_id,) in rows)

    def forget(self, token: str) -> None:
        """The batch does not exist, or no longer."""
        with self._open() as database, database:
            database.execute("DELETE FROM batched WHERE token = ?", (token,))
            database.execute("DELETE FROM batches WHERE token = ?", (token,))

    def forget_call(self, key: str) -> None:
        """The batch gave no answer to this call."""
        with self._open() as database, database:
            database.execute("DELETE FROM batched WHERE key = ?", (key,))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=30)) as database:
                database.execute("PRAGMA synchronous=FULL")  # a lost line is a batch paid for twice
                database.executescript(_TABLES)
                yield database
        except sqlite3.Error as exc:
            raise ArtifactError(
                f"{self._path}: batches cannot be recorded ({exc}). Free some space or change its permissions, then resume."
            ) from exc
