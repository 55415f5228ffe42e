"""What may be meant for a setting, so that nobody leaves it out without a word."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

_LIKENESS = 0.75
"""difflib's ratio, from which a name is taken for that of a misspelled group of settings."""


class ClaimedNames(dict[str, Any]):
    """The properties of a schema, which claim to contain whatever is likely to be meant for one of them, or for a setting below.

    LangGraph's server (langgraph-api) leaves out of a context, without a word, what the properties of its schema do not contain. Keys that have
    nothing to do with settings, such as a user's id, may be left out: LangGraph's own are among them.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        super().__init__(schema["properties"])
        groups = schema.get("$defs", {}).values()
        self._below = frozenset(name for group in groups for name in group.get("properties", {}))

    def __contains__(self, name: object) -> bool:
        return (
            super().__contains__(name) or name in self._below or bool(get_close_matches(str(name), self, 1, _LIKENESS))
        )
