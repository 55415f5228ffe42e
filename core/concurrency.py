"""Runs several LLM calls at once. How many really run in parallel is up to the model adapter."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from threading import Event
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

MAX_WORKERS = 256
"""Calls that wait at the same time, unless another number is given."""


class _NotBegun(Exception):
    """Marks an item that was never started, because another one failed first."""


def map_concurrently(
    function: Callable[[ItemT], ResultT], items: Sequence[ItemT], *, workers: int = MAX_WORKERS
) -> list[ResultT]:
    """Call `function` on every item, in threads, and return the results in the order of the items.

    After the first exception no further item is started; the exception is raised once the running calls have ended.
    Each call runs in a copy of the caller's context, so tracing callbacks see their parent.
    """
    if not items:
        return []
    failed = Event()

    def work(item: ItemT) -> ResultT:
        if failed.is_set():
            raise _NotBegun
        try:
            return function(item)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(max_workers=min(workers, len(items))) as pool:
        futures = [pool.submit(copy_context().run, work, item) for item in items]
        # Not left to the pool: a signal that interrupts its `join` makes Python take a thread at work for one that has ended.
        wait(futures)
    errors = [error for future in futures if (error := future.exception()) and not isinstance(error, _NotBegun)]
    if errors:
        raise errors[0]
    return [future.result() for future in futures]
