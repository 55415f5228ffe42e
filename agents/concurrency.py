"""Several LLM calls at once; how many really run is the model adapter's limit."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def map_concurrently(
    function: Callable[[ItemT], ResultT], items: Sequence[ItemT], *, workers: int = 32
) -> list[ResultT]:
    """Results in order. The first exception is raised once the calls under way have ended.

    Each call runs in a copy of the caller's context, so tracing callbacks see their parent.
    """
    if not items:
        return []
    with ThreadPoolExecutor(max_workers=min(workers, len(items))) as pool:
        futures = [pool.submit(copy_context().run, function, item) for item in items]
        return [future.result() for future in futures]
