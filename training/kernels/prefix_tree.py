"""Token sequences laid out as one tree: shared prefixes are computed once, and nothing is padded.

Prompts share a system turn and an instruction, and options share their prompt. In short rows, that is most of the tokens.
A token sees only its ancestors, and its position is its depth, so every log-probability equals that of the sequence alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from pada_agent.training.encoding import IGNORE_INDEX, Encoded
from pada_agent.training.kernels.attention_hook import is_plain
from pada_agent.training.kernels.tree_attention import Branch, attend_by_branch


@dataclass(frozen=True)
class Pack:
    """N tree nodes and M predictions to read from them."""

    token_ids: torch.Tensor
    """(N,)"""
    depths: torch.Tensor
    """(N,) position of each node in its sequence."""
    visible: torch.Tensor
    """(N, N) bool; row i is true at i and its ancestors."""
    readers: torch.Tensor
    """(K,) distinct nodes whose logits predict a target."""
    which: torch.Tensor
    """(M,) index into `readers`."""
    targets: torch.Tensor
    """(M,) token ids."""
    owners: torch.Tensor
    """(M,) index of the sequence that the prediction belongs to."""
    branches: tuple[Branch, ...]
    """The same nodes, grouped by the sequence that added them."""


class _Tree:
    """Nodes by (parent, token). The last token of a sequence predicts nothing, so it is left out."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[int, int], int] = {}
        self.predictions: list[tuple[int, int, int]] = []
        self.branches: list[Branch] = []

    def count_new(self, row: Encoded) -> int:
        node = -1
        for depth, token in enumerate(row.input_ids[:-1]):
            found = self.nodes.get((node, token))
            if found is None:
                return len(row.input_ids) - 1 - depth
            node = found
        return 0

    def add(self, owner: int, row: Encoded) -> None:
        node, start, path = -1, len(self.nodes), []
        for token, label in zip(row.input_ids[:-1], row.labels[1:], strict=True):
            node = self.nodes.setdefault((node, token), len(self.nodes))
            path.append(node)
            if label != IGNORE_INDEX:
                self.predictions.append((node, label, owner))
        if n_new := len(self.nodes) - start:
            self.branches.append(Branch(ancestors=tuple(path[:-n_new]), start=start, stop=len(self.nodes)))

    def lay_out(self, device: torch.device) -> Pack:
        n = len(self.nodes)
        depths = torch.zeros(n, dtype=torch.long)
        visible = torch.zeros(n, n, dtype=torch.bool)
        for branch in self.branches:
            new, n_before = slice(branch.start, branch.stop), len(branch.ancestors)
            depths[new] = torch.arange(n_before, n_before + branch.n_new)
            visible[new, list(branch.ancestors)] = True
            visible[new, new] = torch.ones(branch.n_new, branch.n_new, dtype=torch.bool).tril()
        predictions = torch.tensor(self.predictions).reshape(-1, 3)
        readers, which = torch.unique(predictions[:, 0], return_inverse=True)  # on CPU, as its size is not known yet
        return Pack(
            token_ids=_move(torch.tensor([token for _, token in self.nodes]), device),
            depths=_move(depths, device),
            visible=_move(visible, device),
            readers=_move(readers, device),
            which=_move(which, device),
            targets=_move(predictions[:, 1].contiguous(), device),
            owners=_move(predictions[:, 2].contiguous(), device),
            branches=tuple(self.branches),
        )


def _move(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Move it to the device without waiting for the device's pending work."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def pack_for(model: Any, rows: Iterable[Encoded], max_nodes: int) -> Iterator[Pack]:
    """Packs that the model reads correctly: one row each if its layers do more than attend by a mask.

    Examples are windows, convolutions, states, and biases by distance.
    """
    return pack(rows, max_nodes if is_plain(model) else 0, model.device)


def pack(rows: Iterable[Encoded], max_nodes: int, device: torch.device) -> Iterator[Pack]:
    """Packs of at most `max_nodes` nodes (or one longer row), in order. Neighbors share most, so sort rows if their order is free."""
    tree = _Tree()
    for owner, row in enumerate(rows):
        if tree.nodes and len(tree.nodes) + tree.count_new(row) > max_nodes:
            yield tree.lay_out(device)
            tree = _Tree()
        tree.add(owner, row)
    if tree.nodes:
        yield tree.lay_out(device)


def target_logprobs(model: Any, pack: Pack) -> torch.Tensor:
    """(M,) float32 log-probability of each target. Logits are computed once per node, and only where a target is predicted.

    A model that is not plain reads each row alone and with its own mask, as in any other program.
    """
    if not is_plain(model):
        whole = torch.cat([_read_alone(model, pack.token_ids, branch) for branch in pack.branches])
        return whole[pack.readers].float().log_softmax(-1)[pack.which, pack.targets]
    mask = torch.zeros(pack.visible.shape, dtype=model.dtype, device=pack.visible.device)
    mask.masked_fill_(~pack.visible, torch.finfo(model.dtype).min)
    with attend_by_branch(model, pack.branches):
        out = model(
            input_ids=pack.token_ids[None],
            position_ids=pack.depths[None],
            attention_mask=mask[None, None],
            use_cache=False,
            logits_to_keep=pack.readers,
        )
    logits: torch.Tensor = out.logits[0].float()
    return logits.log_softmax(-1)[pack.which, pack.targets]


def _read_alone(model: Any, token_ids: torch.Tensor, branch: Branch) -> torch.Tensor:
    """(new nodes, V) logits of the nodes that a sequence added, after its own beginning."""
    path = [*branch.ancestors, *range(branch.start, branch.stop)]
    logits: torch.Tensor = model(input_ids=token_ids[path][None], use_cache=False).logits[0]
    return logits[len(branch.ancestors) :]
