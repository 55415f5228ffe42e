"""Greedy generation in slots: a waiting row takes the slot of a finished one, and texts that repeat themselves are guessed ahead.

A guess is what followed the previous occurrence of the last three tokens (prompt lookup decoding). The model checks all guessed
tokens in one pass, and only those that it would have chosen are kept, so no text changes.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pada_agent.training.generation.slot_cache import Feed, SlotCache
from pada_agent.training.generation.stopping import Row, Stops
from pada_agent.training.students import Student

MAX_STARTING = 8
"""Rows whose prompts are processed at once. A few hundred tokens keep the matrix products busy; more would only need more memory."""
MIN_STARTING = 4
"""Slots that have to be free before more rows start, because all others wait for that pass."""
MAX_GUESSED = 16
"""Most tokens that a row guesses at once. It starts with one, and doubles as long as all are right."""
MAX_FED = 32
"""Rows guess up to this many tokens per pass. Beyond it, a guessed token costs as much as a generated one."""
N_ALIKE = 3
"""Number of last tokens that have to have occurred before."""


def write_in_slots(
    student: Student, rows: Sequence[Row], stops: Stops, *, batch_size: int, on_done: Callable[[int], None]
) -> None:
    """Write all rows, at most `batch_size` at a time."""
    cache = SlotCache(student.model, min(batch_size, len(rows)))
    n_shared = count_shared([row.prompt for row in rows])
    if n_shared:
        cache.share(rows[0].prompt[:n_shared])
    ordered = sorted(rows, key=lambda row: len(row.prompt), reverse=True)
    waiting = deque(_Guesser(row, n_shared) for row in ordered)
    active: list[_Guesser] = []
    while waiting or active:
        n_starting = _count_starting(len(waiting), len(active), cache.n_slots)
        first = len(active) if n_starting else 0
        active += [waiting.popleft() for _ in range(n_starting)]
        _take_step(cache, active, first, stops)
        student.refuse_nan(cache.best_logits)
        before, active = len(active), close_ranks(cache, active)
        if len(active) < before:
            on_done(len(rows) - len(waiting) - len(active))


def count_shared(prompts: Sequence[list[int]]) -> int:
    """Tokens at the start of all prompts; each keeps at least one of its own."""
    if len(prompts) < 2:
        return 0
    one, other = min(prompts), max(prompts)  # all others lie between them
    n = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    return min(n, min(map(len, prompts)) - 1)


def _count_starting(n_waiting: int, n_active: int, n_slots: int) -> int:
    n = min(n_waiting, n_slots - n_active, MAX_STARTING)
    return n if n >= min(n_waiting, n_slots, MIN_STARTING) else 0


def _take_step(cache: SlotCache, active: Sequence["_Guesser"], first: int, stops: Stops) -> None:
    """One pass for the rows in the slots from `first` on."""
    rows = active[first:]
    n_each = MAX_FED // len(rows) - 1
    feeds = [row.feed(min(n_each, stops.count_room(row.row) - 1)) for row in rows]
    for row, best in zip(rows, cache.feed(feeds, first=first), strict=True):
        row.take(best, stops)


@dataclass
class SlotRow:
    """A row in a slot."""

    row: Row
    n_cached: int
    """Tokens whose keys and values are in the slot."""


AnySlotRow = TypeVar("AnySlotRow", bound=SlotRow)


def close_ranks(cache: SlotCache, active: Sequence[AnySlotRow]) -> list[AnySlotRow]:
    """The unfinished rows, in the first slots: rows in the last slots move into free ones."""
    kept = list(active)
    for slot in reversed(range(len(kept))):
        if kept[slot].row.finished:
            last = kept.pop()
            if slot < len(kept):
                cache.move(len(kept), slot, last.n_cached)
                kept[slot] = last
    return kept


class _Guesser(SlotRow):
    """A row and its guesses."""

    def __init__(self, row: Row, n_cached: int) -> None:
        super().__init__(row, n_cached)
        self._tokens = list(row.prompt)
        self._guess: list[int] = []
        self._n_guessed = 1
        self._seen: dict[tuple[int, ...], int] = {}
        self._n_noted = N_ALIKE

    def feed(self, n_room: int) -> Feed:
        """The tokens that are not in the slot yet, and the guess."""
        self._guess = self._look_up(min(n_room, self._n_guessed))
        tokens = self._tokens[self.n_cached :] + self._guess
        return Feed(tokens, start=self.n_cached, n_asked=1 + len(self._guess))

    def take(self, best: list[int], stops: Stops) -> None:
        """Add the model's choices up to the first wrong guess."""
        self.n_cached = len(self._tokens)
        n_right = 0
        for token, guessed in zip(best, [*self._guess, None], strict=True):
            stops.add(self.row, token)
            if self.row.finished:
                return
            self._tokens.append(token)
            if token != guessed:
                break
            n_right += 1
        self.n_cached += n_right
        if self._guess:
            self._n_guessed = min(2 * self._n_guessed, MAX_GUESSED) if n_right == len(self._guess) else max(1, n_right)

    def _look_up(self, n: int) -> list[int]:
        """Up to `n` tokens that followed the previous occurrence of the last ones; repeated if there are fewer."""
        for end in range(self._n_noted, len(self._tokens)):
            self._seen[tuple(self._tokens[end - N_ALIKE : end])] = end
        self._n_noted = max(N_ALIKE, len(self._tokens))
        at = self._seen.get(tuple(self._tokens[-N_ALIKE:]))
        if at is None or n < 1:
            return []
        period = len(self._tokens) - at
        return [self._tokens[at + k % period] for k in range(n)]
