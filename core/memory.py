"""What is made once and kept: under a name that says all that it was made from, so that it never has to be looked at again."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock, RLock
from typing import TypeVar, cast

ValueT = TypeVar("ValueT")


class Memory:
    """Thread-safe: of callers that ask for the same name at the same time one makes it, and the others wait.

    Args:
        max_kept: values that are kept; those asked for longest ago go first.
    """

    def __init__(self, max_kept: int = 64) -> None:
        self._max_kept = max_kept
        self._made: OrderedDict[Hashable, object] = OrderedDict()
        self._making: dict[Hashable, RLock] = {}
        self._lock = Lock()

    def get(self, name: Hashable, make: Callable[[], ValueT]) -> ValueT:
        """What `make` gave when it was first called under this name."""
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
