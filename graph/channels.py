"""How the channels of the state take updates. All reducers are idempotent merges, so a channel that a subgraph shares with its
parent is never counted twice.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from langgraph.channels import BaseChannel, BinaryOperatorAggregate, LastValue
from langgraph.types import Overwrite
from pydantic import ConfigDict, TypeAdapter, ValidationError

from pada_agent.core.errors import ConfigError

ValueT = TypeVar("ValueT")


def merge(old: dict[str, ValueT], new: dict[str, ValueT]) -> dict[str, ValueT]:
    """Union by key. The newer value wins."""
    return {**old, **new}


class Merged(BinaryOperatorAggregate[dict[str, ValueT]]):
    """A channel that merges by key. What a person writes with `update_state` becomes records here, with texts for keys.

    Raises:
        ConfigError: a value does not fit the channel; the state stays as it was.
    """

    def __init__(self, typ: type[dict[str, ValueT]], operator: Callable[..., dict[str, ValueT]] = merge) -> None:
        super().__init__(typ, operator)

    def update(self, values: Sequence[dict[str, ValueT]]) -> bool:
        for value in values:
            if not isinstance(value, dict | Overwrite):
                self._read(value)  # refuses it
        changed = super().update(values)
        if changed:
            self.value = self._read(self.value)
        return changed

    def _read(self, value: Any) -> dict[str, ValueT]:
        try:
            found: dict[str, ValueT] = _find_reader(self.typ).validate_python(value)
            return found
        except ValidationError as exc:
            problem = exc.errors()[0]
            place = ".".join(map(str, (self.key, *problem["loc"])))
            raise ConfigError(
                f"{place}: {problem['msg'].rstrip('.')}. docs/embedding.md shows how to edit the state."
            ) from exc


@cache
def _find_reader(kind: type[ValueT]) -> TypeAdapter[ValueT]:
    return TypeAdapter(kind, config=ConfigDict(coerce_numbers_to_str=True))


def unite(old: list[str], new: Sequence[str]) -> list[str]:
    """Union in order of first appearance."""
    return list(dict.fromkeys([*old, *new]))


class Same(LastValue[ValueT]):
    """A channel that parallel nodes may all write the same value to, as happens when their events are streamed. None empties it."""

    def update(self, values: Sequence[ValueT]) -> bool:
        changed = super().update(values[-1:])
        if self.value is None:
            self.value = type(self)(self.typ).value
        return changed


def start_anew(
    update: Mapping[str, Any], held: Mapping[str, Any], channels: Mapping[str, BaseChannel[Any, Any, Any]]
) -> dict[str, Any]:
    """The update of a first node, with which nothing is left of what an earlier start on the same thread put into the channels.

    Args:
        held: the state before the update.
        channels: all channels of the state. Those of the input empty themselves.
    """
    emptied: dict[str, Any] = {}
    for name, channel in channels.items():
        if isinstance(channel, BinaryOperatorAggregate) and held.get(name):
            emptied[name] = Overwrite(update.get(name, channel.value))
        elif isinstance(channel, Same) and name in held and name not in update:
            emptied[name] = None
    return {**update, **emptied}
