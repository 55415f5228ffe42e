"""How the channels of the state take updates, and values of a checkpoint. All reducers are idempotent merges, so a channel that a
subgraph shares with its parent is never counted twice.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Self, TypeVar

from langgraph.channels import BaseChannel, BinaryOperatorAggregate, LastValue
from langgraph.types import Overwrite
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pada_agent.core.errors import ArtifactError, ConfigError
from pada_agent.core.settings import Settings

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
                read_edit(self, value)  # refuses it
        changed = super().update(values)
        if changed:
            self.value = read_edit(self, self.value)
        return changed

    def from_checkpoint(self, checkpoint: dict[str, ValueT]) -> Self:
        restored = super().from_checkpoint(checkpoint)
        if restored.value:
            restored.value = read_if_possible(restored)
        return restored


def unite(old: list[str], new: Sequence[str]) -> list[str]:
    """Union in order of first appearance."""
    return list(dict.fromkeys([*old, *new]))


class Same(LastValue[ValueT]):
    """A channel that parallel nodes may all write the same value to, as happens when their events are streamed. None empties it.

    What a person writes with `update_state` becomes a record here. Of settings, it changes what it names.

    Raises:
        ConfigError: a value does not fit the channel; the state stays as it was.
    """

    def update(self, values: Sequence[ValueT]) -> bool:
        value = values[-1] if values else None
        if isinstance(value, Mapping) and self.is_available() and isinstance(self.value, Settings):
            edited: Any = self.value.model_copy(update=value).model_dump(exclude_unset=True)
            values = [edited]
        changed = super().update(values[-1:])
        if self.value is None:
            self.value = type(self)(self.typ).value
        elif changed:
            self.value = read_edit(self, self.value)
        return changed

    def from_checkpoint(self, checkpoint: ValueT) -> Self:
        restored = super().from_checkpoint(checkpoint)
        if restored.is_available():
            restored.value = read_if_possible(restored)
        return restored


Kept = Merged[Any] | Same[Any]
"""A channel whose values are those of its type."""


def read_edit(channel: Kept, value: Any) -> Any:
    """What a person wrote with `update_state`, which may be JSON, as records. What nodes write stays as it is.

    Raises:
        ConfigError: the value does not fit the channel.
        ArtifactError: a branch gets it from a checkpoint that this version cannot read.
    """
    try:
        return _find_reader(channel.typ).validate_python(value)
    except ValidationError as exc:
        raise ConfigError(f"{_name_problem(channel, exc)}. docs/embedding.md shows how to edit the state.") from exc
    except AttributeError:  # of a validator that expects records
        refuse_unread({channel.key: value}, {channel.key: channel})
        raise


def read_if_possible(channel: Kept) -> Any:
    """The channel's value as records, where a checkpointer has restored them as mappings. As it is if that cannot be: somebody may
    only want to look at it.
    """
    try:
        return _read_anew(channel, channel.value)
    except ValidationError:
        return channel.value


def refuse_unread(state: Mapping[str, Any], channels: Mapping[str, BaseChannel[Any, Any, Any]]) -> None:
    """Check that the values are what this version writes. LangGraph restores even those records whose fields do not fit.

    Raises:
        ArtifactError: names the first place that is not.
    """
    for name, channel in channels.items():
        if name in state and isinstance(channel, Merged | Same):
            try:
                _read_anew(channel, state[name])
            except ValidationError as exc:
                raise ArtifactError(
                    f"the thread's checkpoint cannot be read by this version of pada-agent ({_name_problem(channel, exc)}). If another"
                    " version wrote it, continue the thread with that one, or start the run again on a new thread."
                ) from exc


def _read_anew(channel: Kept, value: Any) -> Any:
    """The value from what it consists of, because records that LangGraph has restored may hold anything."""
    reader = _find_reader(channel.typ)
    return reader.validate_python(reader.dump_python(value, warnings=False))


def _name_problem(channel: Kept, exc: ValidationError) -> str:
    problem = exc.errors()[0]
    place = ".".join(map(str, (channel.key, *problem["loc"])))
    return f"{place}: {problem['msg'].rstrip('.')}"


@cache
def _find_reader(kind: type[ValueT]) -> TypeAdapter[ValueT]:
    is_record = isinstance(kind, type) and issubclass(kind, BaseModel)  # which has a configuration of its own
    return TypeAdapter(kind, config=None if is_record else ConfigDict(coerce_numbers_to_str=True))


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
