"""Keeps results under names that identify their inputs, so that a name's result never changes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock, RLock
from typing import TypeVar, cast

ValueT = TypeVar("ValueT")


class Memory:
    """Thread-safe. If several callers ask for the same name at once, one computes the value and the others wait.

    Args:
        max_kept: maximum number of values kept. Those used least recently are dropped first.
    """

    def __init__(self, max_kept: int = 64) -> None:
        self._max_kept = max_kept
        self._made: OrderedDict[Hashable, object] = OrderedDict()
        self._making: dict[Hashable, RLock] = {}
        self._lock = Lock()

    def get(self, name: Hashable, make: Callable[[], ValueT]) -> ValueT:
        """The value that `make` returned when it was first called under this name."""
        with self._lock:
            if name in self._made:
                self._made.move_to_end(name)
                return cast(ValueT, self._made[name])
            making = self._making.setdefault(name, RLock())
        with making:
            with self._lock:
                if name in self._made:
                    return cast(ValueT, self._made[name])
            value = make()
            with self._lock:
                self._made[name] = value
                self._making.pop(name, None)
                if len(self._made) > self._max_kept:
                    self._made.popitem(last=False)
        return value

    def forget(self) -> None:
        """Drop all of it."""
        with self._lock:
            self._made.clear()
