"""Who works with a set of adapters: equal calls of the graph share one, so none of them may close it alone."""

import time
from collections.abc import Callable
from threading import Lock, Timer

IDLE_SECONDS = 300.0
"""How long a set is kept that no node uses, though no call has ended with it: the run waits for a person, in a review or at a breakpoint."""


class Users:
    """Counts the nodes that work with a set of adapters. It is closed when a call has ended with it and no node uses it."""

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._left_at = 0.0
        self._timer: Timer | None = None
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
            self._left_at = time.monotonic()
            return bool(self._is_ended) and self._retire_unused(retire)

    def close_when_idle(self, retire: Callable[[], None], close: Callable[[], None]) -> None:
        """Close the set once no node has used it for a while. Call it after `leave`; returns at once."""
        with self._lock:
            if self._timer is None and not self._n and not self._is_closed:
                self._wait(self._idle_seconds, retire, close)

    def _wait(self, seconds: float, retire: Callable[[], None], close: Callable[[], None]) -> None:
        self._timer = Timer(seconds, self._close_if_idle, (retire, close))
        self._timer.daemon = True
        self._timer.start()

    def _close_if_idle(self, retire: Callable[[], None], close: Callable[[], None]) -> None:
        with self._lock:
            self._timer = None
            left = self._left_at + self._idle_seconds - time.monotonic()
            if self._n or self._is_closed:
                return
            if left > 0:
                self._wait(left, retire, close)
                return
            self._retire_unused(retire)
        close()

    def _retire_unused(self, retire: Callable[[], None]) -> bool:
        if self._n:
            return False
        retire()
        self._is_ended, self._is_closed = False, True
        if self._timer:
            self._timer.cancel()
            self._timer = None
        return True
