"""Who works with a set of adapters: equal calls of the graph share one, so none of them may close it alone."""

from collections.abc import Callable
from threading import Lock


class Users:
    """Counts the nodes that work with a set of adapters. It is closed when a call has ended with it and no node uses it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._n = 0
        self._is_ended = False
        self._is_closed = False

    def enter(self, *, even_if_closed: bool = False) -> bool:
        """Count one more node. False, without counting it, if the set was closed and another has to be made."""
        with self._lock:
            if self._is_closed and not even_if_closed:
                return False
            self._is_closed = False
            self._n += 1
            return True

    def end(self) -> None:
        """A call has no more use for the set."""
        self._is_ended = True

    def leave(self, retire: Callable[[], None]) -> bool:
        """Count one node less. Returns whether the set is to be closed now; then `retire` has been called before anybody can know."""
        with self._lock:
            self._n -= 1
            if self._n or not self._is_ended:
                return False
            retire()
            self._is_ended, self._is_closed = False, True
            return True
