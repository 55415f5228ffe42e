"""Writes rows to the store and returns the pointer that the state keeps."""

from collections.abc import Sequence

from pada_agent.core.ports import ArtifactStore
from pada_agent.core.records import Record, Ref


def put_rows(store: ArtifactStore, kind: str, rows: Sequence[Record], *made_from: object) -> Ref:
    """Store rows under a hash of `made_from` or, without it, of the rows themselves."""
    key = store.key(kind, *(made_from or (list(rows),)))
    if not store.has(key) or (
        rows and not store.rows_path(key).stat().st_size
    ):  # a crash of the machine leaves empty files
        store.write_rows(key, rows)
    return Ref(key=key, rows=len(rows))
