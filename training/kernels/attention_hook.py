"""Replaces transformers' attention with our own for one forward pass."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from pada_agent.core.errors import TrainingError

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
        dropout: float,
    ) -> torch.Tensor:
        """Queries (1, H, N, D), keys and values of H' heads, as the model or its cache gives them, to (1, N, H, D).

        `dropout` is the fraction of the attention weights that are dropped: 0 outside training.
        """
        ...


_attend: ContextVar[Attend | None] = ContextVar("attend", default=None)


_OWN_BIAS = ("alibi", "attention_types", "attention_window_size", "window_size", "keep_window_size")
"""Settings of models that weight or ignore earlier tokens by distance, without a mask that says so."""
_OWN_WEIGHTS = ("softcap", "s_aux", "position_bias")
"""Arguments of transformers' attention that change its weights. A `sliding_window` does so too, but `is_plain` excludes it."""


def is_plain(model: Any) -> bool:
    """Whether each layer attends to all earlier tokens through transformers' attention interface, and rows do not affect each other.

    They would affect each other through rotary embeddings that change with the longest row in a pass.
    """
    return (
        _layers_are(model, DynamicLayer)
        and not _list_stretching(model.config)
        and not any(getattr(model.config, name, None) for name in _OWN_BIAS)
        and model.config._attn_implementation == "sdpa"
    )


def takes_padding(model: Any, longest: int) -> bool:
    """Whether masked padding changes nothing: all layers attend, some of them perhaps only in a window.

    Convolutions and states ignore masks. Rotary embeddings that change with the longest row in a pass do so only beyond a certain
    length, which rows of up to `longest` tokens must not exceed.
    """
    return _layers_are(model, DynamicLayer, DynamicSlidingWindowLayer) and longest <= count_unstretched(model)


def count_unstretched(model: Any) -> float:
    """Length up to which no rotary embedding changes with the longest row in a pass."""
    limits = [
        rope.get("original_max_position_embeddings")
        or getattr(model.config, "original_max_position_embeddings", None)
        or model.config.max_position_embeddings
        for rope in _list_stretching(model.config)
    ]
    return min(limits, default=math.inf)


def _list_stretching(config: Any) -> list[dict[str, Any]]:
    """Rotary embeddings, of all layers or of each kind of layers, that change with the longest row in a pass."""
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [kind for kind in rope.values() if isinstance(kind, dict)] or [rope]
    return [kind for kind in kinds if kind.get("rope_type", "default") in ("dynamic", "longrope")]


def _layers_are(model: Any, *kinds: type) -> bool:
    if not getattr(model, "_supports_attention_backend", False):
        return False
    try:
        layers = DynamicCache(config=model.config).layers
    except (AttributeError, KeyError, TypeError, ValueError):  # it describes no attention that can be cached
        return False
    return bool(layers) and all(type(layer) in kinds for layer in layers)


@contextmanager
def attend_by(config: Any, attend: Attend) -> Iterator[None]:
    """In this context, layers of the model with this configuration compute attention with `attend`."""
    token, before = _attend.set(attend), config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _attend.reset(token)


def attend_again(config: Any) -> AbstractContextManager[None]:
    """The current `attend_by`, to be entered again later. Does nothing if there is none."""
    attend = _attend.get()
    return nullcontext() if attend is None else attend_by(config, attend)


def _forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Called by transformers. Another model in the same process, without `attend_by`, gets the usual SDPA.

    Raises:
        TrainingError: the model weights its attention in a way that only its own code computes.
    """
    attend = _attend.get()
    if attend is None:
        out: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return out
    if unknown := [name for name in _OWN_WEIGHTS if kwargs.get(name) is not None]:
        raise TrainingError(
            f"the student's attention ({type(module).__name__}) uses {', '.join(unknown)}, which is not supported here."
            " Choose another student."
        )
    return attend(query, key, value, attention_mask, scaling, dropout).contiguous(), None  # models take views of it


AttentionInterface.register(NAME, _forward)
AttentionMaskInterface.register(NAME, sdpa_mask)
