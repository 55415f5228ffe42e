"""Places for calls at the same time, where calls that others wait for go first."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock


class Places:
    """So many at once. A free place goes to the urgent one that has waited longest, if there is one, else to the first of the others."""

    def __init__(self, n: int) -> None:
        self._n_free = n
        self._lock = Lock()
        self._urgent: deque[Event] = deque()
        self._others: deque[Event] = deque()

    @contextmanager
    def hold(self, *, urgent: bool = False) -> Iterator[None]:
        """Wait for a place, and hold it."""
        queue = self._urgent if urgent else self._others
        self._wait(queue)
        try:
            yield
        finally:
            self._pass_on()

    def _wait(self, queue: deque[Event]) -> None:
        turn = Event()
        with self._lock:
            if self._n_free:
                self._n_free -= 1
                return
            queue.append(turn)
        try:
            turn.wait()
        except BaseException:  # Ctrl-C, in the main thread
            self._give_up(turn, queue)
            raise

    def _give_up(self, turn: Event, queue: deque[Event]) -> None:
        with self._lock:
            if turn in queue:
                queue.remove(turn)
                return
        self._pass_on()  # the place had just come

    def _pass_on(self) -> None:
        with self._lock:
            if queue := self._urgent or self._others:
                queue.popleft().set()
            else:
                self._n_free += 1
