"""Rows that several nodes read."""

from typing import Any

from pada_agent.core.records import Example
from pada_agent.graph.context import Adapters
from pada_agent.graph.state import BatchState


def read_protected(state: Any, adapters: Adapters) -> list[Example]:
    """Validation and test rows: for comparison only."""
    data = state["data"]
    refs = [data.validation, *([data.test] if data.test else [])]
    return [example for ref in refs for example in adapters.store.read_rows(ref.key, Example)]


def read_known_rows(state: BatchState, adapters: Adapters) -> list[Example]:
    """Training rows, the synthetic rows of the diagnosed model, and in a top-up round what the iteration has gathered."""
    refs = [state["data"].train, *state["models"][state["plan"].diagnosed_model].synthetic]
    refs += [state["new_rows"]] if state["batch"].top_up else []
    return [example for ref in refs for example in adapters.store.read_rows(ref.key, Example)]
