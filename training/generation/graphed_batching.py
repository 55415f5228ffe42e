"""Greedy generation in slots on a GPU: one step for all slots is recorded once, then replayed several times before its tokens are read.

Waiting for a token costs as much as computing it. So a row may run a few tokens past its end; these are dropped.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing

import torch

from pada_agent.core.errors import TrainingError
from pada_agent.training.generation.continuous_batching import SlotRow, close_ranks, count_shared
from pada_agent.training.generation.slot_cache import Feed, SlotCache
from pada_agent.training.generation.stopping import Row, Stops
from pada_agent.training.kernels.cuda_graphs import Recorder
from pada_agent.training.memory import is_out_of_memory
from pada_agent.training.students import Student

N_SLOTS = 256
"""Rows at once if memory allows, because a step takes hardly longer for many rows than for one."""
N_STEPS = 8
"""Steps between two reads."""
N_STARTING = 64
"""Rows whose prompts are processed at once."""
WORTH = 8
"""One slot in this many has to be free before more rows start, because all others wait for that pass."""


def write_recorded(student: Student, rows: Sequence[Row], stops: Stops, *, on_done: Callable[[int], None]) -> None:
    """Write all rows, as many at a time as there is memory for.

    Raises:
        TrainingError: a single row does not fit in memory.
    """
    n_slots = min(N_SLOTS, len(rows))
    while True:
        try:
            _write(student, rows, stops, n_slots, on_done)
            return
        except RuntimeError as exc:
            if not is_out_of_memory(exc):
                raise
            if n_slots == 1:
                longest = max(len(row.prompt) for row in rows)
                raise TrainingError(
                    f"out of memory with a single row of {longest} tokens ({exc}). Choose a smaller student."
                ) from exc
        # Only here have the tensors been freed that the error's traceback held.
        torch.cuda.empty_cache()
        n_slots //= 2
        for row in rows:
            row.new, row.finished = [], False


def _write(student: Student, rows: Sequence[Row], stops: Stops, n_slots: int, on_done: Callable[[int], None]) -> None:
    longest = max(len(row.prompt) for row in rows) + stops.max_new_tokens
    cache = SlotCache(student.model, n_slots, n_columns=-(-(longest + N_STEPS) // 8) * 8)
    n_shared = count_shared([row.prompt for row in rows])
    if n_shared:
        cache.share(rows[0].prompt[:n_shared])
    waiting = deque(SlotRow(row, n_shared) for row in sorted(rows, key=lambda row: len(row.prompt), reverse=True))
    active: list[SlotRow] = []
    with closing(Recorder(student.device)) as recorder:
        stepper = _Stepper(cache, recorder, student.device)
        while waiting or active:
            n_free = n_slots - len(active)
            if waiting and n_free * WORTH >= n_slots:
                first = len(active)
                active += [waiting.popleft() for _ in range(min(n_free, len(waiting), N_STARTING))]
                _start(cache, active[first:], first, stops)
            else:
                stepper.run(active, stops)
            student.refuse_nan(cache.best_logits)
            before, active = len(active), close_ranks(cache, active)
            if len(active) < before:
                on_done(len(rows) - len(waiting) - len(active))


def _start(cache: SlotCache, starting: Sequence[SlotRow], first: int, stops: Stops) -> None:
    """Put the prompts into the slots from `first` on, and give each row its first token."""
    feeds = [Feed(row.row.prompt[row.n_cached :], start=row.n_cached) for row in starting]
    for row, (token,) in zip(starting, cache.feed(feeds, first=first), strict=True):
        row.n_cached = len(row.row.prompt)
        stops.add(row.row, token)


class _Stepper:
    """Steps for all slots, of which the first ones hold rows. A row's last token is not in its slot yet."""

    def __init__(self, cache: SlotCache, recorder: Recorder, device: torch.device) -> None:
        self._cache = cache
        self._tokens = torch.zeros(cache.n_slots, dtype=torch.long, device=device)
        self._positions = torch.zeros_like(self._tokens)
        self._step = recorder.record(self._take)

    def run(self, active: Sequence[SlotRow], stops: Stops) -> None:
        """Write `N_STEPS` tokens of each row, or fewer up to its end."""
        n_free = self._cache.n_slots - len(active)
        # Free slots write to columns that a row reads only after it has written them itself.
        free = self._cache.n_columns - N_STEPS
        self._tokens.copy_(torch.tensor([row.row.new[-1] for row in active] + [0] * n_free))
        self._positions.copy_(torch.tensor([row.n_cached for row in active] + [free] * n_free))
        written = []
        for _ in range(N_STEPS):
            self._step()
            written.append(self._tokens.clone())
        for row, tokens in zip(active, torch.stack(written, dim=1).tolist(), strict=False):
            row.n_cached += N_STEPS
            for token in tokens:
                stops.add(row.row, token)
                if row.row.finished:
                    break

    def _take(self) -> None:
        self._tokens.copy_(self._cache.feed_all(self._tokens, self._positions))
        self._positions.add_(1)
