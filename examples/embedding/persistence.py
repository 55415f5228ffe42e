"""Your own checkpointer and store: in memory, SQLite or PostgreSQL.

    python examples/embedding/persistence.py mytask.yaml sqlite:app.sqlite thread-1
    python examples/embedding/persistence.py mytask.yaml postgresql://user@localhost/app thread-1

Run it again after an interruption, and the thread continues where it was. The store remembers the adopted adapter for
all threads.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from subgraph import build_app

from pada_agent import load_config, make_serializer


@contextmanager
def open_persistence(place: str) -> Iterator[tuple[BaseCheckpointSaver[Any], BaseStore]]:
    """A checkpointer and a store at `memory:`, `sqlite:FILE` or a `postgresql://` URL, with their tables made."""
    if place == "memory:":
        yield InMemorySaver(serde=make_serializer()), InMemoryStore()
        return
    with ExitStack() as stack:
        if place.startswith("sqlite:"):
            from langgraph.checkpoint.sqlite import SqliteSaver
            from langgraph.store.sqlite import SqliteStore

            file = place.removeprefix("sqlite:")
            saver: Any = stack.enter_context(SqliteSaver.from_conn_string(file))
            store: Any = stack.enter_context(SqliteStore.from_conn_string(file))
        else:
            from langgraph.checkpoint.postgres import PostgresSaver
            from langgraph.store.postgres import PostgresStore

            saver = stack.enter_context(PostgresSaver.from_conn_string(place))
            store = stack.enter_context(PostgresStore.from_conn_string(place))
        saver.serde = make_serializer()
        saver.setup()
        store.setup()
        yield saver, store


def main(config: str, place: str = "memory:", thread: str = "1") -> dict[str, Any]:
    """Run the app of subgraph.py or continue it; returns what the store knows about the deployed model."""
    settings = load_config(Path(config))
    with open_persistence(place) as (saver, store):
        app = build_app().compile(checkpointer=saver, store=store)
        at: Any = {"configurable": {"thread_id": thread}}
        is_new = app.get_state(at).created_at is None
        app.invoke({"target": 0.9} if is_new else None, at, context=settings, durability="sync")
        found = store.get(("deployed",), settings.task.name)
        return found.value if found else {}


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
