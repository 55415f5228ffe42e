"""Work on a GPU recorded once as a CUDA graph and replayed.

A step of a small model is thousands of short kernels, and launching them one by one takes longer than computing them.
"""

from collections.abc import Callable
from typing import Any

import torch


class Recorder:
    """Makes recordings that share memory and run one after the other. On CPU a recording is the work itself."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        if self._on_gpu:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._pool: Any = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """`work`, which only reads and writes tensors that stay where they are: runs at the first call, replayed from the third."""
        return _Recording(work, self._stream, self._pool) if self._on_gpu else work


class _Recording:
    """The first call runs the work, so that what is made ready on first use is not recorded; the second records it."""

    def __init__(self, work: Callable[[], None], stream: torch.cuda.Stream, pool: Any) -> None:
        self._work = work
        self._stream = stream
        self._pool = pool
        self._is_warm = False
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if not self._is_warm:
            self._run_aside()
            self._is_warm = True
            return
        if self._graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                self._work()
            self._graph = graph
        self._graph.replay()

    def _run_aside(self) -> None:
        """On the stream that records."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._work()
        torch.cuda.current_stream().wait_stream(self._stream)
