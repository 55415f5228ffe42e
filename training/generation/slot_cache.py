"""Keys and values of the rows being written, each row in its own slot, and the model's forward pass over them.

A column of a slot is a position of its row. So the tokens of all rows go through the model's matrix products as one sequence
without padding, a wrong guess is overwritten, and a free slot takes the next row.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.cache_utils import DynamicCache, DynamicLayer

from pada_agent.training.kernels.attention_hook import attend_by

ROOM = 64
"""Columns to add when no room is left."""


@dataclass(frozen=True)
class Feed:
    """Tokens that a row adds to its slot."""

    tokens: Sequence[int]
    start: int
    """Position of the first one."""
    n_asked: int = 1
    """Number of last tokens after which the best next token is wanted."""


@dataclass(frozen=True)
class _Layout:
    """Where the N tokens of a pass belong: B rows in the slots from `first` on, at most L tokens each, T columns."""

    first: int
    owners: torch.Tensor
    """(N,) row in the batch."""
    offsets: torch.Tensor
    """(N,) place among its row's tokens."""
    positions: torch.Tensor
    """(N,)"""
    n_rows: int
    n_wide: int
    n_columns: int

    @property
    def is_full(self) -> bool:
        """Whether all rows add the same number of tokens."""
        return len(self.owners) == self.n_rows * self.n_wide

    def spread(self, tokens: torch.Tensor) -> torch.Tensor:
        """(N, ...) to (B, L, ...), with zeros where a row has fewer tokens."""
        if self.is_full:
            return tokens.reshape(self.n_rows, self.n_wide, *tokens.shape[1:])
        grid = tokens.new_zeros(self.n_rows, self.n_wide, *tokens.shape[1:])
        grid[self.owners, self.offsets] = tokens
        return grid

    def collect(self, grid: torch.Tensor) -> torch.Tensor:
        """(B, L, ...) to (N, ...)."""
        return grid.flatten(0, 1) if self.is_full else grid[self.owners, self.offsets]

    def make_mask(self, dtype: torch.dtype) -> torch.Tensor:
        """(B, 1, L, T) additive mask: a token sees the columns up to its own."""
        columns = torch.arange(self.n_columns, device=self.positions.device)
        hidden = columns > self.spread(self.positions)[..., None]
        return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(
            hidden, torch.finfo(dtype).min
        )[:, None]


_layout: ContextVar[_Layout | None] = ContextVar("layout", default=None)


class SlotCache:
    """Slots for `n_slots` rows, and the forward pass that fills them."""

    def __init__(self, model: Any, n_slots: int, n_columns: int = 0) -> None:
        """`n_columns` are allocated at once, more when they are needed."""
        self._model = model
        self._cache = DynamicCache(config=model.config)
        self._cache.layers = [_SlotLayer(n_slots, n_columns) for _ in self._cache.layers]
        self.n_slots = n_slots
        self.n_columns = n_columns
        self.best_logits = torch.zeros((), device=model.device)
        """Sum of the logits of all chosen tokens: NaN as soon as one of them was."""
        self._last_position = int(getattr(model.config, "max_position_embeddings", 0) or 2**31) - 1

    def feed(self, feeds: Sequence[Feed], *, first: int = 0) -> list[list[int]]:
        """Add tokens of the rows in the slots from `first` on. Returns the best next token after each one asked for."""
        device = self._model.device
        ends = accumulate(len(feed.tokens) for feed in feeds)
        asked = [at for feed, end in zip(feeds, ends, strict=True) for at in range(end - feed.n_asked, end)]
        tokens = torch.tensor([t for feed in feeds for t in feed.tokens], device=device)
        chosen = self._choose(tokens, _lay_out(feeds, first, device), torch.tensor(asked, device=device))
        best = iter(chosen.tolist())
        return [[next(best) for _ in range(feed.n_asked)] for feed in feeds]

    def feed_all(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Add one token to every slot, each at its position. Returns the best next ones. All are (B,), on the model's device."""
        layout = _Layout(
            first=0,
            owners=torch.arange(self.n_slots, device=tokens.device),
            offsets=torch.zeros_like(positions),
            positions=positions,
            n_rows=self.n_slots,
            n_wide=1,
            n_columns=self.n_columns,
        )
        return self._choose(tokens, layout, 0)

    def _choose(self, tokens: torch.Tensor, layout: _Layout, asked: torch.Tensor | int) -> torch.Tensor:
        """(M,) best next token after each one asked for, or after all of them if `asked` is 0."""
        with _attend_to_slots(self._model.config, layout):
            output = self._model(
                input_ids=tokens[None],
                # Tokens past a row's end are dropped, but the model must have a position for them.
                position_ids=layout.positions[None].clamp(max=self._last_position),
                attention_mask=layout.make_mask(self._model.dtype),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=asked,
            )
        logits = output.logits[0]
        best: torch.Tensor = logits.argmax(-1)  # a NaN counts as the largest
        self.best_logits.add_(logits.gather(-1, best[:, None]).sum())
        return best

    def share(self, tokens: Sequence[int]) -> None:
        """Start every slot with these tokens, which are computed once."""
        self.feed([Feed(tokens, start=0)])
        for layer in self._cache.layers:
            layer.share(len(tokens))

    def move(self, source: int, target: int, n_columns: int) -> None:
        """Move a row to another slot."""
        for layer in self._cache.layers:
            layer.move(source, target, n_columns)


class _SlotLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, (slots, H, columns, D) each."""

    def __init__(self, n_slots: int, n_columns: int) -> None:
        super().__init__()
        self._shape = n_slots, n_columns

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Zeros, because what was never written is hidden by the mask but must not be NaN."""
        super().lazy_initialization(key_states, value_states)
        n_slots, n_columns = self._shape
        self.keys, self.values = (
            t.new_zeros(n_slots, t.shape[1], n_columns, t.shape[-1]) for t in (key_states, value_states)
        )

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store those of the added tokens, (1, H, N, D). Returns all of their rows, (B, H, T, D)."""
        layout = _layout.get()
        assert layout is not None
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if layout.n_columns > self.keys.shape[2]:
            self.keys, self.values = (_extend(t, layout.n_columns + ROOM) for t in (self.keys, self.values))
        slots = layout.owners + layout.first
        self.keys[slots, :, layout.positions] = key_states[0].transpose(0, 1)
        self.values[slots, :, layout.positions] = value_states[0].transpose(0, 1)
        rows = slice(layout.first, layout.first + layout.n_rows)
        return self.keys[rows, :, : layout.n_columns], self.values[rows, :, : layout.n_columns]

    def share(self, n_columns: int) -> None:
        """Copy the first slot's columns into all others."""
        for t in (self.keys, self.values):
            t[1:, :, :n_columns] = t[:1, :, :n_columns]

    def move(self, source: int, target: int, n_columns: int) -> None:
        """Copy a slot's columns into another one."""
        for t in (self.keys, self.values):
            t[target, :, :n_columns] = t[source, :, :n_columns]


def _extend(old: torch.Tensor, n_columns: int) -> torch.Tensor:
    new = old.new_zeros(*old.shape[:2], n_columns, old.shape[-1])
    new[:, :, : old.shape[2]] = old
    return new


def _lay_out(feeds: Sequence[Feed], first: int, device: torch.device) -> _Layout:
    lengths = [len(feed.tokens) for feed in feeds]
    return _Layout(
        first=first,
        owners=torch.tensor([i for i, n in enumerate(lengths) for _ in range(n)], device=device),
        offsets=torch.tensor([k for n in lengths for k in range(n)], device=device),
        positions=torch.tensor(
            [f.start + k for f, n in zip(feeds, lengths, strict=True) for k in range(n)], device=device
        ),
        n_rows=len(feeds),
        n_wide=max(lengths),
        n_columns=max(feed.start + n for feed, n in zip(feeds, lengths, strict=True)),
    )


@contextmanager
def _attend_to_slots(config: Any, layout: _Layout) -> Iterator[None]:
    token = _layout.set(layout)
    try:
        with attend_by(config, partial(_attend, layout)):
            yield
    finally:
        _layout.reset(token)


def _attend(
    layout: _Layout,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scale: float | None,
    dropout: float,
) -> torch.Tensor:
    """Keys and values are the slots', (B, H', T, D): they are read once for all their queries."""
    del dropout  # nothing is dropped when a model writes
    assert attention_mask is not None
    n_groups, length = query.shape[1] // key.shape[1], layout.n_wide
    grid = layout.spread(query[0].transpose(0, 1))  # (B, L, H, D)
    packed = grid.view(*grid.shape[:2], -1, n_groups, grid.shape[-1]).permute(0, 2, 3, 1, 4).flatten(2, 3)
    mask = attention_mask.repeat(1, 1, n_groups, 1) if length > 1 else attention_mask
    found = scaled_dot_product_attention(packed, key, value, attn_mask=mask, scale=scale)  # (B, H', G * L, D)
    found = found.reshape(*found.shape[:2], n_groups, length, -1).permute(0, 3, 1, 2, 4).flatten(2, 3)
    return layout.collect(found)[None]
