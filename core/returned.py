"""Checks what code of an application or of another package returns, where it comes in."""

from collections.abc import Coroutine
from typing import TypeVar

from pada_agent.core.errors import PartError

T = TypeVar("T")


def check_returned(found: object, kind: type[T], *, by: str) -> T:
    """`found`, if it is a `kind`.

    Args:
        by: who returned it, such as `Riddles.verify`.

    Raises:
        PartError: it is something else.
    """
    if isinstance(found, kind):
        return found
    if isinstance(found, Coroutine):
        found.close()  # otherwise Python warns that nobody awaited it
        raise PartError(f"{by} must return a value of type {kind.__name__}, not a coroutine. Define it without async.")
    shown = "None" if found is None else f"one of type {type(found).__name__}"
    raise PartError(f"{by} must return a value of type {kind.__name__}, not {shown}.")
