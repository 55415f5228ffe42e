"""Records which provider batch holds which call, so that a run that was killed finds its batches again and pays for nothing twice."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from pada_agent.app.adapters.storage.artifacts import tell_why_unwritten
from pada_agent.core.errors import ArtifactError

_TABLES = """
CREATE TABLE IF NOT EXISTS batches (token TEXT PRIMARY KEY, id TEXT, n INTEGER NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS batched (key TEXT PRIMARY KEY, token TEXT NOT NULL);
"""
"""`token` is our own name of a batch, `id` the provider's: null from before it is sent until the provider has named it."""


class SentBatch(NamedTuple):
    """A batch that was sent, or was about to be sent."""

    token: str
    """Our own name for it."""
    id: str | None
    """The provider's name for it. None until the provider has answered."""
    n: int
    """Number of calls in it."""
    at: float
    """When it was sent, in Unix seconds."""


class BatchLedger:
    """Two tables in the file of LLM calls. Each operation opens the file, because there are few of them and nothing needs closing then."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, token: str, keys: Sequence[str]) -> SentBatch:
        """Record that a batch of these calls is about to be sent."""
        sent = SentBatch(token, None, len(keys), time.time())
        with self._open() as database, database:
            database.execute("INSERT INTO batches VALUES (?, ?, ?, ?)", sent)
            database.executemany("INSERT OR REPLACE INTO batched VALUES (?, ?)", [(key, token) for key in keys])
        return sent

    def name(self, token: str, batch_id: str) -> None:
        """Record the provider's name for it."""
        with self._open() as database, database:
            database.execute("UPDATE batches SET id = ? WHERE token = ?", (batch_id, token))

    def find(self, key: str) -> SentBatch | None:
        """The batch that holds the call, or None."""
        query = "SELECT token, id, n, at FROM batched JOIN batches USING (token) WHERE key = ?"
        with self._open() as database:
            row = database.execute(query, (key,)).fetchone()
        return SentBatch(*row) if row else None

    def list_keys(self, token: str) -> frozenset[str]:
        """Calls of the batch that still have no answer."""
        with self._open() as database:
            rows = database.execute("SELECT key FROM batched WHERE token = ?", (token,)).fetchall()
        return frozenset(key for (key,) in rows)

    def list_ids(self) -> frozenset[str]:
        """The provider's names of all batches that have one."""
        with self._open() as database:
            rows = database.execute("SELECT id FROM batches WHERE id IS NOT NULL").fetchall()
        return frozenset(batch_id for (batch_id,) in rows)

    def forget(self, token: str) -> None:
        """Forget a batch that does not exist, or no longer exists."""
        with self._open() as database, database:
            database.execute("DELETE FROM batched WHERE token = ?", (token,))
            database.execute("DELETE FROM batches WHERE token = ?", (token,))

    def forget_call(self, key: str) -> None:
        """Forget a call that its batch did not answer."""
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
            raise ArtifactError(f"{self._path}: batches cannot be recorded: {tell_why_unwritten(exc)}") from exc
