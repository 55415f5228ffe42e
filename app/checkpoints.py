"""What a checkpointer needs to know of the state."""

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel

import pada_agent.graph.state  # noqa: F401  its records count among the subclasses
from pada_agent.core.config import Settings
from pada_agent.core.records import Record


def make_serializer() -> JsonPlusSerializer:
    """For any checkpointer, as `serde=`: revives the state's records and settings, and nothing else that a file may name."""
    return JsonPlusSerializer(allowed_msgpack_modules=[*_subclasses(Record), *_subclasses(Settings)])


def _subclasses(base: type[BaseModel]) -> list[type]:
    return [kind for child in base.__subclasses__() for kind in [child, *_subclasses(child)]]
