"""Records work on a GPU once as a CUDA graph, and replays it.

A step of a small model is thousands of short kernels, and launching them one by one takes longer than computing them.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch

from pada_agent.training.memory import is_out_of_memory

log = logging.getLogger(__name__)


class Recorder:
    """Makes recordings that share memory and run one after the other. On CPU, a recording just runs the work."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._recordings: list[Recording] = []
        if self._on_gpu:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._pool: Any = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], None]) -> "Recording":
        """A recording of `work`, which may only read and write tensors that stay in place. Recorded at the second call, then replayed."""
        recording = Recording(work, self._stream, self._pool) if self._on_gpu else Recording(work)
        self._recordings.append(recording)
        return recording

    def close(self) -> None:
        """Release all recordings and what their work holds. They must not be called again."""
        for recording in self._recordings:
            recording.close()
        self._recordings = []


class Recording:
    """The first call only runs the work, so that one-time setup is not recorded; the second call records it."""

    def __init__(
        self, work: Callable[[], None], stream: torch.cuda.Stream | None = None, pool: object | None = None
    ) -> None:
        self._work: Callable[[], None] | None = work
        self._stream = stream
        self._pool: Any = pool
        self._is_warm = False
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        assert self._work is not None
        if self._stream is None:
            self._work()
        elif not self._is_warm:
            self._run_aside(self._work, self._stream)
            self._is_warm = True
        else:
            if self._graph is None:
                self._record(self._work, self._stream)
            self._replay(self._work)

    def close(self) -> None:
        """Break the reference cycle: the work holds tensors and often, through its owner, this recording, and Python would free it late."""
        self._work = self._graph = None

    def _run_aside(self, work: Callable[[], None], stream: torch.cuda.Stream) -> None:
        """Run the work on the stream that will record it."""
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            work()
        torch.cuda.current_stream().wait_stream(stream)

    def _record(self, work: Callable[[], None], stream: torch.cuda.Stream) -> None:
        """Record the work. A model that waits for the GPU in its forward pass cannot be recorded, so its work runs each time."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
                work()
        except RuntimeError as exc:
            if is_out_of_memory(exc):
                raise
            log.warning("this model cannot be recorded as a CUDA graph, so it runs slower: %s", exc)
            self._stream = None
            return
        self._graph = graph

    def _replay(self, work: Callable[[], None]) -> None:
        if self._graph is None:
            work()
        else:
            self._graph.replay()
