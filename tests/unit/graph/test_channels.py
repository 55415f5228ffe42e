"""What the channels of the state hold after updates, and what a new start on the same thread leaves in them."""

from typing import Any

from langgraph.channels import EphemeralValue
from langgraph.graph import StateGraph

from pada_agent.graph.channels import Same, start_anew
from pada_agent.graph.models import UNTOUCHED, TrainedModel
from pada_agent.graph.state import RunState

BEGUN = {"models": {UNTOUCHED: TrainedModel(name=UNTOUCHED, iteration=None)}, "iteration": 0, "warnings": ["few rows"]}


def open_channels() -> dict[str, Any]:
    channels = StateGraph(RunState).channels
    return {name: channel for name, channel in channels.items() if not isinstance(channel, EphemeralValue)}


def apply(update: dict[str, Any], channels: dict[str, Any]) -> dict[str, Any]:
    for name, value in update.items():
        channels[name].update([value])
    return {name: channel.get() for name, channel in channels.items() if channel.is_available()}


def test_a_new_start_leaves_nothing_of_an_earlier_one_in_any_channel() -> None:
    fresh, used = open_channels(), open_channels()
    for channel in used.values():
        channel.value = ["old"] if isinstance(channel.value, list) else {"9": "old"}
    held = {name: channel.get() for name, channel in used.items()}
    assert apply(start_anew(BEGUN, held, open_channels()), used) == apply(BEGUN, fresh)


def test_the_first_start_on_a_thread_writes_plain_values() -> None:
    held = {name: channel.get() for name, channel in open_channels().items() if channel.is_available()}
    assert start_anew(BEGUN, held, open_channels()) == BEGUN


def test_none_empties_a_channel_of_equal_values() -> None:
    channel = Same(str)
    channel.update(["stopped", "stopped"])
    assert channel.get() == "stopped"
    channel.update([None])
    assert not channel.is_available()
