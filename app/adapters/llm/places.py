"""Places for calls in progress. Those that wait for one are served by rank, then in the order of arrival."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from threading import Condition


class Places:
    """So many calls may be in progress at once.

    Unlike with a semaphore, a call that others wait for need not queue behind those that could be made at any time.
    """

    def __init__(self, n: int) -> None:
        self._n_free = n
        self._waiting: list[tuple[int, int]] = []
        """Rank and number of arrival."""
        self._arrivals = count()
        self._changed = Condition()

    @contextmanager
    def take(self, rank: int) -> Iterator[None]:
        """Hold a place, after waiting for one if need be. Of the calls that wait, the one with the lowest rank is next."""
        self._wait((rank, next(self._arrivals)))
        try:
            yield
        finally:
            with self._changed:
                self._n_free += 1
                self._changed.notify_all()

    def _wait(self, caller: tuple[int, int]) -> None:
        with self._changed:
            self._waiting.append(caller)
            try:
                self._changed.wait_for(lambda: self._n_free and caller == min(self._waiting))
                self._n_free -= 1
            finally:  # also for a caller that is interrupted, whom nobody must wait for
                self._waiting.remove(caller)
                self._changed.notify_all()
