"""Attention over a tree of tokens on CPU, branch by branch, because torch's kernel also computes the pairs that a mask then hides.

A branch is the run of new nodes that one sequence adds. It sees its ancestors and, causally, itself.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import repeat_kv

from pada_agent.training.kernels.attention_hook import attend_by

WORTH = 0.6
"""Fraction of the dense work up to which the smaller products pay off."""
PAIRS_PER_CALL = 2000
"""Cost of one more call of the kernel, in pairs of query and key."""


@dataclass(frozen=True)
class Branch:
    """Nodes `start` to `stop`, after `ancestors`."""

    ancestors: tuple[int, ...]
    start: int
    stop: int

    @property
    def n_new(self) -> int:
        return self.stop - self.start

    @property
    def n_pairs(self) -> float:
        """Number of pairs of query and key that are computed."""
        n_seen = len(self.ancestors) + self.n_new
        return n_seen * (n_seen / 2 if self.asks_again else self.n_new)

    @property
    def asks_again(self) -> bool:
        """Whether ancestors are queried again because they are few: all of it is then one causal triangle, and the kernel skips half."""
        return len(self.ancestors) <= self.n_new


@contextmanager
def attend_by_branch(model: Any, branches: Sequence[Branch]) -> Iterator[None]:
    """In this context, the model's attention runs branch by branch if that is less work. The result is the same as with the mask."""
    config = model.config
    n_nodes = sum(b.n_new for b in branches)
    less_work = sum(b.n_pairs + PAIRS_PER_CALL for b in branches) < WORTH * n_nodes * n_nodes
    if model.device.type != "cpu" or config._attn_implementation != "sdpa" or not less_work:
        yield
        return
    with attend_by(config, partial(_attend, branches)):
        yield


def _attend(
    branches: Sequence[Branch],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scale: float | None,
    dropout: float,
) -> torch.Tensor:
    del attention_mask
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    lengths = [b.n_new for b in branches]
    parts = zip(branches, *(torch.split(t, lengths, dim=2) for t in (query, key, value)), strict=True)
    attend = partial(scaled_dot_product_attention, scale=scale, dropout_p=dropout)
    found = [_attend_branch(b, (query, key, value), (q, k, v), attend) for b, q, k, v in parts]
    return torch.cat(found, dim=2).transpose(1, 2)


def _attend_branch(
    branch: Branch,
    whole: tuple[torch.Tensor, ...],
    own: tuple[torch.Tensor, ...],
    attend: Callable[..., torch.Tensor],
) -> torch.Tensor:
    query, key, value = own
    if not branch.ancestors:
        return attend(query, key, value, is_causal=True)
    n_before, before = len(branch.ancestors), torch.tensor(branch.ancestors)
    key, value = (torch.cat([t.index_select(2, before), new], dim=2) for t, new in zip(whole[1:], own[1:], strict=True))
    if branch.asks_again:
        query = torch.cat([whole[0].index_select(2, before), query], dim=2)
        return attend(query, key, value, is_causal=True)[:, :, n_before:]
    seen = torch.ones(branch.n_new, n_before + branch.n_new, dtype=torch.bool).tril(n_before)
    return attend(query, key, value, attn_mask=seen)
