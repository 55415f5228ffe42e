"""What a checkpointer needs to know of the state, and what the last checkpoint holds."""

import sqlite3
from pathlib import Path
from typing import cast

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from pydantic import BaseModel

import pada_agent.graph.state  # noqa: F401  its records count among the subclasses
from pada_agent.core.config import Settings
from pada_agent.core.errors import ArtifactError
from pada_agent.core.records import Record
from pada_agent.graph.state import RunState

THREAD_ID = "run"
"""Of the one run in a folder's checkpoints."""


def make_serializer() -> JsonPlusSerializer:
    """For any checkpointer, as `serde=`: revives the state's records and settings, and nothing else that a file may name."""
    return JsonPlusSerializer(allowed_msgpack_modules=[*_subclasses(Record), *_subclasses(Settings)])


def read_state(path: Path) -> RunState:
    """The outer graph's state in the last checkpoint, without what nodes in flight have to add; empty where there is none.

    Raises:
        ArtifactError: the file is damaged, or kept busy by the run.
    """
    if not path.is_file():
        return {}
    try:
        with SqliteSaver.from_conn_string(str(path)) as saver:
            saver.serde = make_serializer()
            found = saver.get_tuple({"configurable": {"thread_id": THREAD_ID, "checkpoint_ns": ""}})
    except sqlite3.Error as exc:
        raise ArtifactError(
            f"{path}: {exc}. If the run is under way, try again. If the file is damaged, delete it and resume:"
            " finished work is taken from objects/."
        ) from exc
    return cast(RunState, found.checkpoint["channel_values"]) if found else {}


def _subclasses(base: type[BaseModel]) -> list[type]:
    return [kind for child in base.__subclasses__() for kind in [child, *_subclasses(child)]]
