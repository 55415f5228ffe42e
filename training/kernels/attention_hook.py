"""Attention of our own in place of transformers' for one forward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "pada"


class Attend(Protocol):
    """What a layer computes."""

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scale: float | None,
    ) -> torch.Tensor:
        """Queries (1, H, N, D), keys and values of H' heads, as the model or its cache gives them, to (1, N, H, D)."""
        ...


_attend: ContextVar[Attend | None] = ContextVar("attend", default=None)


def is_plain(model: Any) -> bool:
    """Whether each layer attends to all earlier tokens, through transformers' attention interface, and each row alone.

    Rotary embeddings that change with the longest row in a pass would let one row change another.
    """
    layers = DynamicCache(config=model.config).layers
    full = bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
    rope = getattr(model.config, "rope_parameters", None) or {}
    full = full and rope.get("rope_type", "default") not in ("dynamic", "longrope")
    return full and bool(model._supports_attention_backend) and model.config._attn_implementation == "sdpa"


@contextmanager
def attend_by(config: Any, attend: Attend) -> Iterator[None]:
    """Within it the layers of the model with this configuration attend by `attend`."""
    token, before = _attend.set(attend), config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _attend.reset(token)


def _forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls it. Another model may run in the same process: without `attend_by` it gets sdpa's."""
    attend = _attend.get()
    if attend is None:
        out: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return out
    return attend(query, key, value, attention_mask, scaling), None


AttentionInterface.register(NAME, _forward)
AttentionMaskInterface.register(NAME, sdpa_mask)
