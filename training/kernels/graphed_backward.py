"""Training passes on a GPU, padded to a few shapes so that each shape's pass can be recorded and replayed.

In all matrix products, the tokens of a pass are one sequence; only attention lays them out row by row, for a causal kernel.
Padding predicts nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers.integrations.sdpa_attention import repeat_kv

from pada_agent.training.encoding import IGNORE_INDEX, Encoded
from pada_agent.training.kernels.attention_hook import attend_by
from pada_agent.training.kernels.cuda_graphs import Recorder
from pada_agent.training.kernels.prefix_tree import Pack, pack
from pada_agent.training.kernels.tree_attention import Branch

CPU = torch.device("cpu")
SMALLEST = 64
"""Smaller shapes are padded to this size."""


class RecordedBackward:
    """`fine_tuning.backward` with recorded passes, for one adapter. Gradients stay in place, so set them to zero in place."""

    def __init__(self, adapted: Any, batch_size: int) -> None:
        self._adapted = adapted
        self._n_rows = batch_size
        self._total = torch.zeros((), device=adapted.device)
        self._recorder = Recorder(adapted.device)
        self._passes: dict[Shape, _Pass] = {}
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)

    def __call__(self, batch: Sequence[Encoded], *, max_pack_tokens: int) -> torch.Tensor:
        """Add the batch's gradients and return its loss, like `backward`."""
        n_targets = sum(label != IGNORE_INDEX for row in batch for label in row.labels)
        self._total.zero_()
        for part in pack(batch, max_pack_tokens, CPU):
            self._run(part, 1 / n_targets)
        return self._total.clone()

    def forget(self) -> None:
        """Release the recordings and their memory."""
        self._recorder.close()
        self._passes = {}

    def _run(self, part: Pack, weight: float) -> None:
        shape = Shape(
            n_nodes=round_up(len(part.token_ids), per_octave=2),
            n_targets=round_up(len(part.targets), per_octave=1),
            n_rows=min(self._n_rows, 1 << (len(part.branches) - 1).bit_length()),
            n_columns=round_up(max(len(b.ancestors) + b.n_new for b in part.branches), per_octave=1),
        )
        if shape not in self._passes:
            self._passes[shape] = _Pass(self._adapted, self._total, self._recorder, shape)
        self._passes[shape].run(part, weight)


class Shape(NamedTuple):
    """The sizes that a pack is padded to. Rows and columns are those of attention."""

    n_nodes: int
    n_targets: int
    n_rows: int
    n_columns: int


def round_up(n: int, *, per_octave: int) -> int:
    """Round up to one of `per_octave` sizes between two powers of two. At least `SMALLEST`."""
    if n <= SMALLEST:
        return SMALLEST
    step = (1 << (math.ceil(math.log2(n)) - 1)) // per_octave
    return -(-n // step) * step


@dataclass(frozen=True)
class Grid:
    """Where the N nodes of a pack are if each of R branches, with its ancestors, gets a row of L columns."""

    nodes: torch.Tensor
    """(R * L,) node in each place. Places after a row's end hold various nodes: with a single one, its gradients would all be added up."""
    places: torch.Tensor
    """(N,) place where each node is new. For padding, any place."""
    n_rows: int

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scale: float | None,
        dropout: float,
    ) -> torch.Tensor:
        """(1, H, N, D) to (1, N, H, D). Causal, so no node of a row sees what comes after the row's end."""
        del attention_mask
        groups = query.shape[1] // key.shape[1]
        query, key, value = (self._spread(t) for t in (query, repeat_kv(key, groups), repeat_kv(value, groups)))
        found = scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scale, dropout_p=dropout
        )  # (R, H, L, D)
        return found.transpose(1, 2).flatten(0, 1).index_select(0, self.places)[None]

    def _spread(self, states: torch.Tensor) -> torch.Tensor:
        """(1, H, N, D) to (R, H, L, D)."""
        rows = states[0].transpose(0, 1).index_select(0, self.nodes)
        return rows.view(self.n_rows, -1, *rows.shape[1:]).transpose(1, 2)


def lay_rows(branches: Sequence[Branch], shape: Shape) -> Grid:
    """The grid of a pack."""
    n_rows, n_columns = shape.n_rows, shape.n_columns
    nodes = (torch.arange(n_rows * n_columns) % shape.n_nodes).view(n_rows, n_columns)
    places = torch.arange(shape.n_nodes) % (n_rows * n_columns)
    for i, branch in enumerate(branches):
        path = [*branch.ancestors, *range(branch.start, branch.stop)]
        nodes[i, : len(path)] = torch.tensor(path)
        first = i * n_columns + len(branch.ancestors)
        places[branch.start : branch.stop] = torch.arange(first, first + branch.n_new)
    return Grid(nodes=nodes.flatten(), places=places, n_rows=n_rows)


class _Pass:
    """Forward and backward of all packs of one shape."""

    def __init__(self, adapted: Any, total: torch.Tensor, recorder: Recorder, shape: Shape) -> None:
        self._adapted = adapted
        self._total = total
        self._shape = shape
        index = partial(torch.zeros, dtype=torch.long, device=adapted.device)
        self._token_ids, self._depths, self._places = (index(shape.n_nodes) for _ in range(3))
        self._nodes = index(shape.n_rows * shape.n_columns)
        self._readers, self._which, self._targets = (index(shape.n_targets) for _ in range(3))
        self._weights = torch.zeros(shape.n_targets, device=adapted.device)
        self._no_mask = torch.zeros(1, 1, 1, 1, device=adapted.device)
        """transformers passes a mask with four dimensions on unchanged."""
        self._compute = recorder.record(self._add_gradients)

    def run(self, part: Pack, weight: float) -> None:
        """Add the gradients of this pack's targets, each weighted, and their loss."""
        grid = lay_rows(part.branches, self._shape)
        for static, new in (
            (self._token_ids, part.token_ids),
            (self._depths, part.depths),
            (self._places, grid.places),
            (self._nodes, grid.nodes),
            (self._readers, part.readers),
            (self._which, part.which),
            (self._targets, part.targets),
            (self._weights, torch.full((len(part.targets),), weight)),
        ):
            _fill(static, new)
        self._compute()

    def _add_gradients(self) -> None:
        grid = Grid(nodes=self._nodes, places=self._places, n_rows=self._shape.n_rows)
        with attend_by(self._adapted.config, grid.attend):
            out = self._adapted(
                input_ids=self._token_ids[None],
                position_ids=self._depths[None],
                attention_mask=self._no_mask,
                use_cache=False,
                logits_to_keep=self._readers,
            )
        logprobs = out.logits[0].float().log_softmax(-1)[self._which, self._targets]
        loss = -(logprobs * self._weights).sum()
        loss.backward()
        self._total.add_(loss.detach())


def _fill(static: torch.Tensor, new: torch.Tensor) -> None:
    """Copy, and pad with zeros."""
    filled = pad(new, (0, len(static) - len(new)))
    static.copy_(filled.pin_memory() if static.is_cuda else filled, non_blocking=True)
