"""Writes rows to the store and returns the pointer that the state keeps, and reads what jobs wrote there."""

from collections.abc import Sequence
from pathlib import Path

from pada_agent.core.errors import ArtifactError
from pada_agent.core.json_lines import ModelT, read_json_lines
from pada_agent.core.ports import ArtifactStore
from pada_agent.core.records import Record, Ref


def put_rows(store: ArtifactStore, kind: str, rows: Sequence[Record], *made_from: object) -> Ref:
    """Store rows under a hash of `made_from` or, without it, of the rows themselves."""
    ref = Ref(key=store.key(kind, *(made_from or (list(rows),))), rows=len(rows))
    if not is_whole(store, ref):
        store.write_rows(ref.key, rows)
    return ref


def is_whole(store: ArtifactStore, ref: Ref) -> bool:
    """Whether all rows are there. A crash of the machine may leave a file that is empty or cut short."""
    path = store.rows_path(ref.key)
    return path.is_file() and path.read_bytes().count(b"\n") == ref.rows


def read_output(path: Path, kind: type[ModelT], *, n: int) -> list[ModelT]:
    """What a finished job wrote for its `n` rows, one line each, in order.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    advice = f"Delete the folder {path.parent}, then continue the run, which computes it again."
    found = read_json_lines(path, kind, if_missing=advice, if_damaged=advice)
    if len(found) != n:
        raise ArtifactError(f"{path}: damaged ({len(found)} lines for {n} rows). {advice}")
    return found
